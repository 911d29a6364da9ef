"""The verbs that carry out cells: here, or in SLURM jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bench.protocol import UserError
from bench.verbs import endings, options

if TYPE_CHECKING:
    from bench.plugins import Registry
    from bench.profile import Slurm
    from bench.sweep.attempts import Job
    from bench.sweep.pool import Tally
    from bench.sweep.slurm.submission import Submission
    from bench.sweep.status import Survey

RETRIES = 2  # of a lost cell on this machine


@click.command()
@options.grid
@click.option("--on", type=click.Choice(["local", "slurm"]), default="local", show_default=True, help="Where.")
@click.option("--detach", is_flag=True, help="Return once SLURM has the jobs; `bench collect` comes back to them.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Worker processes (default: one a core or GPU).")
@click.option("--dry-run", is_flag=True, help="Say what would run, or print SLURM's scripts, and run nothing.")
@click.option("--stale", is_flag=True, help="Also run cells again that earlier code of bench recorded.")
@click.option("--retry-failed", is_flag=True, help="Also run cells again that failed (all but diverged ones).")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES", help="At most, a cell.")
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps (default: cpu; cuda in a job with GPUs).")
@options.slurm
@options.store
@options.data
@options.plugins
@options.debug
def run(
    grid: str,
    settings: tuple[str, ...],
    strategies: tuple[str, ...],
    seeds: str | None,
    on: str,
    detach: bool,
    jobs: int | None,
    dry_run: bool,
    stale: bool,
    retry_failed: bool,
    timeout: float | None,
    device: str | None,
    store: Path | None,
    data_dir: Path | None,
    plugins: tuple[Path, ...],
    **given: Any,
) -> None:
    """Carry out the cells of a grid that have no final record, and print the table.

    Interrupted at any moment, it loses nothing that is finished: the same command goes on.
    """
    from bench import profile

    wanted = options.slurm_given(given)
    if on == "local":
        foreign = [name for name in wanted if name not in ("memory", "retries", "per_gpu")]
        if detach or foreign:
            option = "detach" if detach else foreign[0].replace("_", "-")
            raise UserError(f"--{option} is said of SLURM jobs; add --on slurm")
    elif jobs:
        raise UserError("--jobs is said of worker processes on this machine; with --on slurm say --parallel or --cpus")
    registry = options.registry_of(plugins)
    found = options.survey_of(grid, registry, settings, strategies, seeds, store)
    todo = found.jobs(stale=stale, retry=retry_failed)
    kept = {"timeout": timeout, "device": device}
    if on == "slurm":
        asked = profile.slurm(found.grid.source.get("slurm", {}), wanted)
        _submit(found, todo, registry, data_dir, asked, kept, dry_run=dry_run)
        if not (detach or dry_run):
            _await(found, grid, registry)
        return
    if dry_run:
        _print_plan(found, todo)
        return
    tally = _locally(found, todo, registry, data_dir, jobs, device or "cpu", timeout, wanted)
    _end(found, grid, registry, tally)


@click.command()
@options.grid
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Worker processes (default: one a core or GPU).")
@click.option("--dry-run", is_flag=True, help="Say what would be scored, and score nothing.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES", help="At most, a cell.")
@click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="cpu, cuda, cuda:1 or mps.")
@options.store
@options.data
@options.plugins
@options.debug
def score(
    grid: str,
    settings: tuple[str, ...],
    strategies: tuple[str, ...],
    seeds: str | None,
    jobs: int | None,
    dry_run: bool,
    timeout: float | None,
    device: str,
    store: Path | None,
    data_dir: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Score trained cells again, with other evaluation settings or scoring code, and train nothing.

    Such as: bench score --set evaluate.importance_samples=5000
    """
    registry = options.registry_of(plugins)
    found = options.survey_of(grid, registry, settings, strategies, seeds, store)
    todo = found.rescored()
    if dry_run:
        _print_plan(found, todo)
        return
    left = len(found.jobs(stale=True)) - len(todo)
    if left:
        sentence = f"{options.cells(left)} left out, which this code has not trained to the end"
        click.echo(f"{sentence}: `{options.about('run')}` does", err=True)
    tally = _locally(found, todo, registry, data_dir, jobs, device, timeout, {})
    _end(found, grid, registry, tally)


