"""The verbs about the cells of a grid: carrying them out, here or in SLURM jobs, and saying where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from bench import profile
from bench.files import json_text, read
from bench.grid import name_of
from bench.plugins.shapes import typed
from bench.protocol import UserError
from bench.report import Records, View, forecast, report
from bench.sweep import record, status, watching
from bench.sweep.limits import limited
from bench.sweep.logs import TensorBoard
from bench.sweep.requests import Plan, Request, cells
from bench.sweep.slurm import commands, launches, submitted
from bench.sweep.slurm.submission import Submission
from bench.sweep.store import Store
from bench.verbs import options
from bench.verbs.options import Values, flag, say
from bench.words import plain


@click.command()
@options.cells
@options.data
@options.trust
@options.on
@flag("--detach", help="Return once SLURM has the jobs; `bench collect` comes back to them.")
@flag("--dry-run", help="Say what would run, or print SLURM's scripts, and how long it takes; run nothing.")
@flag("--stale", help="Also run cells again that earlier code of bench recorded.")
@flag("--retry-failed", help="Also run cells again that failed (all but diverged ones).")
@click.option(
    "--log",
    type=(click.Choice(["tensorboard"]), click.Path(file_okay=False, path_type=Path)),
    metavar="tensorboard DIR",
    help="Write curves, scores and settings of the cells as event files for TensorBoard.",
)
@options.limits
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps (default: cpu; cuda in a job with GPUs).")
@options.slurm
def run(
    request: Request,
    on: str,
    detach: bool,
    dry_run: bool,
    stale: bool,
    retry_failed: bool,
    log: tuple[str, Path] | None,
    limits: Values,
    wanted: Values,
) -> None:
    """Carry out the cells of a grid that have no final record, and print the table.

    Interrupted at any moment, it loses nothing that is finished: the same command goes on.
    """
    if on == "local":
        foreign = ["detach"] * detach + [name for name in wanted if name not in ("memory", "retries", "per_gpu")]
        if foreign:
            raise UserError(f"--{foreign[0].replace('_', '-')} is said of SLURM jobs; add --on slurm")
    elif limits.pop("jobs"):
        raise UserError("--jobs is said of worker processes on this machine; with --on slurm say --parallel or --cpus")
    if log and on == "slurm":
        raise UserError("--log is said of cells on this machine; leave out --on slurm, or watch them by `bench status`")
    if log and not dry_run:
        request = replace(request, log=TensorBoard(log[1]))
    survey = request.survey()
    plan = Plan(request, survey, survey.jobs(stale=stale, retry=retry_failed))
    if on == "slurm":
        asked = profile.slurm(survey.grid.source.get("slurm", {}), wanted)
        _submit(request, [(plan, asked, limits)], detach, dry_run)
        if dry_run and plan.todo:
            _estimate(plan, limits["device"] or ("cuda" if asked.gpus else "cpu"), mark="# ")
    else:
        _carry_out(plan, dry_run, **limits, **wanted)


@click.command()
@options.cells
@options.data
@options.trust
@flag("--dry-run", help="Say what would be scored, and score nothing.")
@options.limits
@click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="cpu, cuda, cuda:1 or mps.")
def score(request: Request, dry_run: bool, limits: Values) -> None:
    """Score trained cells again, with other evaluation settings or scoring code, and train nothing.

    Such as: bench score --set evaluate.importance_samples=5000
    """
    survey = request.survey()
    plan = Plan(request, survey, survey.rescored(), trains=False)
    left = len(survey.jobs(stale=True)) - len(plan.todo)
    if left and not dry_run:
        why = "left out, which this code has not trained to the end"
        say(f"{cells(left)} {why}: `{options.about('run')}` does")
    if not survey.store.folder.is_dir() and not dry_run:  # which would hide the records that come with bench
        say(f"there is no run store {survey.store.folder}")
        raise click.exceptions.Exit(1)
    _carry_out(plan, dry_run, **limits)


@click.command()
@options.cells
@options.data
@options.trust
@flag("--detach", help="Return once SLURM has the jobs.")
@flag("--dry-run", help="Print SLURM's scripts, and submit nothing.")
@options.slurm
def retry(request: Request, detach: bool, dry_run: bool, wanted: Values) -> None:
    """Submit the cells again that failed in SLURM jobs or were lost (all but diverged ones), as they were submitted.

    Options change what the jobs ask for: more --memory, more --time.
    """
    survey = request.survey() if dry_run else request.settle()
    if not launches.read(survey.store):
        why = f"nothing was submitted to SLURM from {survey.store.folder}"
        raise UserError(f"{why}; `bench run --retry-failed` runs failed cells again on this machine")
    if not dry_run:
        request.admit(survey.store)  # its launches say what jobs ask for
    again = ((Plan(request, survey, jobs), launch) for launch, jobs in submitted.again(survey))
    batches = [(plan, profile.slurm(launch.slurm, wanted), launch.options) for plan, launch in again]
    _submit(request, batches, detach, dry_run)


@click.command("status")
@options.cells
@flag("--why", help="Explain every cell in one line.")
@flag("--watch", help="Show it anew every few seconds until nothing runs any more.")
@options.json
def status_(request: Request, why: bool, watch: bool, as_json: bool) -> None:
    """Say where the cells of a grid stand, and how far those are that run, here or in SLURM jobs."""
    if watch and (why or as_json):
        raise UserError(f"--watch cannot be had with {'--why' if why else '--json'}; leave one of them out")
    survey = watching.watch(request) if watch else request.survey()
    if as_json:
        click.echo(json_text(status.as_json(survey)))
        return
    click.echo("\n".join(status.explanations(survey)) if why else status.table(survey))
    click.echo(f"{survey.grid.name} in {survey.store.folder}: {status.summary(survey.counts())}")
    for line in status.running(survey):
        click.echo(line)
    if survey.store.grid() not in (None, survey.grid.source):
        click.echo("the last `bench run` in this store had another grid or other options; give them to see its cells")
    for sentence in _advice(survey):
        click.echo(sentence)
    damaged = [f"{survey.name(standing.cell)}: {standing.why}" for standing in survey.standings if standing.corrupt]
    for sentence in damaged[:5] if not why else ():
        say(sentence)
    if damaged:
        say(f"{cells(len(damaged))} with files that cannot be read, which count as missing")
        raise click.exceptions.Exit(1)


@click.command()
@options.cells
@options.trust
@flag("--wait", help="Wait until no cell runs, or waits in a job that starts by itself.")
def collect(request: Request, wait: bool) -> None:
    """Come back to cells that were submitted to SLURM: record those that were lost, and print the table.

    Cells whose jobs do not start by themselves are not waited for. While a cell has no record, the exit code is 1.
    """
    if wait:
        _watch(request)
    _conclude(request, request.settle())


@click.command()
@click.argument("ids", metavar="[CELL]...", nargs=-1)
@options.cells
@options.trust
def cancel(request: Request, ids: Sequence[str]) -> None:
    """Cancel the SLURM jobs of a grid's cells and tuning, or of the given CELLs and what shares a job with them.

    A CELL is an id as `bench status --why` shows it, or its beginning.
    """
    survey = request.survey()
    request.admit(survey.store)  # whose jobs a stranger's store names, nobody knows
    planned = [standing.cell.id for standing in survey.standings]
    trials = None if ids else _tuned(request, survey)
    chosen = [options.chosen(beginning, planned) for beginning in ids]
    number, jobs = submitted.cancel(survey, chosen or planned, trials)
    if jobs:
        say(f"{jobs} job{'s' * (jobs > 1)} of tuning cancelled; `bench tune` goes on with what is left of the trials")
    elif not number:
        click.echo("none of these cells waits or runs in a SLURM job")
    if not number:
        return
    say(f"{cells(number)} cancelled; running ones take some seconds to end")
    _watch(request)
    request.settle()


def _tuned(request: Request, survey: status.Survey) -> Store | None:
    """Return the store of tuning whose jobs may be cancelled; None where it is somebody else's, which is said."""
    trials = request.trials
    if not request.trusts(trials):
        say(f"jobs of tuning are left alone: {trials.folder} was made by somebody else; to cancel them, add --trust")
        return None
    for sentence in launches.unread(trials) if trials.folder != survey.store.folder.absolute() else ():
        say(f"{sentence}; which jobs of tuning it submitted to SLURM is not known")
    return trials


