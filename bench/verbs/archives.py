"""The verbs that take a run store to a colleague."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from bench import profile
from bench.face.archives import export_store, import_store
from bench.grid import name_of
from bench.verbs import options
from bench.verbs.options import say


@click.command()
@click.argument("file", type=options.Place())
@options.grid
@options.store
@click.option("--models", is_flag=True, help="With the trained models.")
def export(file: Path, grid: str, store: Path | None, models: bool) -> None:
    """Write the records of a run store into FILE, a zip file for a colleague, with what lies beside them.

    That is their curves and arrays, the plan, and the logs of failed cells; no checkpoints or data. Records and logs
    name paths and this kind of machine.
    """
    copied = export_store(store or profile.stores() / name_of(grid), file, models)
    for note in copied.notes:
        say(note)
    click.echo(f"{_records(copied.records)} of {copied.grid} in {copied.place} ({file.stat().st_size / 1e6:,.1f} MB)")


@click.command("import")
@click.argument("file", type=options.Place())
@options.folder("--store", help="A new run store (default: GRID in $BENCH_STORE, the profile's `store`, or runs).")
def import_(file: Path, store: Path | None) -> None:
    """Make a new run store of FILE, which a colleague exported, once all of it is checked.

    Nothing in it is executed, and to run its cells takes --trust.
    """
    copied = import_store(file, store)
    elsewhere = [] if store is None else ["--store", str(store)]
    command = shlex.join(["bench", "report", "--grid", copied.grid, *elsewhere])
    click.echo(f"{_records(copied.records)} of {copied.grid} in {copied.place}; to see them: {command}")


def _records(number: int) -> str:
    return "1 record" if number == 1 else f"{number} records"
