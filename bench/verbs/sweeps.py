"""The verbs that carry out cells and say where they stand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.verbs import options

if TYPE_CHECKING:
    from bench.sweep.pool import Tally
    from bench.sweep.records import Job
    from bench.sweep.status import Survey


@click.command()
@options.grid
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Worker processes (default: one a core).")
@click.option("--dry-run", is_flag=True, help="Say what would run, and run nothing.")
@click.option("--stale", is_flag=True, help="Also run cells again that earlier code of bench recorded.")
@click.option("--retry-failed", is_flag=True, help="Also run cells again that failed (all but diverged ones).")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES", help="At most, a cell.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or mps.")
@options.store
@options.data
@options.plugins
@options.debug
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
    from bench.sweep.pool import Limits, Pool, SweepError
    from bench.sweep.records import FAILED, provenance
    from bench.sweep.status import advice, summary, survey
    from bench.sweep.store import StoreError
    from bench.sweep.worker import Setup

    registry = options.registry_of(plugins)
    found = options.survey_of(grid, registry, settings, strategies, seeds, store)
    todo = found.jobs(stale=stale, retry=retry_failed)
    if dry_run:
        _print_plan(found, todo)
        return
    tally: Tally | None = None
    try:
        if todo:
            options.check_device(device)
            folder = options.data_folder(data_dir)
            found.store.check_writable()
            todo = data.verified(todo, registry, folder)
        found.store.write_grid(found.grid.source)
        if todo:
            setup = Setup(found.grid.name, found.store.folder, registry, folder, device, provenance(device))
            number = min(jobs or (options.cores() if device == "cpu" else 1), len(todo))
            click.echo(f"{options.cells(len(todo))} of {len(found.standings)} to run, {number} at a time", err=True)
            with progress.screen(
                len(todo),
                lambda job: found.name(job.cell),
                lambda job: str(found.store.log(job.cell.id, job.attempt)),
            ) as screen:
                tally = Pool(setup, number, screen, Limits(timeout and 60 * timeout)).run(todo)
    except (StoreError, SweepError) as error:
        raise click.exceptions.Exit(options.told(str(error), 1)) from error

    counts = survey(found.grid, found.store, registry).counts()
    if tally and tally.signal is not None:
        click.echo(f"stopped; {summary(counts)}; to go on: {options.command('run')}", err=True)
        raise click.exceptions.Exit(128 + tally.signal)
    from bench.report import report

    click.echo(report(grid, [found.store.folder], None, registry))
    click.echo(summary(counts), err=True)
    for sentence in advice(counts, options.command("run", without=("--retry-failed", "--stale"))):
        click.echo(sentence, err=True)
    raise click.exceptions.Exit(1 if any(counts[state] for state in (*FAILED, "missing")) else 0)


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
    from bench.sweep.status import advice, explanations, summary, table
    from bench.sweep.status import as_json as plain

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
    for sentence in advice(counts, options.command("run", without=("--why",))):
        click.echo(sentence)


def _print_plan(found: Survey, todo: Sequence[Job]) -> None:
    wanted = {job.cell.id for job in todo}
    for standing in found.standings:
        word = "run" if standing.cell.id in wanted else standing.state
        click.echo(f"{word:8}  {found.name(standing.cell)}  ({standing.why})")
    click.echo(f"{options.cells(len(todo))} of {len(found.standings)} would run; store: {found.store.folder}")
