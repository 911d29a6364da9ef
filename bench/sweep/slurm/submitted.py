"""Where submitted cells stand: judged from their records and attempts, and from what SLURM says of their jobs.

What a job left is the truth: its record, or the heartbeat of its attempt. SLURM is asked about the rest alone, and
its accounting, where there is some, only about jobs that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.sweep.attempts import Attempt, Job
from bench.sweep.columns import canonical
from bench.sweep.record import one_line
from bench.sweep.slurm import commands as slurm
from bench.sweep.slurm import launches
from bench.sweep.slurm.launches import Launch
from bench.sweep.standing import Standing
from bench.sweep.status import LIVE, Survey
from bench.sweep.store import Store

#: SLURM's word for the end of a job -> status and reason of a cell that it left without a record
ENDS = {
    "TIMEOUT": ("timeout", "its job came to its time limit"),
    "DEADLINE": ("timeout", "its job came to its deadline"),
    "OUT_OF_MEMORY": ("out-of-memory", "its job took more memory than it had asked for"),
    "NODE_FAIL": ("node-lost", "the node of its job failed"),
    "BOOT_FAIL": ("node-lost", "the node of its job failed"),
    "PREEMPTED": ("cancelled", "its job was preempted and not put back into the queue"),
    "CANCELLED": ("cancelled", "its job was cancelled"),
}
#: how its last attempt ended -> the same, where SLURM does not know
INTERRUPTED = {
    "timeout": ENDS["TIMEOUT"],
    "preempted": ENDS["PREEMPTED"],
    "stopped": ("cancelled", "its job was told to end"),
}
UNEXPLAINED = ("crashed", "its job ended without a word")

#: cell -> its launches, each with the cell's job, the latest one last
Launched = dict[str, list[tuple[Launch, str]]]


def overlaid(survey: Survey) -> Survey:
    """Return the survey with what is known of cells that were submitted to SLURM and have no record yet.

    Raises:
        Unreachable: there are such cells, and SLURM does not answer.
    """
    every = _launched(survey)
    launched = {old.cell.id: ours for old in survey.standings if _open(survey, old, ours := _ours(old, every))}
    if not launched:
        return survey
    launched, away = _here(launched)
    for launch in away.values():
        raise _elsewhere(survey.store, launch)
    asked = _named(launched)
    queue = slurm.queue(asked)
    ends = slurm.ends(asked.keys() - queue.keys())
    standings = tuple(
        _judged(survey, old, launched[old.cell.id], queue, ends) if old.cell.id in launched else old
        for old in survey.standings
    )
    return replace(survey, standings=standings)


def _launched(survey: Survey) -> Launched:
    """Return every launch of every cell with the cell's job, the latest one last."""
    launched: Launched = {}
    for launch in launches.read(survey.store):
        for cell, job in launch.jobs().items():
            launched.setdefault(cell, []).append((launch, job))
    return launched


def _named(*launched: Launched) -> dict[str, set[str]]:
    """Return the jobs with the launches that each may be of."""
    named: dict[str, set[str]] = {}
    for launch, job in (pair for each in launched for pairs in each.values() for pair in pairs):
        named.setdefault(job, set()).add(launch.sweep)
    return named


def _ours(standing: Standing, launched: Launched) -> list[tuple[Launch, str]]:
    """Return the launches of a cell with the code of now."""
    cell = standing.cell.id
    return [pair for pair in launched.get(cell, ()) if pair[0].keys.get(cell) == standing.key]


def _here(launched: Launched) -> tuple[Launched, dict[str, Launch]]:
    """Return the launches of cells at the cluster that answers, and the last ones of cells that went to another.

    An earlier launch at another cluster is over: else its cell would not have been submitted again.

    Raises:
        Unreachable: SLURM does not answer.
    """
    if not any(launch.cluster for pairs in launched.values() for launch, _ in pairs):
        return launched, {}
    ours = ("", slurm.cluster())
    last = {cell: pairs[-1][0] for cell, pairs in launched.items()}
    here = {cell: [pair for pair in pairs if pair[0].cluster in ours] for cell, pairs in launched.items()}
    return here, {cell: launch for cell, launch in last.items() if launch.cluster not in ours}


