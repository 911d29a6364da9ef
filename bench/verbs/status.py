"""The verbs that say where cells stand, those for cells that were submitted to SLURM, and how verbs about cells end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import click

from bench.plugins.settings import nearest
from bench.protocol import UserError
from bench.report import report
from bench.sweep import status as words
from bench.sweep.records import FAILED
from bench.sweep.slurm import launches, submitted
from bench.sweep.status import Survey
from bench.sweep.store import Store
from bench.verbs import options
from bench.verbs.options import say
from bench.verbs.requests import Request, cells


@click.command()
@options.cells
@click.option("--why", is_flag=True, help="Explain every cell in one line.")
@options.json
def status(request: Request, why: bool, as_json: bool) -> None:
    """Say where the cells of a grid stand."""
    survey = request.survey()
    if as_json:
        click.echo(json.dumps(words.as_json(survey), indent=1))
        return
    click.echo("\n".join(words.explanations(survey)) if why else words.table(survey))
    click.echo(f"{survey.grid.name} in {survey.store.folder}: {words.summary(survey.counts())}")
    if survey.store.grid() not in (None, survey.grid.source):
        click.echo("the last `bench run` in this store had another grid or other options; give them to see its cells")
    for sentence in _advice(survey):
        click.echo(sentence)


@click.command()
@options.cells
@click.option("--wait", is_flag=True, help="Wait until no cell waits or runs any more.")
def collect(request: Request, wait: bool) -> None:
    """Come back to cells that were submitted to SLURM: record those that were lost, and print the table."""
    if wait:
        watch(request)
    conclude(request, request.settle(request.survey()))


@click.command()
@click.argument("ids", metavar="[CELL]...", nargs=-1)
@options.cells
def cancel(request: Request, ids: Sequence[str]) -> None:
    """Cancel the SLURM jobs of all cells of a grid, or of the given CELLs and what shares a job with them.

    A CELL is an id as `bench status --why` shows it, or its beginning.
    """
    survey = request.survey()
    planned = [standing.cell.id for standing in survey.standings]
    number = submitted.cancel(survey, [_whole(beginning, planned) for beginning in ids] or planned)
    if not number:
        click.echo("none of these cells waits or runs in a SLURM job")
        return
    say(f"{cells(number)} cancelled; running ones take some seconds to end")
    watch(request)
    request.settle(request.survey())


@click.command()
@click.argument("cell")
@click.option("--attempt", type=options.positive, metavar="N", help="Of this attempt (default: the last).")
@options.grid
@options.store
@options.request
def logs(request: Request, cell: str, attempt: int | None) -> None:
    """Print the output of an attempt at CELL, an id or its beginning, and of the SLURM job that it ran in.

    Ids stand in `bench status --why`.
    """
    files = list(_logs(request.runs(Path(request.grid).stem), cell, attempt))
    for file in files:
        click.echo(f"==> {file} <==")
        if file.exists():
            click.echo(file.read_bytes(), nl=False)
    if not any(file.exists() for file in files):
        click.echo("nothing yet: the cell has not begun")


def _logs(store: Store, beginning: str, attempt: int | None) -> Iterator[Path]:
    """Give the files that an attempt at a cell, the last where it is None, and its SLURM job print into.

    Raises:
        UserError: there is no such cell or attempt.
    """
    launched = launches.read(store)
    folder = store.folder / "cells"
    ids = sorted({*(path.name for path in folder.glob("*/")), *(id for launch in launched for id in launch.keys)})
    if not ids:
        raise UserError(f"there are no cells in {store.folder}")
    cell = _whole(beginning, ids)
    history = {past.number: past for past in store.history(cell)}
    if attempt and attempt not in history:
        raise UserError(f"cell {cell} has had {len(history)} attempts; there is no attempt {attempt}")
    chosen = history[attempt or max(history)] if history else None
    if chosen:
        yield store.log(cell, chosen.number)
    for launch in launched:
        if launch.sweep == chosen.sweep if chosen else cell in launch.keys:
            job = chosen.job if chosen else launch.jobs().get(cell, "")
            if job:
                yield launches.output(store, launch, job)


def _whole(beginning: str, ids: Sequence[str]) -> str:
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


# ---------------------------------------------------------------- how verbs end


def watch(request: Request) -> None:
    """Wait for submitted cells; whoever has waited enough is told how to come back."""
    try:
        request.watch()
    except KeyboardInterrupt:
        say(f"left to SLURM; to wait for them again: {options.about('collect', '--wait')}")
        raise click.exceptions.Exit(130) from None


def conclude(request: Request, survey: Survey) -> NoReturn:
    """Print the table, how many cells there are of each kind, and what to do about them; exit."""
    counts = survey.counts()
    click.echo(report(request.grid, [survey.store.folder], None, request.registry))
    say(words.summary(counts))
    for sentence in _advice(survey):
        say(sentence)
    raise click.exceptions.Exit(1 if any(counts[state] for state in (*FAILED, "missing", "lost")) else 0)


def _advice(survey: Survey) -> list[str]:
    """Return how to go on, one sentence each; what was submitted to SLURM goes there again."""
    again = click.get_current_context().info_name == "run"
    run = options.command("run", without=("--retry-failed", "--stale")) if again else options.about("run")
    retry = options.about("retry") if launches.read(survey.store) else f"{run} --retry-failed"
    return words.advice(survey.counts(), retry, f"{run} --stale", options.about("collect", "--wait"))
