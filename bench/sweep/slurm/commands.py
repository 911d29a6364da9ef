"""What SLURM says of jobs, and what it is told: by squeue, sacct where there is accounting, else scontrol."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PATIENCE = 60.0  # seconds for an answer
PAUSE = 2.0  # seconds between two looks at least
LONGEST = 30.0  # seconds between two looks where nothing changes
ARRAY = 10_000  # jobs of an array: the digest of each stands on a command line, which has an end
#: variables by which SLURM's commands find and trust the cluster
KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_SOCKET")
#: beginnings of variables that change what SLURM's commands do or say, or that belong to the job we are in
DROPPED = ("SLURM", "SQUEUE_", "SACCT_", "SBATCH_", "SCANCEL_", "SCONTROL_", "SALLOC_", "SRUN_", "SUBMITIT_", "PMI")
#: states of a job that is over, and does not come back
OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
#: states of a job whose processes run: the second while SLURM sends them a signal
RUNNING = ("RUNNING", "SIGNALING")
#: states of a job that waits, or will
WAITING = (
    *("PENDING", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_FED"),
    *("REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
)
#: reasons for which a job waits until somebody changes it or its account, as Slurm's page "Job Reason Codes" explains
#: them, besides its being held. Not those that pass: a partition that is down or inactive, nodes that are drained,
#: limits that other jobs have used up
NEVER = (
    *("AccountNotAllowed", "BadConstraints", "DeadLine", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS"),
    *("MaxMemPerLimit", "PartitionConfig", "PartitionTimeLimit", "QOSNotAllowed", "ReservationDeleted"),
)
#: and those that say that the job asks for more, or less, than one job may: `QOSMaxWallDurationPerJobLimit`
BEYOND = re.compile(r"(QOS|Assoc)(Max[A-Za-z]+Per(Job|Node)(Limit)?|Min[A-Za-z]+)")


class Unreachable(Exception):
    """SLURM does not answer; one sentence."""


class Elsewhere(Unreachable):
    """Here is no SLURM, or another cluster than the one to be asked: to ask again does not help."""


class Refused(Unreachable):
    """One of SLURM's commands failed; `words` are its own."""

    def __init__(self, command: str, words: str) -> None:
        super().__init__(f"SLURM does not answer: `{command}` says: {words}")
        self.words = words


class Entry(NamedTuple):
    """A job in the queue.

    Attributes:
        state: in SLURM's word.
        reason: why it waits, in SLURM's words; empty where there is none.
        held: it waits until it is released.
    """

    state: str
    reason: str = ""
    held: bool = False

    @property
    def waits(self) -> bool:
        """Whether it waits, or ends and comes back."""
        return self.state in WAITING

    @property
    def stuck(self) -> str:
        """Why it does not start by itself; empty where it may."""
        asks = self.reason in NEVER or BEYOND.fullmatch(self.reason)
        return self.reason or "held" if self.waits and (self.held or asks) else ""


def environment() -> dict[str, str]:
    """Return our environment without what would change a command's answer, or what a job inherits from another."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(DROPPED)}
    return kept | {"SLURM_BITSTR_LEN": "0"}  # the jobs of an array are said in full, however many


def queue(jobs: Mapping[str, Collection[str]]) -> dict[str, Entry]:
    """Return those of the jobs that wait, run or come back, by id (`12`, or `12_3` within an array).

    They are asked for by id, whoever's they are and wherever they wait. A controller that has lost its state gives its
    ids anew, so a job counts only by its name, too.

    Args:
        jobs: the launches that the job of an id may be of; a job's name ends in its launch's id.

    Raises:
        Unreachable: SLURM does not answer.
    """
    arrays = sorted({job.partition("_")[0] for job in jobs})
    listed = {}
    for start in range(0, len(arrays), 500):  # a command line has an end
        some = arrays[start : start + 500]
        # one id alone that SLURM has forgotten is an error to squeue, and of several it is none: the first goes twice
        named = f"--jobs={','.join([some[0], *some])}"
        lines = _ask("squeue", "--noheader", "--array", "--all", "--states=all", named, "--format=%i|%T|%Q|%j|%r")
        for line in lines.splitlines():
            job, state, priority, name, reason = [*line.split("|", 4), "", "", "", ""][:5]
            if state not in OVER and any(name.endswith(f"-{launch}") for launch in jobs.get(job, ())):
                listed[job] = Entry(state, "" if reason == "None" else reason, priority == "0")  # which holds a job
    return listed


def state(job: str) -> str:
    """Return the state of one job that waits or runs.

    Raises:
        Unreachable: SLURM does not answer, or knows of no such job.
    """
    return _ask("squeue", "--noheader", f"--jobs={job}", "--format=%T").strip()


def ends(jobs: Iterable[str]) -> dict[str, str]:
    """Return how jobs ended that are no longer in the queue, in SLURM's words, as far as SLURM still knows."""
    arrays = sorted({job.partition("_")[0] for job in jobs})
    if not arrays:
        return {}
    try:
        named = f"--jobs={','.join(arrays)}"
        lines = _ask("sacct", "-X", "--noheader", "--parsable2", "--format=JobID,State", named).splitlines()
        said = (line.partition("|") for line in lines)
        return {job: state.split()[0] for jobs, _, state in said if state for job in _each(jobs)}
    except Unreachable:
        return {job: state for array in arrays for job, state in _remembered(array).items()}


