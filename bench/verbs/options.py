"""Options that verbs share and what is made of them, and the commands that verbs tell to go on with."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.places import absolute
from bench.words import UserError, nearest, plain, shortened

if TYPE_CHECKING:
    from bench.sweep.requests import Request

Verb = Callable[..., Any]
Values = dict[str, Any]


def say(sentence: str) -> None:
    """Print a sentence where errors go; what it tells may come from a stranger."""
    click.echo(plain(sentence), err=True)


def share_of(context: click.Context, option: click.Parameter, text: str | None) -> int | str | None:
    """Return how many cells share a GPU, or `auto`.

    Raises:
        UserError: it is neither.
    """
    if text in (None, "auto"):
        return text
    number = _whole(str(text))
    if not number:
        raise UserError(f"--per-gpu {shortened(str(text), 60)} is neither a whole number, at least 1, nor auto")
    return number


def seeds_of(context: click.Context, option: click.Parameter, text: str | None) -> int | list[int] | None:
    """Return a count, or the list that commas make.

    Raises:
        UserError: it is neither.
    """
    if text is None:
        return None
    listing = text.strip()
    bracketed = listing.startswith("[") and listing.endswith("]")
    if bracketed:
        listing = listing[1:-1]
    parts = listing.removesuffix(",").split(",")
    seeds = [_whole(part.strip()) for part in parts]
    if any(seed is None for seed in seeds):
        least = "each at least 0 and below 2^63"
        raise UserError(f"--seeds {shortened(text, 60)} is neither a count (3) nor a list of seeds (0,1,5), {least}")
    chosen = [seed for seed in seeds if seed is not None]
    return chosen if bracketed or "," in listing else chosen[0]


def _whole(text: str) -> int | None:
    """Return the whole number of 63 bits at most that a text is; None where it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):  # `isdigit` takes a superscript for one, too
        return None
    value = int(text)
    return value if value < 2**63 else None


def _bundle(
    name: str, keys: Iterable[str], make: Callable[[Values], Any], *options: Callable[[Verb], Verb]
) -> Callable[[Verb], Verb]:
    """Return a decorator that adds options, and hands the verb as one argument what is made of those with `keys`."""

    def decorated(verb: Verb) -> Verb:
        @functools.wraps(verb)
        def bundled(**values: Any) -> Any:
            parts = {key: values.pop(key) for key in keys if key in values}
            return verb(**values, **{name: make(parts)})

        wrapped: Verb = bundled
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorated


def _stated(values: Values) -> Values:
    """Return the options that the command line states, as TOML has them."""
    stated = {name: value for name, value in values.items() if value not in (None, ())}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in stated.items()}


# ---------------------------------------------------------------- options


class Place(click.Path):
    """A path, absolute from here on."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the place that a path stands for.

        Raises:
            UserError: it is none.
        """
        return absolute(value, param.opts[0] if isinstance(param, click.Option) else "FILE")


flag = functools.partial(click.option, is_flag=True)
folder = functools.partial(click.option, metavar="DIR", type=Place())
number = functools.partial(click.option, type=click.IntRange(min=1), metavar="N")
count = functools.partial(click.option, type=click.IntRange(min=0), metavar="N")
amount = functools.partial(click.option, type=click.FloatRange(min=0, min_open=True))

DATA = "Where data sets lie or are downloaded to (also $BENCH_DATA; default: the profile's, else the user's cache)."
PLUGINS = "Another folder with strategies/*.py, datasets/, networks/ or energies/ (also $BENCH_PLUGINS)."
SEEDS = "So many seeds, or a list such as 0,3,5, in place of the grid's."
data = folder("--data-dir", envvar="BENCH_DATA", help=DATA)
plugins = folder("--plugins", multiple=True, envvar="BENCH_PLUGINS", help=PLUGINS)
store = folder("--store", help="The run store (default: GRID in $BENCH_STORE, the profile's `store`, or runs).")
grid = click.option("--grid", default="digits", show_default=True, metavar="NAME", help="A grid, or a .toml FILE.")
trust = flag("--trust", help="Go on in a run store that was made by somebody else or elsewhere.")
json = flag("--json", "as_json", help="Print JSON for a program to read.")


