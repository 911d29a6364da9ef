"""The command line: the verbs, each imported once it is asked for, and how it ends."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from bench import __version__
from bench.verbs import output
from bench.words import UserError, nearest, plain

#: verb -> where it is, in `bench.verbs`, and what it does; `bench --help` says that without importing it
VERBS = {
    "cancel": (
        "sweeps.cancel",
        "Cancel the SLURM jobs of a grid's cells and tuning, or of the given CELLs and what shares a job with them.",
    ),
    "check": (
        "plugins.check",
        "Check that a plugin of any kind keeps its contracts: one line each, and why where one is broken.",
    ),
    "collect": (
        "sweeps.collect",
        "Come back to cells that were submitted to SLURM: record those that were lost, and print the table.",
    ),
    "data": ("plugins.data", "Fetch and verify data set NAME, or all of them, and say what they are."),
    "export": (
        "archives.export",
        "Write the records of a run store into FILE, a zip file for a colleague, with what lies beside them.",
    ),
    "import": (
        "archives.import_",
        "Make a new run store of FILE, which a colleague exported, once all of it is checked.",
    ),
    "list": ("plugins.list_", "List strategies, data sets, networks, energies and grids."),
    "logs": (
        "sweeps.logs",
        "Print the output of an attempt at CELL, an id or its beginning, and of the SLURM job that it ran in.",
    ),
    "new": ("plugins.new", "Write a working example of a plugin, such as DIR/strategies/NAME.py, to start from."),
    "report": (
        "plugins.report",
        "Say what the records come to, print the table, and write it as Markdown, LaTeX and CSV.",
    ),
    "retry": (
        "sweeps.retry",
        "Submit the cells again that failed in SLURM jobs or were lost (all but diverged ones),"
        " as they were submitted.",
    ),
    "run": ("sweeps.run", "Carry out the cells of a grid that have no final record, and print the table."),
    "score": (
        "sweeps.score",
        "Score trained cells again, with other evaluation settings or scoring code, and train nothing.",
    ),
    "status": (
        "sweeps.status_",
        "Say where the cells of a grid stand, and how far those are that run, here or in SLURM jobs.",
    ),
    "tune": (
        "tuning.tune",
        "Tune every row of a grid by as many trials, or seconds, on the validation split, and write the tuned grid.",
    ),
}


class _Verbs(click.Group):
    """A group whose verbs are imported when they are asked for; unknown ones are answered with the nearest one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb, or None where there is none of this name."""
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(".")
        verb: click.Command = getattr(importlib.import_module(f"bench.verbs.{module}"), name)
        if _DEBUG not in verb.params:
            verb.params.append(_DEBUG)
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each verb does."""
        room = formatter.width - 6 - max(map(len, VERBS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, click.Command(name, help=does).get_short_help_str(room)) for name, (_, does) in VERBS.items()]
            )

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the verb, or fail with the nearest."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            raise UserError(f'there is no verb "{args[0]}"{_nearest(args[0], list(VERBS))}')
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bench")
def bench() -> None:
    """Train VAEs whose prior is learned in many ways, score them alike, and print the table."""


_DEBUG = click.Option(["--debug"], is_flag=True, expose_value=False, help="Show where an error comes from.")


def main() -> NoReturn:
    """Carry out the command line and exit.

    With 0: all went well. 1: a cell failed, or the store cannot be written. 2: the user's mistake, told in one
    sentence. 130 (143): stopped by Ctrl-C (SIGTERM).
    """
    written, _ = output.prepare()
    gc.set_threshold(100_000)  # of thousands of records there are many objects and no circles: a third of the time
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # what a library starts imports nothing from the working directory
    try:
        code = bench.main(prog_name="bench", standalone_mode=False)
    except click.Abort:
        click.echo("interrupted", err=True)
        code = 130
    except Exception as error:
        sentence, code = _told(error)
        if "--debug" in sys.argv:  # looked for here, for it also counts where parsing fails
            import traceback

            traceback.print_exc()
        click.echo(f"error: {plain(sentence)}", err=True)
    if unprinted := output.failure(written):
        click.echo(f"error: {unprinted}", err=True)
        code = code or 1
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        atexit._run_exitfuncs()  # Python would wait for a plugin's threads, which may never end
        os._exit(code or 0)
    sys.exit(code)


def _told(error: Exception) -> tuple[str, int]:
    """Return the sentence and the exit code of an error that is told in one sentence; raise any other."""
    if isinstance(error, click.UsageError):
        return _usage(error), 2
    from bench.sweep.pool import SweepError
    from bench.sweep.slurm.commands import Unreachable
    from bench.sweep.storage import StoreError

    if isinstance(error, (UserError, StoreError, SweepError, Unreachable)):
        return str(error), 2 if isinstance(error, UserError) else 1
    raise error


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
