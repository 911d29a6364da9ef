"""What is to be carried out, the attempts at it: who makes one, whether he still does, and how each ended.

`attempt-<n>.json` is made by the process that begins attempt n, and by no other: making it claims the cell. Its
modification time is a heartbeat. The cell is free again once the file says how the attempt ended, or its process is
gone from this machine, or the heart has not beaten for `LEASE` seconds. Nothing here needs locks, which network file
systems keep in different ways, but a file system on which a file is made exclusively.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import platform
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bench import files
from bench.protocol import Evaluation
from bench.sweep.circumstances import now
from bench.sweep.fingerprints import Fingerprints
from bench.sweep.record import FAILED, LATER, SCHEMA, CorruptRecord, Record, one_line

if TYPE_CHECKING:
    from bench.grid import Cell

LEASE = 60.0  # seconds without a heartbeat after which a cell is free
BEAT = 10.0  # seconds between two heartbeats
_CALENDAR = 5e8  # seconds since 1970 of any process, and since the boot of none

FILE = re.compile(r"(?:attempt|log)-([1-9][0-9]{0,17})\.(?:json|txt)")  # no number that a file could not hold

#: how an attempt ends that leaves no record and is to go on: it was told to stop, its job gave place to another or came
#: to its time limit, or its process went without a word
INTERRUPTED = ("stopped", "preempted", "timeout", "lost")


@dataclass(frozen=True)
class Job:
    """A cell that is to be carried out, once.

    Attributes:
        cell: what is asked.
        key: names the record: code and evaluation settings (`attempts.key`).
        fingerprints: of the code that the sweep was started with.
        data: `version` and `sha256` of the data set, as far as they are known.
        attempt: counts from 1, killed attempts included.
        replaces: the SHA-256 of the record's file that is set aside for the new one, or None. Jobs of earlier versions
            have the number of its attempt, which a later record may have as well.
    """

    cell: Cell
    key: str
    fingerprints: Fingerprints
    data: Mapping[str, str | None]
    attempt: int = 1
    replaces: str | int | None = None

    @property
    def workspace(self) -> str:
        """The name of the folder of states and checkpoints: those of other code are never resumed."""
        return workspace(self.fingerprints)

    @property
    def apart(self) -> bool:
        """Whether the cell has a process of its own: where not all of its plugins come with bench."""
        return any(plugin.origin != "built-in" for plugin in self.cell.plugins)

    def record(
        self,
        grid: str,
        circumstances: Mapping[str, Any],
        status: str,
        reason: str = "",
        data: Mapping[str, str | None] | None = None,
        **fields: Any,
    ) -> Record:
        """Return the job's record, as of now.

        Args:
            grid: its name.
            circumstances: as `circumstances.provenance` gives them, as far as they are known.
            status: a final status.
            reason: one line.
            data: of what was loaded, as `Job.data`, by default.
            fields: of the record, where they differ from what is known before a cell runs.
        """
        loaded = {"version": None, "sha256": None, **(data or self.data)}
        moment = now()
        request = self.cell.request
        options = request.pop("options")
        start = {
            **LATER,
            **self.cell.budget.options,
            **request,
            "schema": SCHEMA,
            "grid": grid,
            "cell": self.cell.id,
            "dataset": {"name": request["dataset"], "options": options, **loaded},
            "label": self.cell.label,
            "evaluation": self.cell.evaluation.model_dump(mode="json"),
            "split": self.cell.evaluation.split,
            "study": self.cell.study or None,
            "tuned": dict(self.cell.tuned) or None,
            "status": status,
            "reason": reason,
            "last_step": None,
            "attempt": self.attempt,
            "scores": [],
            "stability": {},
            "resources": {},
            "fingerprints": self.fingerprints,
            "started": moment,
            "finished": moment,
        }
        nowhere = dict.fromkeys(("device", "torch", "python", "platform", "git"))
        return Record(**{**start, **nowhere, **circumstances, **fields})


def readable(record: Record) -> bytes:
    """Return the content of a record's file, which has been read back: a record that none can read is never final.

    One that cannot be is written as an error without what a strategy gave.
    """
    try:
        content = record.json_bytes()
        Record.read(content, record.cell)
        return content
    except (CorruptRecord, ValueError) as error:
        reason = one_line(f"its record could not be read back: {error}")
        bare: dict[str, Any] = {"status": "error", "reason": reason, "scores": [], "normalised": None, "stability": {}}
        return record.model_copy(update=bare).json_bytes()


@functools.lru_cache(maxsize=1024)
def key(fingerprints: Fingerprints, evaluation: Evaluation) -> str:
    """Return what names a cell's record: 16 hex digits over the code and the way of scoring."""
    content = [fingerprints.plugin, fingerprints.fit, fingerprints.evaluate, evaluation.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def workspace(fingerprints: Fingerprints) -> str:
    """Return the name of the folder in a cell's that holds what code with these fingerprints has trained."""
    return f"{fingerprints.plugin[:8]}-{fingerprints.fit[:8]}"


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        status: a final status, or `stopped`, which leaves no record, or `elsewhere`: another process has it.
        reason: one line; empty when all went well.
        seconds: from start to end.
        resources: of the record: seconds and bytes.
    """

    status: str
    reason: str = ""
    seconds: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether the cell came to no scores."""
        return self.status in FAILED


@dataclass(frozen=True)
class Attempt:
    """One attempt.

    Attributes:
        number: counts from 1.
        sweep: the sweep that it belongs to.
        host: the machine, this boot of it, and its name space of processes.
        pid: the process that watches over the attempt.
        born: when that process was started, for process ids are used again: in seconds since the boot, which no change
            of the clock moves, or since 1970 where the system does not tell them and in files of earlier versions.
        job: the SLURM job, `12_3`, or empty.
        began: ISO 8601.
        how: a final status or one of `INTERRUPTED`; empty while it goes on.
    """

    number: int
    sweep: str
    host: str
    pid: int
    born: float
    job: str
    began: str
    how: str = ""


_MODEL = TypeAdapter(Attempt)


def identify() -> str:
    """Return an id for a sweep: its time and a few random digits."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def numbers(files: Sequence[str]) -> list[int]:
    """Return the numbers of a cell's attempts, in order, from the names of its files."""
    return sorted({int(match[1]) for match in map(FILE.fullmatch, files) if match})


def path(folder: str | Path, number: int) -> str:
    """Return where attempt `number` of a cell lies."""
    return f"{folder}/attempt-{number}.json"


def read(folder: str | Path, number: int) -> Attempt | None:
    """Return an attempt; None where it cannot be read, as in the moment in which it is made."""
    try:
        return _MODEL.validate_json(files.read(path(folder, number)), strict=True)
    except (OSError, ValueError):
        return None


def claim(folder: str | Path, number: int, sweep: str) -> Attempt | None:
    """Begin attempt `number`; None where another process was quicker."""
    attempt = Attempt(number, sweep, host(), os.getpid(), _born(os.getpid()), job(), now())
    try:
        with open(path(folder, number), "xb") as file:
            file.write(_encoded(attempt))
    except FileExistsError:
        return None
    return attempt


def _encoded(attempt: Attempt) -> bytes:
    """Return an attempt as JSON in ASCII, whatever bytes a host's name is of; on one line, which is quicker written."""
    return f"{json.dumps(vars(attempt), allow_nan=False)}\n".encode()


def end(folder: str | Path, attempt: Attempt, how: str) -> None:
    """Write how an attempt ended; where that cannot be written, on a full disk, stop its heart."""
    target = path(folder, attempt.number)
    temporary = f"{folder}/.attempt-{attempt.number}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as file:
            file.write(_encoded(replace(attempt, how=how)))
        os.replace(temporary, target)
    except OSError:
        with contextlib.suppress(OSError):
            os.utime(target, (0, 0))


def beat(folder: str | Path, attempt: Attempt) -> None:
    """Show that the attempt goes on."""
    with contextlib.suppress(OSError):
        os.utime(path(folder, attempt.number))


def alive(folder: str | Path, number: int, offset: float = 0.0) -> bool:
    """Tell whether an attempt goes on.

    Args:
        folder: of the cell.
        number: of the attempt.
        offset: seconds by which the file system's clock is ahead of ours.
    """
    attempt = read(folder, number)
    if attempt and attempt.how:
        return False
    if attempt and attempt.host == host() and not _there(attempt.pid, attempt.born):
        return False
    try:
        beaten = os.stat(path(folder, number)).st_mtime
    except OSError:
        return False
    age = time.time() + offset - beaten
    if age < -LEASE:  # it beat while a clock was wrong: the next beat mends that, if there is anybody to beat
        return attempt is not None and attempt.host == host()
    return age < LEASE


def interruptions(history: Sequence[Attempt], sweep: str) -> list[Attempt]:
    """Return the attempts of one sweep that were interrupted."""
    return [attempt for attempt in history if attempt.sweep == sweep and attempt.how in INTERRUPTED]


def restarts(history: Sequence[Attempt], number: int) -> int:
    """Return how many attempts right before attempt `number` of a cell were interrupted."""
    before = (attempt for attempt in reversed(history) if attempt.number < number)
    return sum(1 for _ in itertools.takewhile(lambda attempt: attempt.how in INTERRUPTED, before))


def given_up(lost: Sequence[Attempt]) -> tuple[str, str]:
    """Return status and reason of a cell that was interrupted too often.

    Args:
        lost: its interrupted attempts; the last one gives the status.
    """
    times = "once" if len(lost) == 1 else f"{len(lost)} times"
    status, words = {
        "timeout": ("timeout", "cut off by the job's time limit"),
        "preempted": ("cancelled", "preempted"),
        "stopped": ("cancelled", "told to end"),
        "lost": ("crashed", "lost with its process"),
    }[lost[-1].how]
    return status, f"{words}; interrupted {times} in this sweep, and no retry is left"


def job() -> str:
    """Return the SLURM job in which this process runs: `12`, or `12_3` for a part of an array; empty outside of one."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


@functools.cache
def host() -> str:
    """Return what stands for this machine: two processes with equal hosts see each other's process ids."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _there(pid: int, born: float) -> bool:
    """Tell whether a process of this machine goes on, as far as that can be known."""
    import psutil

    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
        now = _started(pid)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    if (now < _CALENDAR) != (born < _CALENDAR):
        return True  # of an earlier version, and of another clock: its heart has to tell
    return now == born if now < _CALENDAR else abs(now - born) < 2


@functools.lru_cache(maxsize=1)
def _born(pid: int) -> float:
    return _started(pid)


def _started(pid: int) -> float:
    """Return when a process was started, as `Attempt.born`."""
    import psutil

    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold anything
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return psutil.Process(pid).create_time()