def _elsewhere(store: Store, launch: Launch) -> slurm.Elsewhere:
    """Return the error of a launch that another cluster has: job ids of one mean nothing to the other."""
    why = f"cells were submitted to SLURM's cluster {one_line(launch.cluster)}, and another one answers here"
    folder = launches.folder(store, launch.sweep)
    return slurm.Elsewhere(f"{why}; ask there, or move {folder} away once `squeue` there shows none of its jobs")


def settle(survey: Survey, circumstances: Mapping[str, object]) -> int:
    """Write the records of lost cells and return how many.

    Raises:
        StoreError: the store cannot be written.
    """
    written = 0
    replaced = {cell: name for launch in launches.read(survey.store) for cell, name in launch.replaces.items()}
    for standing in survey.standings:
        if standing.state != "lost":
            continue
        cell, store = standing.cell, survey.store
        job = Job(cell, standing.key, survey.code[cell.plugins], {})
        job = replace(job, attempt=max(1, store.attempts(cell.id)), replaces=replaced.get(cell.id))
        if store.taken(job) or store.alive(cell.id, store.attempts(cell.id)):
            continue  # it came after all, or goes on
        status, reason = standing.loss
        store.vacate(job)
        written += store.finish(job, job.record(survey.grid.name, circumstances, status, reason))
    return written


def again(survey: Survey) -> list[tuple[Launch, list[Job]]]:
    """Return the cells that were submitted and failed or were lost, all that asked for the same with a launch of them.

    A cell's latest launch says what it asked for.
    """
    latest = {cell: launch for launch in launches.read(survey.store) for cell in launch.keys}
    over = {standing.cell.id for standing in survey.standings if standing.state in ("finished", "lost")}
    alike: dict[str, tuple[Launch, list[Job]]] = {}
    for job in survey.jobs(retry=True):
        if job.cell.id in over and (launch := latest.get(job.cell.id)):
            asked = canonical({"slurm": launch.slurm, "options": launch.options})
            alike.setdefault(asked, (launch, []))[1].append(job)
    return [*alike.values()]


def cancel(survey: Survey, cells: Iterable[str], trials: Store | None = None) -> tuple[int, int]:
    """Cancel jobs that wait or run; return how many cells that ends, and how many jobs of tuning.

    A job is cancelled whole: with it go the other cells that it was to carry out. The trials of one are not over: they
    go on when the grid is tuned on.

    Args:
        survey: the cells of a grid.
        cells: whose jobs are to be cancelled.
        trials: the run store of tuning whose jobs are to be cancelled, too.

    Raises:
        Unreachable: SLURM does not answer.
        StoreError: the store cannot be written.
    """
    standings = {standing.cell.id: standing for standing in survey.standings}
    every, wanted = _launched(survey), set(cells)
    launched, away = _here({cell: pairs for cell, pairs in every.items() if cell in wanted})
    tuning, elsewhere = _here(_tuning(trials) if trials else {})
    queue = slurm.queue(_named(launched, tuning))
    if not queue:
        for cell, launch in away.items():
            if cell not in standings or standings[cell].state != "finished":
                raise _elsewhere(survey.store, launch)
        for launch in elsewhere.values():
            raise _elsewhere(trials or survey.store, launch)
        return 0, 0
    asked = {launch.sweep for pairs in launched.values() for launch, _ in pairs}
    ended: set[str] = set()
    before: list[Launch] = []  # those that are about to say that their cells were cancelled
    for launch in launches.read(survey.store):
        if launch.sweep not in asked:
            continue
        ours = {cell for cell, job in launch.jobs().items() if job in queue}
        # jobs carry out their cells one after another: some may be over
        left = {
            cell
            for cell in ours
            if (cell in standings and standings[cell].state in LIVE)
            or not survey.store.holds(cell, launch.keys.get(cell, ""))
        }
        if left:
            before.append(launch)
            launches.write(survey.store, replace(launch, cancelled=sorted({*launch.cancelled, *left})))
        ended |= left
    try:
        slurm.cancel(sorted(queue))
    except BaseException:
        for launch in before:  # as far as nothing is known of it: SLURM says which jobs were cancelled
            launches.write(survey.store, launch)
        raise
    return len(ended), len(queue.keys() & {job for pairs in tuning.values() for _, job in pairs})


def _tuning(trials: Store) -> Launched:
    """Return every job that carries out trials with its launch, as `_launched` does cells."""
    jobs: Launched = {}
    for launch in launches.read(trials):
        for job in launch.tuning():
            jobs.setdefault(job, []).append((launch, job))
    return jobs


