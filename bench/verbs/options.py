"""Options that verbs share, and what is made of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.protocol import UserError

if TYPE_CHECKING:
    from bench.grid import Grid
    from bench.plugins import Registry
    from bench.sweep.status import Survey
    from bench.sweep.store import Store

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

plugins = click.option(
    "--plugins",
    multiple=True,
    metavar="DIR",
    envvar="BENCH_PLUGINS",
    type=click.Path(path_type=Path),
    help="Another folder with strategies/*.py or datasets/*.py (also $BENCH_PLUGINS).",
)
data = click.option(
    "--data-dir",
    metavar="DIR",
    envvar="BENCH_DATA",
    type=click.Path(path_type=Path),
    help="Where data sets lie or are downloaded to (also $BENCH_DATA; default: the profile's, else the user's cache).",
)
store = click.option(
    "--store",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The run store (default: GRID in $BENCH_STORE, the profile's `store`, or runs).",
)
json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")
debug = click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from.")


def grid(verb: Decorated) -> Decorated:
    """Add the options that say which cells."""
    for option in (
        click.option("--seeds", metavar="N", help="So many seeds, or a list such as 0,3,5, in place of the grid's."),
        click.option("--strategy", "strategies", multiple=True, metavar="NAME", help="Only this strategy, or FILE."),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the grid: train.epochs=3."),
        click.option("--grid", default="digits", show_default=True, metavar="NAME", help="A grid, or a .toml FILE."),
    ):
        verb = option(verb)
    return verb


def slurm(verb: Decorated) -> Decorated:
    """Add the options that say what a job asks for; `slurm_given` makes values of them."""
    count, positive = click.IntRange(min=0), click.IntRange(min=1)
    for option in (
        click.option("--setup", multiple=True, metavar="LINE", help="A line of shell before a job starts."),
        click.option("--retries", type=count, metavar="N", help="How often a cell that was lost goes on."),
        click.option("--cells-per-job", type=positive, metavar="N", help="Cells a SLURM job."),
        click.option("--parallel", type=positive, metavar="N", help="SLURM jobs at a time."),
        click.option("--time", type=positive, metavar="MINUTES", help="Time limit of a SLURM job."),
        click.option(
            "--memory",
            type=click.FloatRange(min=0, min_open=True),
            metavar="GB",
            help="Memory of a worker process, or of a SLURM job.",
        ),
        click.option("--cpus", type=positive, metavar="N", help="CPUs of a SLURM job."),
        click.option("--per-gpu", type=positive, metavar="K", help="Cells that share a GPU (default: 1)."),
        click.option("--gpus", type=count, metavar="N", help="GPUs of a SLURM job."),
        click.option("--constraint", metavar="WORDS", help="Features that a SLURM node must have."),
        click.option("--account", metavar="NAME", help="The account that SLURM charges."),
        click.option("--partition", metavar="NAME", help="The SLURM partition."),
    ):
        verb = option(verb)
    return verb


# ---------------------------------------------------------------- what is made of them


def registry_of(plugins: Sequence[Path]) -> Registry:
    """Return the plugins that can be found."""
    from bench.plugins import Registry

    return Registry(plugins)


def survey_of(
    grid: str,
    registry: Registry,
    settings: Sequence[str],
    strategies: Sequence[str],
    seeds: str | None,
    store: Path | None,
) -> Survey:
    """Return where the cells of a grid stand.

    Raises:
        UserError: the grid or the options are wrong.
    """
    from bench.grid import load
    from bench.sweep.store import Store

    loaded = load(grid, registry, settings=settings, strategies=strategies, seeds=_seeds(seeds))
    return survey_in(loaded, Store(store or default_store(loaded.name)), registry)


def survey_in(grid: Grid, store: Store, registry: Registry) -> Survey:
    """Return where the cells of a grid stand, those that were submitted to SLURM included as far as it answers."""
    from bench.sweep.slurm import commands as slurm
    from bench.sweep.slurm import submitted
    from bench.sweep.status import survey

    found = survey(grid, store, registry)
    try:
        return submitted.overlaid(found)
    except slurm.Unreachable as error:
        click.echo(f"{error}; cells that were submitted are shown as their files alone say", err=True)
        return found


def default_store(name: str) -> Path:
    """Return the run store of a grid of this name, where none was given."""
    from bench import profile

    return profile.stores() / name


def slurm_given(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the options of `slurm` say, as values of the `[slurm]` table."""
    said = {name: value for name, value in given.items() if value not in (None, ())}
    return said | ({"setup": list(said["setup"])} if "setup" in said else {})


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


def data_folder(given: Path | None) -> Path:
    """Return the folder of data sets; the default one is made."""
    from bench import profile

    said = given or profile.read().get("data")
    if said:
        return Path(said).expanduser().absolute()
    from platformdirs import user_cache_path

    folder = user_cache_path("priorbench") / "data"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise UserError(f"the data folder {folder} cannot be made ({reason}); name another with --data-dir") from error
    return folder


def devices(device: str) -> list[str]:
    """Return the devices that a name stands for: `cuda` for every GPU. torch is asked about one that may not be there.

    Raises:
        UserError: the device is unknown or not there.
    """
    if device == "cpu":
        return [device]
    kind, _, index = device.partition(":")
    if kind not in ("cuda", "mps") or (index and not (index.isdigit() and kind == "cuda")):
        raise UserError(f"--device {device} is unknown; allowed: cpu, cuda, cuda:N, mps")
    import torch

    there = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if int(index or 0) >= there:
        has = f"{there} {kind} {'device' if there == 1 else 'devices'}"
        raise UserError(f"--device {device} is not there: torch sees {has} on this machine")
    return [f"cuda:{number}" for number in range(there)] if device == "cuda" else [device]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cells(number: int) -> str:
    """Return `1 cell` or `5 cells`."""
    return "1 cell" if number == 1 else f"{number} cells"


def command(verb: str, without: Sequence[str] = ()) -> str:
    """Return the command that was given, with another verb and without some flags."""
    import shlex

    return shlex.join(["bench", verb, *(word for word in sys.argv[2:] if word not in without)])


def about(verb: str, *flags: str) -> str:
    """Return a command with another verb about the same cells in the same store."""
    import shlex

    kept, words = [], iter(sys.argv[2:])
    for word in words:
        name, equals, _ = word.partition("=")
        if name in ("--grid", "--seeds", "--strategy", "--set", "--store", "--plugins"):
            kept += [word] if equals else [word, next(words, "")]
    return shlex.join(["bench", verb, *kept, *flags])


def told(sentence: str, code: int) -> int:
    """Print an error and return the exit code that goes with it."""
    click.echo(f"error: {sentence}", err=True)
    return code
