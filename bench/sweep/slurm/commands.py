"""What SLURM says of jobs, and what it is told: by squeue, sacct where there is accounting, else scontrol."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PATIENCE = 60.0  # seconds for an answer
#: variables by which SLURM's commands find and trust the cluster
KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_SOCKET")
#: beginnings of variables that change what SLURM's commands do or say, or that belong to the job we are in
DROPPED = ("SLURM", "SQUEUE_", "SACCT_", "SBATCH_", "SCANCEL_", "SCONTROL_", "SALLOC_", "SRUN_", "SUBMITIT_", "PMI")
#: states of a job that is over, and does not come back
OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)


class Unreachable(Exception):
    """SLURM does not answer; one sentence."""


class Refused(Unreachable):
    """One of SLURM's commands failed; `words` are its own."""

    def __init__(self, command: str, words: str) -> None:
        super().__init__(f"SLURM does not answer: `{command}` says: {words}")
        self.words = words


class Entry(NamedTuple):
    """A job in the queue: its state, and why it waits, in SLURM's words."""

    state: str
    reason: str = ""


def environment() -> dict[str, str]:
    """Return our environment without what would change a command's answer, or what a job inherits from another."""
    return {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(DROPPED)}


def queue(jobs: Iterable[str]) -> dict[str, Entry]:
    """Return those of the jobs that wait, run or come back, by id (`12`, or `12_3` within an array).

    They are asked for by id, whoever's they are and wherever they wait.

    Raises:
        Unreachable: SLURM does not answer.
    """
    wanted = set(jobs)
    arrays = sorted({job.partition("_")[0] for job in wanted})
    listed = {}
    for start in range(0, len(arrays), 500):  # a command line has an end
        some = arrays[start : start + 500]
        # one id alone that SLURM has forgotten is an error to squeue, and of several it is none: the first goes twice
        named = f"--jobs={','.join([some[0], *some])}"
        lines = _ask("squeue", "--noheader", "--array", "--all", "--states=all", named, "--format=%i|%T|%r")
        for line in lines.splitlines():
            job, _, rest = line.partition("|")
            state, _, reason = rest.partition("|")
            if job in wanted and state not in OVER:
                listed[job] = Entry(state, "" if reason == "None" else reason)
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
        return {job: state.split()[0] for job, _, state in (line.partition("|") for line in lines) if state}
    except Unreachable:
        return {job: state for array in arrays for job, state in _remembered(array).items()}


def _remembered(array: str) -> dict[str, str]:
    """Return the states that the controller remembers, which it does for some minutes, of the jobs of an array."""
    states = {}
    try:
        lines = _ask("scontrol", "--oneliner", "show", "job", array)
    except Unreachable:
        return {}
    for line in lines.splitlines():
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        task = words.get("ArrayTaskId", "")
        job = f"{words.get('ArrayJobId', '')}_{task}" if task else words.get("JobId", "")
        states[job] = words.get("JobState", "")
    return states


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
    """Return how many jobs an array may hold at this site.

    Raises:
        Unreachable: SLURM does not answer.
    """
    size = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
    return max(1, int(size[1])) if size else 1000


def notice(minutes: int) -> int:
    """Return how many seconds before its time limit a job is told."""
    return round(min(90, max(10, 6 * minutes)))


def _ask(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise Unreachable(f"there is no SLURM on this machine: no `{command[0]}` is found")
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
