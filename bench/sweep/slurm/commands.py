"""What SLURM says of jobs, and what it is told: by squeue, sacct where there is accounting, else scontrol."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from collections.abc import Iterable

PATIENCE = 60.0  # seconds for an answer


class Unreachable(Exception):
    """SLURM does not answer; one sentence."""


def queue() -> dict[str, str]:
    """Return the state of every job of ours that waits or runs, by id (`12`, or `12_3` within an array).

    Raises:
        Unreachable: SLURM does not answer.
    """
    lines = _ask("squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%T")
    return {job: state for job, _, state in (line.partition("|") for line in lines.splitlines()) if state}


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
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"SLURM does not answer: `{command[0]}` took more than {PATIENCE:g} s") from error
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise Unreachable(f"SLURM does not answer: `{command[0]}` says: {said}")
    return done.stdout
