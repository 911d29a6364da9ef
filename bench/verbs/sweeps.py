"""The verbs that carry out cells: here, or in SLURM jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from bench import profile
from bench.protocol import UserError
from bench.sweep.records import Job
from bench.sweep.slurm import commands as slurm
from bench.sweep.slurm import launches
from bench.sweep.slurm.submission import Submission
from bench.sweep.status import Survey, summary
from bench.verbs import options
from bench.verbs.options import say
from bench.verbs.requests import Request, cells
from bench.verbs.status import conclude, watch


@click.command()
@options.cells
@options.data
@click.option("--on", type=click.Choice(["local", "slurm"]), default="local", show_default=True, help="Where.")
@click.option("--detach", is_flag=True, help="Return once SLURM has the jobs; `bench collect` comes back to them.")
@options.jobs
@click.option("--dry-run", is_flag=True, help="Say what would run, or print SLURM's scripts, and run nothing.")
@click.option("--stale", is_flag=True, help="Also run cells again that earlier code of bench recorded.")
@click.option("--retry-failed", is_flag=True, help="Also run cells again that failed (all but diverged ones).")
@options.timeout
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps (default: cpu; cuda in a job with GPUs).")
@options.slurm
def run(
    request: Request,
    on: str,
    detach: bool,
    jobs: int | None,
    dry_run: bool,
    stale: bool,
    retry_failed: bool,
    timeout: float | None,
    device: str | None,
    wanted: dict[str, Any],
) -> None:
    """Carry out the cells of a grid that have no final record, and print the table.

    Interrupted at any moment, it loses nothing that is finished: the same command goes on.
    """
    if on == "local":
        foreign = ["detach"] * detach + [name for name in wanted if name not in ("memory", "retries", "per_gpu")]
        if foreign:
            raise UserError(f"--{foreign[0].replace('_', '-')} is said of SLURM jobs; add --on slurm")
    elif jobs:
        raise UserError("--jobs is said of worker processes on this machine; with --on slurm say --parallel or --cpus")
    survey = request.survey()
    todo = survey.jobs(stale=stale, retry=retry_failed)
    if on == "slurm":
        asked = profile.slurm(survey.grid.source.get("slurm", {}), wanted)
        kept = {"timeout": timeout, "device": device}
        _submit(request, survey, todo, asked, kept, detach=detach, dry_run=dry_run)
    elif dry_run:
        _print_plan(survey, todo)
    else:
        _carry_out(request, survey, todo, device=device or "cpu", jobs=jobs, timeout=timeout, **wanted)


@click.command()
@options.cells
@options.data
@options.jobs
@click.option("--dry-run", is_flag=True, help="Say what would be scored, and score nothing.")
@options.timeout
@click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="cpu, cuda, cuda:1 or mps.")
def score(request: Request, dry_run: bool, **limits: Any) -> None:
    """Score trained cells again, with other evaluation settings or scoring code, and train nothing.

    Such as: bench score --set evaluate.importance_samples=5000
    """
    survey = request.survey()
    todo = survey.rescored()
    if dry_run:
        _print_plan(survey, todo)
        return
    if left := len(survey.jobs(stale=True)) - len(todo):
        sentence = f"{cells(left)} left out, which this code has not trained to the end"
        say(f"{sentence}: `{options.about('run')}` does")
    _carry_out(request, survey, todo, **limits)


@click.command()
@options.cells
@options.data
@click.option("--detach", is_flag=True, help="Return once SLURM has the jobs.")
@click.option("--dry-run", is_flag=True, help="Print SLURM's scripts, and submit nothing.")
@options.slurm
def retry(request: Request, detach: bool, dry_run: bool, wanted: dict[str, Any]) -> None:
    """Submit the cells again that failed in SLURM jobs or were lost (all but diverged ones), as they were submitted.

    Options change what the jobs ask for: more --memory, more --time.
    """
    survey = request.survey()
    earlier = launches.read(survey.store)
    if not earlier:
        raise UserError(
            f"nothing was submitted to SLURM from {survey.store.folder}; `bench run --retry-failed` runs failed cells "
            "again on this machine"
        )
    if not dry_run:
        survey = request.settle(survey)
    asked = profile.slurm(earlier[-1].slurm, wanted)
    _submit(request, survey, survey.jobs(retry=True), asked, earlier[-1].options, detach=detach, dry_run=dry_run)


def _carry_out(request: Request, survey: Survey, todo: Sequence[Job], **limits: Any) -> NoReturn:
    """Carry out cells here; print the table, or how to go on where that was stopped; exit."""
    tally = request.carry_out(survey, todo, **limits)
    if todo:
        survey = request.survey()
    if tally.signal is not None:
        verb = str(click.get_current_context().info_name)
        say(f"stopped; {summary(survey.counts())}; to go on: {options.command(verb)}")
        raise click.exceptions.Exit(128 + tally.signal)
    conclude(request, survey)


def _submit(
    request: Request,
    survey: Survey,
    todo: Sequence[Job],
    asked: profile.Slurm,
    kept: Mapping[str, Any],
    *,
    detach: bool,
    dry_run: bool,
) -> None:
    """Submit cells and, unless they are to be left to SLURM, wait for them and print the table; or print the scripts.

    Args:
        request: what was asked for.
        survey: where all cells stand.
        todo: the cells.
        asked: what a job asks for.
        kept: `device` and `timeout` of the command, which a retry takes over.
        detach: leave them to SLURM.
        dry_run: print the scripts alone.
    """
    if dry_run:
        _print_scripts(request.submission(survey, todo, asked, kept))
        return
    if launch := request.submit(survey, todo, asked, kept):
        number = sum(len(array.cells) for array in launch.arrays)
        jobs = f"{'1 job' if number == 1 else f'{number} jobs'}: {', '.join(array.job for array in launch.arrays)}"
        say(f"{cells(len(todo))} of {len(survey.standings)} submitted in {jobs}")
    else:
        say("there is no cell to submit")
    say(f"to see how they are: {options.about('status')}")
    if not detach:
        watch(request)
        conclude(request, request.settle(request.survey()))


def _print_plan(survey: Survey, todo: Sequence[Job]) -> None:
    chosen = {job.cell.id for job in todo}
    for standing in survey.standings:
        word = "run" if standing.cell.id in chosen else standing.state
        click.echo(f"{word:8}  {survey.name(standing.cell)}  ({standing.why})")
    click.echo(f"{cells(len(todo))} of {len(survey.standings)} would run; store: {survey.store.folder}")


def _print_scripts(submission: Submission) -> None:
    try:
        most = slurm.most_tasks()
    except slurm.Unreachable:
        most = 1000  # SLURM's own default, where the site's cannot be asked
    scripts = submission.scripts(most)
    for number, (script, array) in enumerate(zip(scripts, submission.arrays(most), strict=True), 1):
        size = cells(sum(len(chunk.jobs) for chunk in array))
        click.echo(f"# ---- script {number} of {len(scripts)}: jobs: {len(array)}, {size}\n{script}")