@click.command()
@options.grid
@click.option("--detach", is_flag=True, help="Return once SLURM has the jobs.")
@click.option("--dry-run", is_flag=True, help="Print SLURM's scripts, and submit nothing.")
@options.slurm
@options.store
@options.data
@options.plugins
@options.debug
def retry(
    grid: str,
    settings: tuple[str, ...],
    strategies: tuple[str, ...],
    seeds: str | None,
    detach: bool,
    dry_run: bool,
    store: Path | None,
    data_dir: Path | None,
    plugins: tuple[Path, ...],
    **given: Any,
) -> None:
    """Submit the cells again that failed in SLURM jobs or were lost (all but diverged ones), as they were submitted.

    Options change what the jobs ask for: more --memory, more --time.
    """
    from bench import profile
    from bench.sweep.slurm import launches

    registry = options.registry_of(plugins)
    found = options.survey_of(grid, registry, settings, strategies, seeds, store)
    earlier = launches.read(found.store)
    if not earlier:
        raise UserError(
            f"nothing was submitted to SLURM from {found.store.folder}; `bench run --retry-failed` runs failed cells "
            "again on this machine"
        )
    if not dry_run:
        found = endings.settled(found, registry)
    todo = found.jobs(retry=True)
    last = earlier[-1]
    asked = profile.slurm(last.slurm, options.slurm_given(given))
    _submit(found, todo, registry, data_dir, asked, last.options, dry_run=dry_run)
    if not (detach or dry_run):
        _await(found, grid, registry)


# ---------------------------------------------------------------- here


def _end(found: Survey, grid: str, registry: Registry, tally: Tally | None) -> NoReturn:
    """Say how to go on where the sweep was stopped, else print the table; exit."""
    if tally:
        found = options.survey_in(found.grid, found.store, registry)
    if tally and tally.signal is not None:
        from bench.sweep.status import summary

        verb = sys.argv[1]
        click.echo(f"stopped; {summary(found.counts())}; to go on: {options.command(verb)}", err=True)
        raise click.exceptions.Exit(128 + tally.signal)
    endings.conclude(found, grid, registry)


def _locally(
    found: Survey,
    todo: Sequence[Job],
    registry: Registry,
    data_dir: Path | None,
    jobs: int | None,
    device: str,
    timeout: float | None,
    wanted: dict[str, Any],
) -> Tally | None:
    """Carry out cells in processes of this machine; None where there was nothing to do."""
    from bench.sweep import progress, status
    from bench.sweep.pool import Limits, Pool, SweepError
    from bench.sweep.record import provenance
    from bench.sweep.store import StoreError
    from bench.sweep.worker import Setup

    try:
        if not todo:
            found.store.write_grid(found.grid.source)
            return None
        devices = options.devices(device)
        per_gpu = wanted.get("per_gpu", 1)
        most = options.cores() if device == "cpu" else len(devices) * per_gpu
        if jobs and jobs > most and device != "cpu":
            raise UserError(f"--jobs {jobs} are more than {per_gpu} on each of {', '.join(devices)}; raise --per-gpu")
        folder = options.data_folder(data_dir)
        found.store.check_writable()
        todo = status.verified(todo, registry, folder)
        found.store.write_grid(found.grid.source)
        setup = Setup(found.grid.name, found.store.folder, registry, folder, device, provenance(device))
        number = min(jobs or most, len(todo))
        click.echo(f"{options.cells(len(todo))} of {len(found.standings)} to run, {number} at a time", err=True)
        memory = int(wanted["memory"] * 1e9) if "memory" in wanted else None
        limits = Limits(timeout and 60 * timeout, memory, wanted.get("retries", RETRIES))
        with progress.screen(
            len(todo),
            lambda job: found.name(job.cell),
            lambda job: str(found.store.log(job.cell.id, job.attempt)),
        ) as screen:
            return Pool(setup, number, screen, limits, devices=devices).run(todo)
    except (StoreError, SweepError) as error:
        raise click.exceptions.Exit(options.told(str(error), 1)) from error


