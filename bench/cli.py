"""The command line: the verbs, and how it ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from bench import __version__
from bench.plugins.shapes import nearest
from bench.protocol import UserError
from bench.sweep.pool import SweepError
from bench.sweep.slurm.commands import Unreachable
from bench.sweep.store import StoreError
from bench.verbs import plugins, sweeps


class _Verbs(click.Group):
    """A group whose unknown verbs are answered with the nearest one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the verb, or fail with the nearest."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UserError(f'there is no verb "{args[0]}"{_nearest(args[0], self.list_commands(ctx))}')
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bench")
def bench() -> None:
    """Train VAEs whose prior is learned in many ways, score them alike, and print the table."""


_DEBUG = click.Option(["--debug"], is_flag=True, expose_value=False, help="Show where an error comes from.")
for _verb in (
    *(sweeps.run, sweeps.score, sweeps.retry, sweeps.status_, sweeps.collect, sweeps.logs, sweeps.cancel),
    *(plugins.report, plugins.list_, plugins.data, plugins.new, plugins.check),
):
    _verb.params.append(_DEBUG)
    bench.add_command(_verb)


def main() -> NoReturn:
    """Carry out the command line and exit.

    With 0: all went well. 1: a cell failed, or the store cannot be written. 2: the user's mistake, told in one
    sentence. 130 (143): stopped by Ctrl-C (SIGTERM).
    """
    try:
        code = bench.main(prog_name="bench", standalone_mode=False)  # click itself ends where nobody reads our output
    except click.Abort:
        click.echo("interrupted", err=True)
        code = 130
    except (click.UsageError, UserError, StoreError, SweepError, Unreachable) as error:
        if "--debug" in sys.argv:  # looked for here, for it also counts where parsing fails
            traceback.print_exc()
        click.echo(f"error: {_usage(error) if isinstance(error, click.UsageError) else error}", err=True)
        code = 2 if isinstance(error, (click.UsageError, UserError)) else 1
    sys.exit(code)


def _usage(error: click.UsageError) -> str:
    """Return a parser's complaint as one sentence with the nearest name."""
    if isinstance(error, click.NoSuchOption):
        verb = f" of `{error.ctx.command_path}`" if error.ctx else ""
        names = [name for param in error.ctx.command.params for name in param.opts] if error.ctx else []
        return f"there is no option {error.option_name}{verb}{_nearest(error.option_name, names)}"
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; see `{error.ctx.command_path if error.ctx else 'bench'} --help`"


def _nearest(name: str, names: Sequence[str]) -> str:
    return nearest(name, names) or f"; allowed: {', '.join(names)}"
