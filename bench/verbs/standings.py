"""The verbs that say where cells stand, and those for cells that were submitted to SLURM."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bench.protocol import UserError
from bench.verbs import endings, options


@click.command()
@options.grid
@click.option("--why", is_flag=True, help="Explain every cell in one line.")
@options.json
@options.store
@options.plugins
@options.debug
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
    from bench.sweep.status import as_json as plain
    from bench.sweep.status import explanations, summary, table

    found = options.survey_of(grid, options.registry_of(plugins), settings, strategies, seeds, store)
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
    for sentence in endings.advise(found):
        click.echo(sentence)


@click.command()
@options.grid
@click.option("--wait", is_flag=True, help="Wait until no cell waits or runs any more.")
@options.store
@options.plugins
@options.debug
def collect(
    grid: str,
    settings: tuple[str, ...],
    strategies: tuple[str, ...],
    seeds: str | None,
    wait: bool,
    store: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Come back to cells that were submitted to SLURM: record those that were lost, and print the table."""
    registry = options.registry_of(plugins)
    found = options.survey_of(grid, registry, settings, strategies, seeds, store)
    if wait:
        endings.watch(found, registry)
        found = options.survey_in(found.grid, found.store, registry)
    endings.conclude(endings.settled(found, registry), grid, registry)


@click.command()
@click.argument("cells", metavar="[CELL]...", nargs=-1)
@options.grid
@options.store
@options.plugins
@options.debug
def cancel(
    cells: tuple[str, ...],
    grid: str,
    settings: tuple[str, ...],
    strategies: tuple[str, ...],
    seeds: str | None,
    store: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Cancel the SLURM jobs of all cells of a grid, or of the given CELLs and what shares a job with them.

    A CELL is an id as `bench status --why` shows it, or its beginning.
    """
    from bench.sweep.slurm import commands as slurm
    from bench.sweep.slurm import submitted
    from bench.sweep.store import StoreError

    registry = options.registry_of(plugins)
    found = options.survey_of(grid, registry, settings, strategies, seeds, store)
    known = [standing.cell.id for standing in found.standings]
    wanted = [_named(cell, known) for cell in cells] or known
    try:
        number = submitted.cancel(found, wanted)
    except (StoreError, slurm.Unreachable) as error:
        raise click.exceptions.Exit(options.told(str(error), 1)) from error
    if not number:
        click.echo("none of these cells waits or runs in a SLURM job")
        return
    click.echo(f"{options.cells(number)} cancelled; running ones take some seconds to end", err=True)
    endings.watch(found, registry)
    endings.settled(options.survey_in(found.grid, found.store, registry), registry)


@click.command()
@click.argument("cell")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Of this attempt (default: the last).")
@click.option("--grid", default="digits", show_default=True, metavar="NAME", help="A grid, or a .toml FILE.")
@options.store
@options.debug
def logs(cell: str, attempt: int | None, grid: str, store: Path | None) -> None:
    """Print the output of an attempt at CELL, an id or its beginning, and of the SLURM job that it ran in.

    Ids stand in `bench status --why`.
    """
    from bench.sweep.slurm import launches
    from bench.sweep.store import Store

    runs = Store(store or options.default_store(Path(grid).stem))
    folder = runs.folder / "cells"
    submitted = launches.read(runs)
    known = sorted({*(path.name for path in folder.glob("*/")), *(id for one in submitted for id in one.keys)})
    if not known:
        raise UserError(f"there are no cells in {runs.folder}")
    cell = _named(cell, known)
    history = runs.history(cell)
    if attempt and attempt not in [each.number for each in history]:
        raise UserError(f"cell {cell} has had {len(history)} attempts; there is no attempt {attempt}")
    number = attempt or (history[-1].number if history else 0)
    chosen = next((each for each in history if each.number == number), None)
    printed = [runs.log(cell, number)] if number else []
    for launch in submitted:
        if launch.sweep == chosen.sweep if chosen else cell in launch.keys:
            job = chosen.job if chosen else launch.jobs().get(cell, "")
            printed += [launches.output(runs, launch, job)] if job else []
    for file in printed:
        click.echo(f"==> {file} <==")
        if file.exists():
            with file.open("rb") as content:
                click.echo(content.read(), nl=False)
    if not any(file.exists() for file in printed):
        click.echo("nothing yet: the cell has not begun")


def _named(beginning: str, known: list[str]) -> str:
    """Return the one cell whose id begins like this.

    Raises:
        UserError: there is none, or more than one.
    """
    found = [cell for cell in known if cell.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if not found:
        from bench.plugins.shapes import nearest

        raise UserError(f'there is no cell "{beginning}"{nearest(beginning, known) or "; see `bench status --why`"}')
    raise UserError(f'"{beginning}" begins the ids of {len(found)} cells; give more of it')