def _print_plan(found: Survey, todo: Sequence[Job]) -> None:
    wanted = {job.cell.id for job in todo}
    for standing in found.standings:
        word = "run" if standing.cell.id in wanted else standing.state
        click.echo(f"{word:8}  {found.name(standing.cell)}  ({standing.why})")
    click.echo(f"{options.cells(len(todo))} of {len(found.standings)} would run; store: {found.store.folder}")


# ---------------------------------------------------------------- in SLURM jobs


def _submit(
    found: Survey,
    todo: Sequence[Job],
    registry: Registry,
    data_dir: Path | None,
    asked: Slurm,
    kept: dict[str, Any],
    *,
    dry_run: bool,
) -> None:
    """Submit cells, or print the scripts.

    Args:
        found: where all cells stand.
        todo: the cells.
        registry: where plugins are found.
        data_dir: the folder of data sets, or None for the default one.
        asked: what a job asks for.
        kept: `device` and `timeout` of the command, which a retry takes over.
        dry_run: print the scripts alone.
    """
    from bench.sweep import status
    from bench.sweep.record import provenance
    from bench.sweep.slurm import commands as slurm
    from bench.sweep.slurm.submission import Submission
    from bench.sweep.store import StoreError
    from bench.sweep.worker import Setup

    device = kept["device"] or ("cuda" if asked.gpus else "cpu")
    timeout = kept["timeout"] and 60 * kept["timeout"]
    folder = options.data_folder(data_dir)
    # jobs run elsewhere: what they are told is absolute
    store = found.store.folder.absolute()
    setup = Setup(found.grid.name, store, registry, folder, device, provenance(device))
    if dry_run:
        _print_scripts(Submission(found, todo, setup, asked, timeout, kept))
        return
    try:
        found.store.check_writable()
        if todo:
            todo = status.verified(todo, registry, folder)
        found.store.write_grid(found.grid.source)
        if todo:
            launch = Submission(found, todo, setup, asked, timeout, kept).submit()
            ids = ", ".join(array.job for array in launch.arrays)
            number = sum(len(array.cells) for array in launch.arrays)
            jobs = "1 job" if number == 1 else f"{number} jobs"
            click.echo(f"{options.cells(len(todo))} of {len(found.standings)} submitted in {jobs}: {ids}", err=True)
        else:
            click.echo("there is no cell to submit", err=True)
    except (StoreError, slurm.Unreachable) as error:
        raise click.exceptions.Exit(options.told(str(error), 1)) from error
    click.echo(f"to see how they are: {options.about('status')}", err=True)


def _await(found: Survey, grid: str, registry: Registry) -> NoReturn:
    """Wait until submitted cells have ended, and print the table."""
    endings.watch(found, registry)
    found = endings.settled(options.survey_in(found.grid, found.store, registry), registry)
    endings.conclude(found, grid, registry)


def _print_scripts(submission: Submission) -> None:
    from bench.sweep.slurm import commands as slurm

    try:
        most = slurm.most_tasks()
    except slurm.Unreachable:
        most = 1000  # SLURM's own default, where the site's cannot be asked
    scripts = submission.scripts(most)
    for number, (script, array) in enumerate(zip(scripts, submission.arrays(most), strict=True), 1):
        cells = options.cells(sum(len(chunk.jobs) for chunk in array))
        click.echo(f"# ---- script {number} of {len(scripts)}: jobs: {len(array)}, {cells}\n{script}")