def _requested(values: Values) -> Request:
    from bench.sweep.progress import screen
    from bench.sweep.requests import Request

    return Request(**values, say=say, display=screen)


#: options of which a request is made
REQUESTED = ("grid", "settings", "strategies", "seeds", "store", "data_dir", "plugins", "trust")
_request = ("request", REQUESTED, _requested)
#: the folders of plugins; the verb gets a `request` made of all such options that it has
request = _bundle(*_request, plugins)
#: which cells
cells = _bundle(
    *_request,
    grid,
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the grid: train.epochs=3."),
    click.option("--strategy", "strategies", multiple=True, metavar="NAME", help="Only this strategy, or FILE."),
    click.option("--seeds", metavar="N", callback=seeds_of, help=SEEDS),
    store,
    plugins,
)
on = click.option(
    "--on",
    type=click.Choice(["local", "slurm"]),
    default="local",
    show_default=True,
    help="Run here, or as SLURM jobs.",
)
#: what cells may take; the verb gets it as `limits`, with its own `--device`
limits = _bundle(
    "limits",
    ("jobs", "timeout", "device"),
    dict,
    number("--jobs", help="Worker processes (default: one a core or GPU)."),
    amount("--timeout", metavar="MINUTES", help="End a cell that takes longer."),
)
#: what a SLURM job asks for; the verb gets what is stated as `wanted`, as `[slurm]` would say it
slurm = _bundle(
    "wanted",
    (
        *("partition", "account", "constraint", "gpus", "per_gpu", "cpus", "memory", "time", "parallel"),
        *("cells_per_job", "retries", "setup"),
    ),
    _stated,
    click.option("--partition", metavar="NAME", help="The SLURM partition."),
    click.option("--account", metavar="NAME", help="The account that SLURM charges."),
    click.option("--constraint", metavar="WORDS", help="Features that a SLURM node must have."),
    count("--gpus", help="GPUs of a SLURM job (default: the profile's, or 0)."),
    click.option("--per-gpu", callback=share_of, metavar="K", help="Cells that share a GPU, or auto (default: 1)."),
    number("--cpus", help="CPUs of a SLURM job (default: the profile's, or 1)."),
    amount("--memory", metavar="GB", help="Memory of a worker process, or of a SLURM job."),
    number("--time", metavar="MINUTES", help="Time limit of a SLURM job (default: the profile's, or 60)."),
    number("--parallel", help="SLURM jobs at a time."),
    number("--cells-per-job", help="Cells of a SLURM job, one after another (default: the profile's, or 1)."),
    count("--retries", help="How often a cell that was lost goes on (default: 2 here; on SLURM the profile's, or 3)."),
    click.option("--setup", multiple=True, metavar="LINE", help="A line of shell before a job starts."),
)


# ---------------------------------------------------------------- the command line, told


def command(verb: str, without: Sequence[str] = ()) -> str:
    """Return the command that was given, with another verb and without some flags."""
    return shlex.join(["bench", verb, *(word for word in sys.argv[2:] if word not in without)])


_ABOUT = ("--grid", "--seeds", "--strategy", "--set", "--store", "--plugins")


def about(verb: str, *flags: str, keeping: Sequence[str] = _ABOUT) -> str:
    """Return a command with another verb about the same cells in the same store, or with these options alone."""
    kept, words = [], iter(sys.argv[2:])
    for word in words:
        name, equals, _ = word.partition("=")
        if name in keeping:
            kept += [word] if equals else [word, next(words, "")]
    return shlex.join(["bench", verb, *kept, *flags])


def chosen(beginning: str, ids: Sequence[str]) -> str:
    """Return the one id that begins like this.

    Raises:
        UserError: there is none, or more than one.
    """
    matches = [cell for cell in ids if cell.startswith(beginning)]
    if len(matches) > 1:
        raise UserError(f'"{beginning}" begins the ids of {len(matches)} cells; give more of it')
    if not matches:
        raise UserError(f'there is no cell "{beginning}"{nearest(beginning, ids) or "; see `bench status --why`"}')
    return matches[0]