def _open(survey: Survey, standing: Standing, ours: Sequence[tuple[Launch, str]]) -> bool:
    """Tell whether SLURM is to be asked about a cell: it was submitted with the code of now, and has no record yet."""
    if not ours:
        return False
    if standing.state == "finished":
        record = standing.record
        named = (launch.replaces.get(standing.cell.id) for launch, _ in ours)
        return record is not None and any(survey.store.replaced(record, standing.key, name) for name in named)
    return standing.state in ("missing", "running", "stale")


def _judged(
    survey: Survey,
    standing: Standing,
    launched: Sequence[tuple[Launch, str]],
    queue: Mapping[str, slurm.Entry],
    ends: Mapping[str, str],
) -> Standing:
    """Return where a cell stands, by the states of jobs in the queue and the ends of those that are gone.

    Of several launches of a cell one counts whose job runs or may start by itself, else one that has a job, else the
    latest.
    """
    cell = standing.cell.id
    attempts = survey.store.history(cell)
    if attempts and survey.store.alive(cell, attempts[-1].number):
        live = attempts[-1]
        job = live.job or next((job for launch, job in launched if launch.sweep == live.sweep), "")
        why = f"attempt {live.number} is running{f' in job {job}' if job else ''}"
        return replace(standing, state="running", record=None, job=job, why=why)
    queued = [pair for pair in reversed(launched) if pair[1] in queue]
    launch, job = min(queued, key=lambda pair: bool(queue[pair[1]].stuck)) if queued else launched[-1]
    history = [attempt for attempt in attempts if attempt.sweep == launch.sweep]
    last = history[-1] if history else None
    standing = replace(standing, state="pending", record=None, job=job)
    if job not in queue:
        now = Standing.of(survey.store, standing.cell, survey.code[standing.cell.plugins])
        if not _open(survey, now, launched):
            return now  # it ended after we had looked for its record, and before SLURM was asked
        status, reason = loss = _loss(last, ends.get(job, ""), cancelled=cell in launch.cancelled)
        if loss == UNEXPLAINED and (words := _last_words(launches.output(survey.store, launch, job))):
            reason = f"its job ended; its last words: {words}"
            loss = status, reason
        why = f"job {job} is gone without a record; `bench collect` records it as {status}: {reason}"
        return replace(standing, state="lost", why=why, loss=loss)
    entry = queue[job]
    standing = replace(standing, stuck=entry.stuck)
    if last is None:
        return replace(standing, why=_waiting(job, entry) if entry.waits else f"job {job} is at other cells, or begins")
    goes_on = _waiting(job, entry, " to go on") if entry.waits else f"job {job} goes on"
    # a job that was told to end, and waits again, had to give place to another
    if entry.waits and last.how in ("preempted", "stopped"):
        return replace(standing, state="preempted", why=f"attempt {last.number} was preempted; {goes_on}")
    how = {"timeout": "came to the job's time limit", "lost": "was lost"}.get(last.how, "ended")
    return replace(standing, why=f"attempt {last.number} {how}; {goes_on}")


def _last_words(output: Path) -> str:
    """Return the last line that a job printed, clean and short; empty where there is none."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - 4000))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return one_line(next((line for line in reversed(lines) if line.strip()), ""))[:300]


def _waiting(job: str, entry: slurm.Entry, aim: str = "") -> str:
    """Return that a job waits, and why; that it can never start, where SLURM says so."""
    never = "; it does not start by itself" if entry.stuck else ""
    return f"job {job} waits{aim}{f' ({one_line(entry.reason)})' if entry.reason else ''}{never}"


def _loss(last: Attempt | None, end: str, *, cancelled: bool) -> tuple[str, str]:
    """Return status and reason of a cell whose job is gone without leaving a record.

    Args:
        last: the last attempt of the job's launch at the cell.
        end: how the job ended in SLURM's word, or empty.
        cancelled: by `bench cancel`.
    """
    if cancelled:
        return "cancelled", "by `bench cancel`"
    if end in ENDS:
        return ENDS[end]
    if last is None and not end:
        return "node-lost", "SLURM knows nothing of its job"
    return INTERRUPTED.get(last.how if last else "", UNEXPLAINED)