def _remembered(array: str) -> dict[str, str]:
    """Return the states that the controller remembers, which it does for some minutes, of the jobs of an array."""
    states: dict[str, str] = {}
    try:
        lines = _ask("scontrol", "--oneliner", "show", "job", array)
    except Unreachable:
        return {}
    for line in lines.splitlines():
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        task = words.get("ArrayTaskId", "")
        named = f"{words.get('ArrayJobId', '')}_{task}" if task else words.get("JobId", "")
        states |= dict.fromkeys(_each(named), words.get("JobState", ""))
    return states


def _each(jobs: str) -> Iterator[str]:
    """Give the ids of jobs of an array that SLURM says in one: `12_[0-2,7,20-40:10%3]`, or without the brackets."""
    array, within, tasks = jobs.partition("_")
    if not within:
        yield jobs
    for part in tasks.strip("[]").partition("%")[0].split(","):
        if match := re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part):
            first, last, step = match.groups()
            yield from (f"{array}_{task}" for task in range(int(first), int(last or first) + 1, int(step or 1)))


def submit(script: Path) -> str:
    """Submit a script and return the id of its job or array.

    Raises:
        Refused: SLURM does not take it.
        Unreachable: SLURM does not answer.
    """
    job = _ask("sbatch", "--parsable", str(script)).strip().partition(";")[0]
    if not (job.isascii() and job.isdigit()):
        raise Unreachable("SLURM does not answer: `sbatch` names no job")
    return job


def requeue(job: str) -> None:
    """Put a running job back into the queue, which ends it.

    Raises:
        Unreachable: SLURM does not answer, or refuses.
    """
    _ask("scontrol", "requeue", job)


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs.

    Raises:
        Unreachable: SLURM does not answer, or refuses.
    """
    jobs = list(jobs)
    for start in range(0, len(jobs), 500):  # a command line has an end
        _ask("scancel", *jobs[start : start + 500])


def most_tasks() -> int:
    """Return how many jobs an array may hold at this site, and with us.

    Raises:
        Unreachable: SLURM does not answer.
    """
    size = _setting("MaxArraySize")
    return min(ARRAY, max(1, int(size))) if size.isdigit() else 1000


def cluster() -> str:
    """Return what the cluster that answers calls itself.

    Raises:
        Unreachable: SLURM does not answer.
    """
    return _setting("ClusterName")


def pause(looked: float, still: float) -> float:
    """Return how many seconds to wait until the next look: the longer, the longer nothing has changed.

    Args:
        looked: seconds that the last look took, for one at many cells is work, too.
        still: seconds since the last change.
    """
    return max(PAUSE, 5 * looked, min(LONGEST, still / 10))


def notice(minutes: int) -> int:
    """Return how many seconds before its time limit a job is told."""
    return round(min(90, max(10, 6 * minutes)))


def _setting(name: str) -> str:
    """Return one of the site's settings; empty where there is none of this name."""
    line = re.search(rf"^{name}\s*=\s*(\S+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    return line[1] if line else ""


def _ask(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise Elsewhere(f"there is no SLURM on this machine: no `{command[0]}` is found")
    try:
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"SLURM does not answer: `{command[0]}` took more than {PATIENCE:g} s") from error
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise Refused(command[0], said)
    return done.stdout
