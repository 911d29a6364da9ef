"""Where submitted cells stand: judged from their records and attempts, and from what SLURM says of their jobs.

What a job left is the truth: its record, or the heartbeat of its attempt. SLURM is asked about the rest alone, and
its accounting, where there is some, only about jobs that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bench.sweep.attempts import Attempt, Job
from bench.sweep.slurm import commands as slurm
from bench.sweep.slurm import launches
from bench.sweep.slurm.launches import Launch
from bench.sweep.status import Survey
from bench.sweep.store import Standing

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
LIVE = ("pending", "preempted", "running")
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "COMPLETING")


def overlaid(survey: Survey) -> Survey:
    """Return the survey with what is known of cells that were submitted to SLURM and have no record yet.

    Raises:
        Unreachable: there are such cells, and SLURM does not answer.
    """
    launched: dict[str, tuple[Launch, str]] = {}  # with the cell's job; the latest launch counts
    for launch in launches.read(survey.store):
        launched |= {cell: (launch, job) for cell, job in launch.jobs().items()}
    waited = [standing for standing in survey.standings if _open(standing, launched)]
    if not waited:
        return survey
    queue = slurm.queue()
    ends = slurm.ends({launched[standing.cell.id][1] for standing in waited} - queue.keys())
    judged = {old.cell.id: _judged(survey, old, *launched[old.cell.id], queue, ends) for old in waited}
    return replace(survey, standings=tuple(judged.get(old.cell.id, old) for old in survey.standings))


def settle(survey: Survey, circumstances: Mapping[str, object]) -> int:
    """Write the records of lost cells and return how many.

    Raises:
        StoreError: the store cannot be written.
    """
    written = 0
    replaced = {cell: attempt for launch in launches.read(survey.store) for cell, attempt in launch.replaces.items()}
    for standing in survey.standings:
        if standing.state != "lost":
            continue
        cell, store = standing.cell, survey.store
        job = Job(cell, standing.key, survey.code[cell.plugins], {})
        job = replace(job, attempt=max(1, store.attempts(cell.id)), replaces=replaced.get(cell.id))
        if store.taken(job):
            continue  # it came after all
        status, reason = standing.loss
        store.vacate(job)
        written += store.finish(job, job.record(survey.grid.name, circumstances, status, reason))
    return written


def cancel(survey: Survey, cells: Iterable[str]) -> int:
    """Cancel the jobs of cells that wait or run, and return how many cells that ends.

    A job is cancelled whole: with it go the other cells that it was to carry out.

    Raises:
        Unreachable: SLURM does not answer.
        StoreError: the store cannot be written.
    """
    wanted = set(cells)
    live = {standing.cell.id: standing.job for standing in survey.standings if standing.job and standing.state in LIVE}
    jobs = {job for cell, job in live.items() if cell in wanted}
    if not jobs:
        return 0
    ended = {cell for cell, job in live.items() if job in jobs}
    for launch in launches.read(survey.store):
        if ours := ended & launch.keys.keys():
            launch.cancelled = sorted({*launch.cancelled, *ours})
            launches.write(survey.store, launch)
    slurm.cancel(sorted(jobs))
    return len(ended)


def _open(standing: Standing, launched: Mapping[str, tuple[Launch, str]]) -> bool:
    """Tell whether SLURM is to be asked about a cell: it was submitted with the code of now, and has no record yet."""
    launch, _ = launched.get(standing.cell.id, (None, ""))
    if launch is None or launch.keys.get(standing.cell.id) != standing.key:
        return False
    if standing.state == "finished":
        return standing.record is not None and standing.record.attempt == launch.replaces.get(standing.cell.id)
    return standing.state in ("missing", "running")


def _judged(
    survey: Survey, standing: Standing, launch: Launch, job: str, queue: Mapping[str, str], ends: Mapping[str, str]
) -> Standing:
    """Return where a cell stands, by the states of jobs in the queue and the ends of those that are gone."""
    cell, state = standing.cell.id, queue.get(job, "")
    history = [attempt for attempt in survey.store.history(cell) if attempt.sweep == launch.sweep]
    last = history[-1] if history else None
    standing = replace(standing, state="pending", record=None, job=job)
    if last and survey.store.alive(cell, last.number):
        return replace(standing, state="running", why=f"attempt {last.number} is running in job {job}")
    if not state:
        status, reason = loss = _loss(last, ends.get(job, ""), cancelled=cell in launch.cancelled)
        why = f"job {job} is gone without a record; `bench collect` records it as {status}: {reason}"
        return replace(standing, state="lost", why=why, loss=loss)
    waits = state in WAITING
    if last is None:
        return replace(standing, why=f"job {job} waits" if waits else f"job {job} is at other cells, or begins")
    # a job that was told to end, and waits again, had to give place to another
    if waits and last.how in ("preempted", "stopped"):
        why = f"attempt {last.number} was preempted; job {job} waits to go on"
        return replace(standing, state="preempted", why=why)
    how = {"timeout": "came to the job's time limit", "lost": "was lost"}.get(last.how, "ended")
    return replace(standing, why=f"attempt {last.number} {how}; job {job} {'waits to go on' if waits else 'goes on'}")


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
    return INTERRUPTED.get(last.how if last else "", ("crashed", "its job ended without a word"))