@click.command()
@click.argument("cell")
@options.number("--attempt", help="Of this attempt (default: the last).")
@options.grid
@options.store
def logs(cell: str, attempt: int | None, grid: str, store: Path | None) -> None:
    """Print the output of an attempt at CELL, an id or its beginning, and of the SLURM job that it ran in.

    Ids stand in `bench status --why`.
    """
    begun = False
    for file in _logs(Request(store=store).runs(name_of(grid)), cell, attempt):
        # a store may come from a stranger, and so may its files and what its cells printed
        click.echo(f"==> {plain(str(file))} <==")
        try:
            content = read(file, follow=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            say(f"{plain(str(file))} cannot be read: {error.strerror or error}")
        else:
            click.echo(plain(content.decode("utf-8", "replace").replace("\r", "\n"), "\n\t"), nl=False)
        begun = True
    if not begun:
        click.echo("nothing yet: the cell has not begun")


def _logs(store: Store, beginning: str, attempt: int | None) -> Iterator[Path]:
    """Give the files that an attempt at a cell, the last where it is None, and its SLURM job print into.

    Raises:
        UserError: there is no such cell or attempt.
    """
    launched = launches.read(store)
    attempted = (path.name for path in store.folder.glob("cells/*/"))
    ids = sorted({*attempted, *(id for launch in launched for id in launch.keys)})
    if not ids:
        raise UserError(f"there are no cells in {store.folder}")
    cell = options.chosen(beginning, ids)
    history = {past.number: past for past in store.history(cell)}
    if attempt and attempt not in history:
        had = "1 attempt" if len(history) == 1 else f"{len(history)} attempts"
        raise UserError(f"cell {cell} has had {had}; there is no attempt {attempt}")
    chosen = history[attempt or max(history)] if history else None
    if chosen:
        yield store.log(cell, chosen.number)
    for launch in launched:
        if launch.sweep == chosen.sweep if chosen else cell in launch.keys:
            job = chosen.job if chosen else launch.jobs().get(cell, "")
            if job:
                yield launches.output(store, launch, job)


# ---------------------------------------------------------------- how verbs end


def _watch(request: Request) -> None:
    """Wait for submitted cells; whoever has waited enough is told how to come back."""
    try:
        request.watch()
    except KeyboardInterrupt:
        say(f"left to SLURM; to wait for them again: {options.about('collect', '--wait')}")
        raise click.exceptions.Exit(130) from None


def _conclude(request: Request, survey: status.Survey) -> NoReturn:
    """Print the table and what it comes to, and how the cells stand; exit."""
    records = Records(survey.grid, [survey.store.folder], request.registry, run=options.about("run"))
    click.echo(report(records, view=View(last=True, html=True)))
    _end(survey)


def _reported(survey: status.Survey) -> Path | None:
    """Return the table in the store that is later than every record of these cells; None where there is none."""
    table = survey.store.folder / "report" / "table.md"
    try:
        written = datetime.fromtimestamp(table.stat().st_mtime, UTC)
        times = [datetime.fromisoformat(own.record.finished) for own in survey.standings if own.record]
        last = max(time.replace(tzinfo=time.tzinfo or UTC) for time in times)
    except (OSError, ValueError):  # of a record that says no time, too
        return None
    return table if last < written else None


def _end(survey: status.Survey) -> NoReturn:
    """Print how many cells there are of each kind, and what to do about them; exit."""
    counts = survey.counts()
    say(status.summary(counts))
    for sentence in _advice(survey):
        say(sentence)
    left = any(counts[state] for state in (*record.FAILED, *status.LIVE, "missing", "lost"))
    raise click.exceptions.Exit(1 if left else 0)


def _advice(survey: status.Survey) -> list[str]:
    """Return how to go on, one sentence each; what was submitted to SLURM goes there again."""
    again = click.get_current_context().info_name == "run"
    run = options.command("run", without=("--retry-failed", "--stale")) if again else options.about("run")
    retry = options.about("retry") if submitted.again(survey) else f"{run} --retry-failed"
    collect, cancel = options.about("collect"), options.about("cancel", "CELL")
    return status.advice(survey, retry, f"{run} --stale", collect, cancel, options.about("collect", "--wait"))


def _carry_out(plan: Plan, dry_run: bool, **limits: Any) -> None:
    """Carry out cells here and print the table, or how to go on where that was stopped; or say what would run."""
    survey = plan.survey
    if dry_run:
        limited(limits["timeout"], limits.get("memory"), limits.get("retries", 0), typed)
        left = plan.unchecked()
        chosen = {job.cell.id for job in plan.todo}
        for standing in survey.standings:
            word = "run" if standing.cell.id in chosen else standing.state
            click.echo(f"{word:8}  {survey.name(standing.cell)}  ({standing.why})")
        if plan.trains and plan.todo:
            device = limits["device"] or "cpu"
            _estimate(plan, device, plan.processes(device, limits["jobs"]))
        click.echo(f"{plan} would run; store: {survey.store.folder}")
        for sentence in left:
            say(sentence)
        return
    tally = plan.carry_out(**limits)
    if plan.todo:
        survey = plan.request.survey()
    elif table := _reported(survey):
        click.echo(f"no cell is left to run; the store's table is in {table}, and `bench report` prints it")
        _end(survey)
    if tally.signal is not None:
        again = options.command(str(click.get_current_context().info_name))
        say(f"stopped; {status.summary(survey.counts())}; to go on: {again}")
        raise click.exceptions.Exit(128 + tally.signal)
    _conclude(plan.request, survey)


def _estimate(plan: Plan, device: str, at_a_time: int = 1, mark: str = "") -> None:
    """Print what the cells of a plan will take, a line a row, and in all; every line begins with `mark`."""
    rows = []
    for row in forecast.forecast(plan.survey, plan.todo, device, lambda job: plan.measured(job, device), plan.holds):
        click.echo(f"{mark}{row}")
        rows.append(row)
    click.echo(f"{mark}{forecast.total(rows, at_a_time)}")


def _submit(
    request: Request, batches: Sequence[tuple[Plan, profile.Slurm, Values]], detach: bool, dry_run: bool
) -> None:
    """Submit cells and, unless they are to be left to SLURM, wait for them and print the table; or print the scripts.

    Args:
        request: that they are of.
        batches: cells with what their jobs ask for, and `device` and `timeout`, which a retry takes over.
        detach: leave them to SLURM.
        dry_run: print the scripts alone.
    """
    if dry_run:
        for plan, asked, kept in batches:
            for sentence in plan.unchecked():
                say(sentence)
            _print_scripts(plan.submission(asked, kept))
        return
    taken = False
    for plan, asked, kept in batches:
        if launch := plan.submit(asked, kept):
            number, taken = sum(len(array.cells) for array in launch.arrays), True
            jobs = f"{number} job{'s' * (number != 1)}: {', '.join(array.job for array in launch.arrays)}"
            say(f"{cells(len(launch.keys))} of {len(plan.survey.standings)} submitted in {jobs}")
    if not taken:
        say("there is no cell to submit")
    say(f"to see how they are: {options.about('status')}")
    if not detach:
        _watch(request)
        _conclude(request, request.settle())


def _print_scripts(batch: Submission) -> None:
    try:
        most = commands.most_tasks()
    except commands.Unreachable:
        most = 1000  # SLURM's own default, where the site's cannot be asked
    scripts = batch.scripts(most)
    for number, (script, array) in enumerate(zip(scripts, batch.arrays(most), strict=True), 1):
        size = cells(sum(len(chunk.jobs) for chunk in array))
        click.echo(f"# ---- script {number} of {len(scripts)}: jobs: {len(array)}, {size}\n{script}")
