"""The command line. It parses and prints; nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from bench import __version__
from bench.protocol import UserError

if TYPE_CHECKING:
    from bench.grid import Grid
    from bench.plugins import Kind, Registry
    from bench.sweep.pool import Tally
    from bench.sweep.records import Job
    from bench.sweep.status import Survey

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


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


# ---------------------------------------------------------------- options that verbs share

_plugins = click.option(
    "--plugins",
    multiple=True,
    metavar="DIR",
    envvar="BENCH_PLUGINS",
    type=click.Path(path_type=Path),
    help="Another folder with strategies/*.py or datasets/*.py (also $BENCH_PLUGINS).",
)
_data = click.option(
    "--data-dir",
    metavar="DIR",
    envvar="BENCH_DATA",
    type=click.Path(path_type=Path),
    help="Where data sets lie or are downloaded to (also $BENCH_DATA; default: the user's cache).",
)
_store = click.option(
    "--store",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The run store (default: GRID in $BENCH_STORE, else runs/GRID).",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")
_debug = click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from.")


def _grid(verb: Decorated) -> Decorated:
    """Add the options that say which cells."""
    for option in (
        click.option("--seeds", metavar="N", help="So many seeds, or a list such as 0,3,5, in place of the grid's."),
        click.option("--strategy", "strategies", multiple=True, metavar="NAME", help="Only this strategy, or FILE."),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the grid: train.epochs=3."),
        click.option("--grid", default="digits", show_default=True, metavar="NAME", help="A grid, or a .toml FILE."),
    ):
        verb = option(verb)
    return verb


# ---------------------------------------------------------------- verbs


@bench.command()
@_grid
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Worker processes (default: one a core).")
@click.option("--dry-run", is_flag=True, help="Say what would run, and run nothing.")
@click.option("--stale", is_flag=True, help="Also run cells again that earlier code of bench recorded.")
@click.option("--retry-failed", is_flag=True, help="Also run cells again that failed (all but diverged ones).")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES", help="At most, a cell.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or mps.")
@_store
@_data
@_plugins
@_debug
def run(
    grid: str,
    settings: tuple[str, ...],
    strategies: tuple[str, ...],
    seeds: str | None,
    jobs: int | None,
    dry_run: bool,
    stale: bool,
    retry_failed: bool,
    timeout: float | None,
    device: str,
    store: Path | None,
    data_dir: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Carry out the cells of a grid that have no final record, and print the table.

    Interrupted at any moment, it loses nothing that is finished: the same command goes on.
    """
    from bench.sweep import data, progress
    from bench.sweep.pool import Pool, SweepError
    from bench.sweep.records import FAILED, provenance
    from bench.sweep.status import advice, summary, survey
    from bench.sweep.store import StoreError
    from bench.sweep.worker import Setup

    registry = _registry(plugins)
    found = _survey(grid, registry, settings, strategies, seeds, store)
    todo = found.jobs(stale=stale, retry=retry_failed)
    if dry_run:
        _print_plan(found, todo)
        return
    tally: Tally | None = None
    try:
        if todo:
            _check_device(device)
            folder = _data_folder(data_dir)
            found.store.check_writable()
            todo = data.verified(todo, registry, folder)
        found.store.write_grid(found.grid.source)
        if todo:
            setup = Setup(found.grid.name, found.store.folder, registry, folder, device, provenance(device))
            number = min(jobs or (_cores() if device == "cpu" else 1), len(todo))
            click.echo(f"{_cells(len(todo))} of {len(found.standings)} to run, {number} at a time", err=True)
            with progress.screen(
                len(todo),
                lambda job: found.name(job.cell),
                lambda job: str(found.store.log(job.cell.id, job.attempt)),
            ) as screen:
                tally = Pool(setup, number, screen, timeout and 60 * timeout).run(todo)
    except (StoreError, SweepError) as error:
        raise click.exceptions.Exit(_told(str(error), 1)) from error

    counts = survey(found.grid, found.store, registry).counts()
    if tally and tally.signal is not None:
        click.echo(f"stopped; {summary(counts)}; to go on: {_command('run')}", err=True)
        raise click.exceptions.Exit(128 + tally.signal)
    from bench.report import report

    click.echo(report(grid, [found.store.folder], None, registry))
    click.echo(summary(counts), err=True)
    for sentence in advice(counts, _command("run", without=("--retry-failed", "--stale"))):
        click.echo(sentence, err=True)
    raise click.exceptions.Exit(1 if any(counts[state] for state in (*FAILED, "missing")) else 0)


