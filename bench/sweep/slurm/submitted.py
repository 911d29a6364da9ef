"""Where submitted cells stand: judged from their records and attempts, and from what SLURM says of their jobs.

What a job left is the truth: its record, or the heartbeat of its attempt. SLURM is asked about the rest alone, and
its accounting, where there is some, only about jobs that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bench.sweep.attempts import Job
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
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "COMPLETING")


def overlaid(found: Survey) -> Survey:
    """Return the survey with what is known of cells that were submitted to SLURM and have no record yet.

    Raises:
        Unreachable: there are such cells, and SLURM does not answer.
    """
    known: dict[str, Launch] = {}
    jobs = {}
    for launch in launches.read(found.store):
        jobs[launch.sweep] = launch.jobs()
        known |= dict.fromkeys(jobs[launch.sweep], launch)  # the latest counts
    open_ = [standing for standing in found.standings if _open(standing, known.get(standing.cell.id))]
    if not open_:
        return found
    queue = slurm.queue()
    judged = {}
    for standing in open_:
        launch = known[standing.cell.id]
        job = jobs[launch.sweep][standing.cell.id]
        judged[standing.cell.id] = _judged(found, standing, job, launch, queue.get(job, ""))
    lost = [standing for standing in judged.values() if standing.state == "lost"]
    ended = slurm.ends(standing.job for standing in lost)
    for standing in lost:
        status, reason = _loss(found, standing, ended.get(standing.job, ""), known[standing.cell.id])
        why = f"job {standing.job} is gone without a record; `bench collect` records it as {status}: {reason}"
        judged[standing.cell.id] = replace(standing, why=why, loss=(status, reason))
    return replace(found, standings=tuple(judged.get(each.cell.id, each) for each in found.standings))


def settle(found: Survey, circumstances: Mapping[str, object]) -> int:
    """Write the records of lost cells and return how many.

    Raises:
        StoreError: the store cannot be written.
    """
    written = 0
    lost = [standing for standing in found.standings if standing.state == "lost"]
    replaced = {cell: attempt for launch in launches.read(found.store) for cell, attempt in launch.replaces.items()}
    for standing in lost:
        cell = standing.cell
        job = Job(cell, standing.key, found.code[cell.strategy, cell.dataset], {})
        job = replace(job, attempt=max(1, found.store.attempts(cell.id)), replaces=replaced.get(cell.id))
        if found.store.taken(job):
            continue  # it came after all
        status, reason = standing.loss
        found.store.vacate(job)
        written += found.store.finish(job, job.record(found.grid.name, circumstances, status, reason))
    return written


def cancel(found: Survey, cells: Iterable[str]) -> int:
    """Cancel the jobs of cells that wait or run, and return how many cells that ends.

    A job is cancelled whole: with it go the other cells that it was to carry out.

    Raises:
        Unreachable: SLURM does not answer.
        StoreError: the store cannot be written.
    """
    wanted = set(cells)
    live = [each for each in found.standings if each.job and each.state in ("pending", "preempted", "running")]
    jobs = sorted({each.job for each in live if each.cell.id in wanted})
    if not jobs:
        return 0
    ended = {each.cell.id for each in live if each.job in jobs}
    for launch in launches.read(found.store):
        if ours := ended & launch.keys.keys():
            launch.cancelled = sorted({*launch.cancelled, *ours})
            launches.write(found.store, launch)
    slurm.cancel(jobs)
    return len(ended)


def _open(standing: Standing, launch: Launch | None) -> bool:
    """Tell whether SLURM is to be asked about a cell: it was submitted with the code of now, and has no record yet."""
    if launch is None or launch.keys[standing.cell.id] != standing.key:
        return False
    if standing.state == "finished":
        return standing.record is not None and standing.record.attempt == launch.replaces.get(standing.cell.id)
    return standing.state in ("missing", "running")


def _judged(found: Survey, standing: Standing, job: str, launch: Launch, state: str) -> Standing:
    """Return where a cell stands whose job is in this state; an empty one is that of a job that is gone."""
    standing = replace(standing, state="lost", record=None, job=job)
    history = [each for each in found.store.history(standing.cell.id) if each.sweep == launch.sweep]
    last = history[-1] if history else None
    if last and found.store.alive(standing.cell.id, last.number):
        return replace(standing, state="running", why=f"attempt {last.number} is running in job {job}")
    if not state:
        return standing
    # a job that was told to end, and waits again, had to give place to another
    if state in WAITING and last and last.how in ("preempted", "stopped"):
        why = f"attempt {last.number} was preempted; job {job} waits to go on"
        return replace(standing, state="preempted", why=why)
    if last is None:
        why = f"job {job} waits" if state in WAITING else f"job {job} is at other cells, or begins"
    else:
        how = {"timeout": "came to the job's time limit", "lost": "was lost"}.get(last.how, "ended")
        why = f"attempt {last.number} {how}; job {job} {'waits to go on' if state in WAITING else 'goes on'}"
    return replace(standing, state="pending", why=why)


def _loss(found: Survey, standing: Standing, state: str, launch: Launch) -> tuple[str, str]:
    """Return status and reason of a cell whose job ended in this state without leaving a record."""
    history = [each for each in found.store.history(standing.cell.id) if each.sweep == launch.sweep]
    last = history[-1] if history else None
    if standing.cell.id in launch.cancelled:
        return "cancelled", "by `bench cancel`"
    if state in ENDS:
        return ENDS[state]
    if last and last.how == "timeout":
        return ENDS["TIMEOUT"]
    if last and last.how == "preempted":
        return ENDS["PREEMPTED"]
    if last and last.how == "stopped":
        return "cancelled", "its job was told to end"
    if last is None and not state:
        return "node-lost", "SLURM knows nothing of its job"
    return "crashed", "its job ended without a word"
