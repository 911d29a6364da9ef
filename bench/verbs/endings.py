"""How verbs that carry out or collect cells end: by waiting for them, recording lost ones, and printing the table."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NoReturn

import click

from bench.verbs import options

if TYPE_CHECKING:
    from bench.plugins import Registry
    from bench.sweep.status import Survey

LIVE = ("pending", "preempted", "running")
PAUSE = 2.0  # seconds between two looks at least


def watch(found: Survey, registry: Registry) -> None:
    """Wait until no cell waits or runs any more, and print how they stand whenever that changes."""
    from bench.sweep.slurm import commands as slurm
    from bench.sweep.slurm import submitted
    from bench.sweep.status import summary, survey

    before, silent = "", False
    try:
        while True:
            start = time.monotonic()
            try:
                counts = submitted.overlaid(survey(found.grid, found.store, registry)).counts()
            except slurm.Unreachable as error:  # it may be restarted: jobs outlive that
                if not silent:
                    click.echo(f"{error}; waiting for it", err=True)
                silent = True
            else:
                silent = False
                if (now := summary(counts)) != before:
                    click.echo(now, err=True)
                    before = now
                if not any(counts[state] for state in LIVE):
                    return
            time.sleep(max(PAUSE, 5 * (time.monotonic() - start)))  # a look at many cells is work, too
    except KeyboardInterrupt:
        command = options.about("collect", "--wait")
        click.echo(f"left to SLURM; to wait for them again: {command}", err=True)
        raise click.exceptions.Exit(130) from None


def settled(found: Survey, registry: Registry) -> Survey:
    """Write the records of cells whose jobs are gone without one; return how the cells stand then."""
    from bench.sweep.record import provenance
    from bench.sweep.slurm import submitted
    from bench.sweep.store import StoreError

    try:
        number = submitted.settle(found, provenance("unknown"))
    except StoreError as error:
        raise click.exceptions.Exit(options.told(str(error), 1)) from error
    if not number:
        return found
    click.echo(f"{options.cells(number)} whose jobs are gone without a record: recorded as lost", err=True)
    return options.survey_in(found.grid, found.store, registry)


def conclude(found: Survey, grid: str, registry: Registry) -> NoReturn:
    """Print the table, how many cells there are of each kind, and what to do about them; exit."""
    from bench.report import report
    from bench.sweep.record import FAILED
    from bench.sweep.status import summary

    counts = found.counts()
    click.echo(report(grid, [found.store.folder], None, registry))
    click.echo(summary(counts), err=True)
    for sentence in advise(found):
        click.echo(sentence, err=True)
    raise click.exceptions.Exit(1 if any(counts[state] for state in (*FAILED, "missing", "lost")) else 0)


def advise(found: Survey) -> list[str]:
    """Return how to go on, one sentence each; what was submitted to SLURM goes there again."""
    from bench.sweep.slurm import launches
    from bench.sweep.status import advice

    given = sys.argv[1:2] == ["run"]
    run = options.command("run", without=("--retry-failed", "--stale")) if given else options.about("run")
    retry = options.about("retry") if launches.read(found.store) else f"{run} --retry-failed"
    return advice(found.counts(), retry, f"{run} --stale", options.about("collect", "--wait"))