@bench.command()
@_grid
@click.option("--why", is_flag=True, help="Explain every cell in one line.")
@_json
@_store
@_plugins
@_debug
def status(
    grid: str,
    settings: tuple[str, ...],
    strategies: tuple[str, ...],
    seeds: str | None,
    why: bool,
    as_json: bool,
    store: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Say where the cells of a grid stand."""
    from bench.sweep.status import advice, explanations, summary, table
    from bench.sweep.status import as_json as plain

    found = _survey(grid, _registry(plugins), settings, strategies, seeds, store)
    if as_json:
        click.echo(json.dumps(plain(found), indent=1))
        return
    if why:
        click.echo("\n".join(explanations(found)))
    else:
        click.echo(table(found))
    counts = found.counts()
    click.echo(f"{found.grid.name} in {found.store.folder}: {summary(counts)}")
    if found.store.grid() not in (None, found.grid.source):
        click.echo("the last `bench run` in this store had another grid or other options; give them to see its cells")
    for sentence in advice(counts, _command("run", without=("--why",))):
        click.echo(sentence)


@bench.command("list")
@click.option("--verbose", is_flag=True, help="Show every hyper-parameter and option.")
@_json
@_plugins
@_debug
def list_(verbose: bool, as_json: bool, plugins: tuple[Path, ...]) -> None:
    """List strategies, data sets and grids."""
    from bench import listing

    found = listing.find(_registry(plugins))
    click.echo(json.dumps(listing.plain(found), indent=1) if as_json else listing.text(found, verbose=verbose))


@bench.command()
@click.argument("name", required=False)
@_data
@_plugins
@_debug
def data(name: str | None, data_dir: Path | None, plugins: tuple[Path, ...]) -> None:
    """Fetch and verify data set NAME, or all of them, and say what they are."""
    from bench.sweep.data import load

    registry, folder = _registry(plugins), _data_folder(data_dir)
    names = [registry.find("dataset", name).name] if name else registry.names("dataset")
    click.echo(f"data folder: {folder}")
    errors = []
    for each in names:
        try:
            facts = load(registry, each, {}, folder)
        except UserError as error:
            if name:
                raise
            errors.append(str(error))  # the others may be well
            continue
        sizes = ", ".join(f"{size:,} {split}" for split, size in facts.sizes.items() if size)
        shape = "x".join(map(str, facts.shape))
        click.echo(f"{each}: {sizes} of {shape}, version {facts.version}, SHA-256 {facts.sha256}")
    for sentence in errors:
        click.echo(f"error: {sentence}", err=True)
    raise click.exceptions.Exit(2 if errors else 0)


@bench.command()
@click.option("--grid", metavar="NAME", help="A grid, or a .toml FILE (default: both columns of Table 2).")
@click.option("--store", "stores", multiple=True, metavar="DIR", type=click.Path(path_type=Path), help="A run store.")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Where the tables' files go.")
@_plugins
@_debug
def report(grid: str | None, stores: tuple[Path, ...], out: Path | None, plugins: tuple[Path, ...]) -> None:
    """Print the tables from the records, and write them as Markdown, LaTeX and CSV."""
    from bench.report import report as make

    click.echo(make(grid, stores, out, _registry(plugins)))


@bench.command()
@click.argument("kind", type=click.Choice(["strategy", "dataset"]))
@click.argument("name")
@click.option("--plugins", default=".", metavar="DIR", type=click.Path(path_type=Path), help="Where (default: here).")
@_debug
def new(kind: Kind, name: str, plugins: Path) -> None:
    """Write a working example of a plugin, DIR/strategies/NAME.py or DIR/datasets/NAME.py, to start from."""
    import shlex

    from bench.contracts import write

    file = write(kind, name, plugins)
    click.echo(f"wrote {file}; to check it, and to see it in the list:")
    click.echo(f"  {shlex.join(['bench', 'check', str(file)])}")
    click.echo(f"  {shlex.join(['bench', 'list', '--plugins', str(plugins)])}")


@bench.command()
@click.argument("name_or_file", metavar="NAME|FILE")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a default: energy.hidden=8.")
@_json
@_data
@_plugins
@_debug
def check(
    name_or_file: str, settings: tuple[str, ...], as_json: bool, data_dir: Path | None, plugins: tuple[Path, ...]
) -> None:
    """Check that a strategy or data set keeps its contracts: one line each, and why where one is broken."""
    from bench import contracts
    from bench.plugins import PluginError

    told: list[contracts.Verdict] = []

    def tell(verdict: contracts.Verdict) -> None:
        told.append(verdict)
        if not as_json:
            click.echo(f"  {verdict.status:11}  {verdict.contract:16}  {verdict.reason}".rstrip())

    given = contracts.values(settings)
    try:
        plugin = contracts.find(_registry(plugins), name_or_file)
    except PluginError as error:
        tell(contracts.Verdict("loads", "fail", str(error)))
    else:
        if not as_json:
            click.echo(f"{plugin.name}, a {'strategy' if plugin.kind == 'strategy' else 'data set'} in {plugin.file}")
        for verdict in contracts.check(plugin, given, data=_data_folder(data_dir)):
            tell(verdict)
    if as_json:
        click.echo(json.dumps([asdict(verdict) for verdict in told], indent=1))
    raise click.exceptions.Exit(1 if any(verdict.status == "fail" for verdict in told) else 0)


# ---------------------------------------------------------------- what verbs share


def _registry(plugins: Sequence[Path]) -> Registry:
    from bench.plugins import Registry

    return Registry(plugins)


def _survey(
    grid: str,
    registry: Registry,
    settings: Sequence[str],
    strategies: Sequence[str],
    seeds: str | None,
    store: Path | None,
) -> Survey:
    from bench.grid import load
    from bench.sweep.status import survey
    from bench.sweep.store import Store

    loaded = load(grid, registry, settings=settings, strategies=strategies, seeds=_seeds(seeds))
    return survey(loaded, Store(store or _default_store(loaded)), registry)


def _default_store(grid: Grid) -> Path:
    return Path(os.environ.get("BENCH_STORE") or "runs", grid.name)


def _seeds(text: str | None) -> int | list[int] | None:
    """Return a count, or the list that commas make.

    Raises:
        UserError: it is neither.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise UserError(f"--seeds {text} is neither a count (3) nor a list of seeds (0,1,5)")
    return int(text) if len(parts) == 1 else [int(part) for part in parts]


def _data_folder(given: Path | None) -> Path:
    """Return the folder of data sets; the default one is made."""
    if given:
        return given.expanduser().absolute()
    from platformdirs import user_cache_path

    folder = user_cache_path("priorbench") / "data"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise UserError(f"the data folder {folder} cannot be made ({reason}); name another with --data-dir") from error
    return folder


def _check_device(device: str) -> None:
    """Raise UserError for a device that is not there; torch is asked only about one that may not be."""
    if device == "cpu":
        return
    kind, _, index = device.partition(":")
    if kind not in ("cuda", "mps") or (index and not (index.isdigit() and kind == "cuda")):
        raise UserError(f"--device {device} is unknown; allowed: cpu, cuda, cuda:N, mps")
    import torch

    there = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if int(index or 0) >= there:
        has = f"{there} {kind} {'device' if there == 1 else 'devices'}"
        raise UserError(f"--device {device} is not there: torch sees {has} on this machine")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print_plan(found: Survey, todo: Sequence[Job]) -> None:
    wanted = {job.cell.id for job in todo}
    for standing in found.standings:
        word = "run" if standing.cell.id in wanted else standing.state
        click.echo(f"{word:8}  {found.name(standing.cell)}  ({standing.why})")
    click.echo(f"{_cells(len(todo))} of {len(found.standings)} would run; store: {found.store.folder}")


def _cells(number: int) -> str:
    return "1 cell" if number == 1 else f"{number} cells"


def _command(verb: str, without: Sequence[str] = ()) -> str:
    """Return the command that was given, with another verb and without some flags."""
    import shlex

    return shlex.join(["bench", verb, *(word for word in sys.argv[2:] if word not in without)])


# ---------------------------------------------------------------- the entry point


def main() -> NoReturn:
    """Carry out the command line and exit.

    With 0: all went well. 1: a cell failed, or the store cannot be written. 2: the user's mistake, told in one
    sentence. 130 (143): stopped by Ctrl-C (SIGTERM).
    """
    sys.exit(_carry_out(sys.argv[1:]))


def _carry_out(given: Sequence[str]) -> int:
    debug = "--debug" in given  # looked for here, for it also counts where parsing fails
    try:
        code = bench.main(list(given), prog_name="bench", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except click.UsageError as error:
        if debug:
            traceback.print_exc()
        return _told(_usage(error), 2)
    except UserError as error:
        if debug:
            traceback.print_exc()
        return _told(str(error), 2)
    except BrokenPipeError:
        # whoever read our output is gone: `bench list | head`; python must not complain when it closes it either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _usage(error: click.UsageError) -> str:
    """Return a parser's complaint as one sentence with the nearest name."""
    if isinstance(error, click.NoSuchOption):
        verb = f" of `{error.ctx.command_path}`" if error.ctx else ""
        known = [name for param in error.ctx.command.params for name in param.opts] if error.ctx else []
        return f"there is no option {error.option_name}{verb}{_nearest(error.option_name, known)}"
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; see `{error.ctx.command_path if error.ctx else 'bench'} --help`"


def _nearest(name: str, names: Sequence[str]) -> str:
    from bench.settings import nearest

    return nearest(name, names) or f"; allowed: {', '.join(names)}"


def _told(sentence: str, code: int) -> int:
    click.echo(f"error: {sentence}", err=True)
    return code
