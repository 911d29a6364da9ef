"""Options that verbs share and what is made of them, and the commands that verbs tell to go on with."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from bench.profile import Slurm
from bench.protocol import UserError
from bench.verbs.requests import Request

Verb = Callable[..., Any]
count, positive, some = click.IntRange(min=0), click.IntRange(min=1), click.FloatRange(min=0, min_open=True)
folder = click.Path(path_type=Path)
say = functools.partial(click.echo, err=True)

plugins = click.option(
    "--plugins",
    multiple=True,
    metavar="DIR",
    envvar="BENCH_PLUGINS",
    type=folder,
    help="Another folder with strategies/*.py or datasets/*.py (also $BENCH_PLUGINS).",
)
data = click.option(
    "--data-dir",
    metavar="DIR",
    envvar="BENCH_DATA",
    type=folder,
    help="Where data sets lie or are downloaded to (also $BENCH_DATA; default: the profile's, else the user's cache).",
)
store = click.option(
    "--store",
    metavar="DIR",
    type=folder,
    help="The run store (default: GRID in $BENCH_STORE, the profile's `store`, or runs).",
)
grid = click.option("--grid", default="digits", show_default=True, metavar="NAME", help="A grid, or a .toml FILE.")
json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")
jobs = click.option("--jobs", type=positive, metavar="N", help="Worker processes (default: one a core or GPU).")
timeout = click.option("--timeout", type=some, metavar="MINUTES", help="At most, a cell.")


def request(verb: Verb) -> Verb:
    """Hand the verb one `request` in place of the options that it is made of."""
    names = {field.name for field in fields(Request)}
    return _bundled(verb, "request", names, lambda values: Request(**values, say=say))


def cells(verb: Verb) -> Verb:
    """Add the options that say which cells, and hand the verb a `request`."""
    more = "So many seeds, or a list such as 0,3,5, in place of the grid's."
    for option in (
        plugins,
        store,
        click.option("--seeds", metavar="N", callback=_seeds, help=more),
        click.option("--strategy", "strategies", multiple=True, metavar="NAME", help="Only this strategy, or FILE."),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the grid: train.epochs=3."),
        grid,
    ):
        verb = option(verb)
    return request(verb)


def slurm(verb: Verb) -> Verb:
    """Add the options that say what a job asks for; hand the verb what they say, as `[slurm]` would, as `wanted`."""
    for option in (
        click.option("--setup", multiple=True, metavar="LINE", help="A line of shell before a job starts."),
        click.option("--retries", type=count, metavar="N", help="How often a cell that was lost goes on."),
        click.option("--cells-per-job", type=positive, metavar="N", help="Cells a SLURM job."),
        click.option("--parallel", type=positive, metavar="N", help="SLURM jobs at a time."),
        click.option("--time", type=positive, metavar="MINUTES", help="Time limit of a SLURM job."),
        click.option("--memory", type=some, metavar="GB", help="Memory of a worker process, or of a SLURM job."),
        click.option("--cpus", type=positive, metavar="N", help="CPUs of a SLURM job."),
        click.option("--per-gpu", type=positive, metavar="K", help="Cells that share a GPU (default: 1)."),
        click.option("--gpus", type=count, metavar="N", help="GPUs of a SLURM job."),
        click.option("--constraint", metavar="WORDS", help="Features that a SLURM node must have."),
        click.option("--account", metavar="NAME", help="The account that SLURM charges."),
        click.option("--partition", metavar="NAME", help="The SLURM partition."),
    ):
        verb = option(verb)
    return _bundled(verb, "wanted", Slurm.model_fields, _said)


def _bundled(verb: Verb, name: str, keys: Iterable[str], make: Callable[[dict[str, Any]], Any]) -> Verb:
    """Return the verb, handed as one argument what `make` makes of the options with these keys."""

    @functools.wraps(verb)
    def bundled(**values: Any) -> Any:
        parts = {key: values.pop(key) for key in keys if key in values}
        return verb(**values, **{name: make(parts)})

    return bundled


def _said(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; several lines are a list, as TOML has them."""
    given = {name: value for name, value in values.items() if value not in (None, ())}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def _seeds(context: click.Context, option: click.Parameter, text: str | None) -> int | list[int] | None:
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


# ---------------------------------------------------------------- the command line, told


def command(verb: str, without: Sequence[str] = ()) -> str:
    """Return the command that was given, with another verb and without some flags."""
    return shlex.join(["bench", verb, *(word for word in sys.argv[2:] if word not in without)])


def about(verb: str, *flags: str) -> str:
    """Return a command with another verb about the same cells in the same store."""
    kept, words = [], iter(sys.argv[2:])
    for word in words:
        name, equals, _ = word.partition("=")
        if name in ("--grid", "--seeds", "--strategy", "--set", "--store", "--plugins"):
            kept += [word] if equals else [word, next(words, "")]
    return shlex.join(["bench", verb, *kept, *flags])
