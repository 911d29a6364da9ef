"""The run store: the folder of a grid's records, one folder per cell, each file written whole or not at all.

runs/mnist/grid.json                    the merged grid of the last `bench run`
runs/mnist/cells/<id>/request.json      what the id stands for
runs/mnist/cells/<id>/attempt-<n>.json  who carries attempt n out, or did (`bench.sweep.attempts`)
runs/mnist/cells/<id>/log-<n>.txt       output of attempt n
runs/mnist/cells/<id>/live-<n>.json     how far attempt n is, while it runs (`bench.sweep.live`)
runs/mnist/cells/<id>/<code>/           checkpoints, then state-<sha256>.pt, of that code (plugin and fit)
runs/mnist/cells/<id>/record-<key>.json the final record; curves-<key>-<sha256>.json and arrays-<key>-<sha256>.npz lie
                                        beside it (in schema 1 without their SHA-256)
runs/mnist/data/<sha256>.npz            arrays of the user's own
runs/mnist/launches/<sweep>/            what was submitted to SLURM (`bench.sweep.slurm.launches`)
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter

from bench.files import creating, json_bytes, read, replacing, set_aside, sha256
from bench.places import remembered
from bench.protocol import Evaluation
from bench.sweep import attempts, live, states
from bench.sweep.attempts import Attempt, Job, restarts
from bench.sweep.columns import canonical
from bench.sweep.fingerprints import Fingerprints
from bench.sweep.record import CorruptRecord, Integer, Point, Record, differences, normal, one_line
from bench.sweep.seal import sealed, unsealed

if TYPE_CHECKING:
    import numpy as np

    from bench.grid import Cell

RECORD = re.compile(r"record-([0-9a-f]{16})\.json")
#: what may lie beside a record, and how it is stored
BESIDE = {"arrays": "npz", "curves": "json"}
_EXTENDED = TypeAdapter(tuple[Integer, Integer])

_ROOM = 1 << 16  # bytes that a store has to take

State = Literal["finished", "stale", "missing", "running", "pending", "preempted", "lost"]


#: what the system says of storage, whoever writes
_STORAGE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV})


class StoreError(Exception):
    """The run store cannot be written; one sentence, and the system's number for it."""

    def __init__(self, sentence: str, number: int | None = None) -> None:
        super().__init__(sentence)
        self.errno = number


@dataclass(frozen=True)
class Standing:
    """Where a cell stands under the code and settings of now.

    Attributes:
        cell: the cell.
        key: its record's key.
        state: `finished`, `stale` (recorded by an earlier harness), `running`, `missing`; of a cell that was submitted
            to SLURM also `pending`, `preempted` (and waiting again) or `lost` (its job is gone without a record).
        record: the record of a finished or stale cell.
        why: one line that explains the state.
        corrupt: the file in the record's place that is no record.
        job: the SLURM job that carries the cell out, or is to.
        loss: status and reason of a lost cell's record, which `bench collect` writes.
        stuck: why its job does not start by itself, in SLURM's words; empty where it may.
    """

    cell: Cell
    key: str
    state: State
    record: Record | None
    why: str
    corrupt: Path | None = None
    job: str = ""
    loss: tuple[str, str] = ("", "")
    stuck: str = ""


@functools.lru_cache(maxsize=1024)
def key(fingerprints: Fingerprints, evaluation: Evaluation) -> str:
    """Return what names a cell's record: 16 hex digits over the code and the way of scoring."""
    content = [fingerprints.plugin, fingerprints.fit, fingerprints.evaluate, evaluation.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class Store:
    """A run store. Reading needs nothing to exist; nothing is made before something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()  # a plugin may change the working directory
        self._cells = os.path.join(self.folder, "cells")  # plain strings: pathlib is slow for 10,000 cells

    @property
    def data(self) -> Path:
        """The folder of the arrays that its users gave, each file named after its SHA-256."""
        return self.folder / "data"

    def cell(self, cell_id: str) -> Path:
        """Return the folder of a cell."""
        return Path(self._cells, cell_id)

    def record_path(self, cell_id: str, key: str) -> Path:
        """Return where the final record lies, or will."""
        return Path(self._cells, cell_id, f"record-{key}.json")

    # ---------------------------------------------------------------- reading

    def record(self, cell_id: str, key: str) -> Record | None:
        """Return a cell's record, or None where there is none.

        Raises:
            CorruptRecord: what lies there is not a record.
        """
        try:
            return Record.read(read(f"{self._cells}/{cell_id}/record-{key}.json"), cell_id)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CorruptRecord(error.strerror or str(error)) from error

    def scan(self, *cells: str) -> Iterator[tuple[str, str, Record | CorruptRecord]]:
        """Give every record of all cells or of these, of whatever code, and of a file that is none, why it is not.

        Each with its cell and key (`record_path`).
        """
        for cell_id in cells or sorted(_listing(self._cells)):
            try:
                names = sorted(_listing(f"{self._cells}/{cell_id}"))
            except OSError as error:
                yield cell_id, "*", CorruptRecord(error.strerror or str(error))
                continue
            for match in filter(None, map(RECORD.fullmatch, names)):
                try:
                    record: Record | CorruptRecord | None = self.record(cell_id, match[1])
                except CorruptRecord as reason:
                    record = reason
                if record:
                    yield cell_id, match[1], record

    def holds(self, cell_id: str, key: str) -> bool:
        """Tell whether there is a record's file."""
        return os.path.isfile(f"{self._cells}/{cell_id}/record-{key}.json")

    def records(self, *cells: str) -> list[Record]:
        """Return every record of all cells, or of these, that can be read."""
        return [record for _, _, record in self.scan(*cells) if isinstance(record, Record)]

    def attempts(self, cell_id: str) -> int:
        """Return how many attempts at a cell were begun."""
        return max(attempts.numbers(_listing(f"{self._cells}/{cell_id}")), default=0)

    def history(self, cell_id: str) -> list[Attempt]:
        """Return the attempts at a cell, in order, as far as they can be read."""
        return self._history(cell_id, attempts.numbers(_listing(f"{self._cells}/{cell_id}")))

    def _history(self, cell_id: str, numbers: Sequence[int]) -> list[Attempt]:
        readable = (attempts.read(f"{self._cells}/{cell_id}", number) for number in numbers)
        return [attempt for attempt in readable if attempt]

    def alive(self, cell_id: str, attempt: int) -> bool:
        """Tell whether an attempt goes on."""
        return attempts.alive(f"{self._cells}/{cell_id}", attempt, self._offset)

    def progress(self, cell_id: str) -> live.Live | None:
        """Return how far the last attempt at a cell is, while it goes on and has said so."""
        return live.read(self.cell(cell_id), self.attempts(cell_id))

    def current(self, cell: Cell, fingerprints: Fingerprints) -> Standing:
        """Return where `cell` stands under this code."""
        name = key(fingerprints, cell.evaluation)
        try:
            record = self.record(cell.id, name)
        except CorruptRecord as reason:
            corrupt = self.record_path(cell.id, name)
            return Standing(cell, name, "missing", None, f"corrupt record {corrupt.name}: {reason}", corrupt)
        if record:
            because = f" ({record.reason})" if record.reason else ""
            why = f"{record.status}{because} in attempt {record.attempt}, {record.finished}"
            return Standing(cell, name, "finished", record, why)
        try:
            return Standing(cell, name, *self._explain(cell, fingerprints))
        except OSError as error:
            folder = self.cell(cell.id)
            return Standing(cell, name, "missing", None, f"{folder} cannot be read ({error.strerror})", folder)

    def _explain(self, cell: Cell, fingerprints: Fingerprints) -> tuple[State, Record | None, str]:
        """Return state, stale record and reason of a cell without a record under this code."""
        dated = sorted(self.records(cell.id), key=lambda record: record.finished)
        latest = self.attempts(cell.id)
        if latest > max((record.attempt for record in dated), default=0) and self.alive(cell.id, latest):
            return "running", None, f"attempt {latest} is running"
        if not dated and not latest:
            return "missing", None, "never ran"
        if not dated:
            return "missing", None, f"attempt {latest} left no record: it was stopped or killed, and goes on"
        same_plugin = [record for record in dated if record.fingerprints.plugin == fingerprints.plugin]
        if not same_plugin:
            date = dated[-1].finished
            return "missing", None, f"the code of one of its plugins changed since the record of {date}"
        changed = [(_changes(canonical(record.evaluation), cell.evaluation), record) for record in same_plugin]
        unchanged = [record for change, record in changed if not change]
        if not unchanged:
            change, record = changed[-1]
            return "missing", None, f"scored otherwise in the record of {record.finished}: {change}"
        record = unchanged[-1]
        parts = [
            f"the {part} code"
            for name, part in (("fit", "training"), ("evaluate", "scoring"))
            if getattr(record.fingerprints, name) != getattr(fingerprints, name)
        ]
        return "stale", record, f"{' and '.join(parts)} of bench changed since the record of {record.finished}"

    def trained(self, job: Job) -> bool:
        """Tell whether this code has trained a cell: the state lies in the workspace, as it was written."""
        return states.intact(self.cell(job.cell.id) / job.workspace)

    def state(self, record: Record) -> dict[str, Any]:
        """Return the state that a record was scored from, its tensors on the CPU.

        Raises:
            UserError: it is gone or damaged, or the record names none.
        """
        return states.of(record, Path(self._cells))

    def beside(self, record: Record, key: str, kind: str) -> bytes | None:
        """Return what lies beside a record, `arrays` or `curves`, or None where nothing does.

        Of a record of schema 1, which says nothing of it, whatever lies there.

        Raises:
            CorruptRecord: it is not what was written, is gone, or cannot be read.
        """
        digest = record.digests.get(kind)
        if digest is None and record.format > 1:
            return None  # what lies there is of an attempt that left no record
        sealed, plain = self._places(record, key, kind)
        try:
            try:
                content = read(sealed)
            except FileNotFoundError:
                content = read(plain)
        except (FileNotFoundError, NotADirectoryError) as error:
            if digest is None:
                return None
            raise CorruptRecord("it is gone") from error
        except OSError as error:
            raise CorruptRecord(error.strerror or str(error)) from error
        if digest not in (None, sha256(content)):
            raise CorruptRecord("it is cut short or altered: its SHA-256 is not the one in its record")
        return content

    def place(self, record: Record, key: str, kind: str) -> Path:
        """Return where `arrays` or `curves` of a record lie, or should.

        Their SHA-256 is in the name, but for schema 1 and the first records of schema 2.
        """
        sealed, plain = self._places(record, key, kind)
        return Path(sealed if os.path.exists(sealed) or not os.path.exists(plain) else plain)

    def _places(self, record: Record, key: str, kind: str) -> tuple[str, str]:
        folder, digest = f"{self._cells}/{record.cell}", record.digests.get(kind)
        plain = f"{folder}/{kind}-{key}.{BESIDE[kind]}"
        return f"{folder}/{file_beside(kind, key, digest)}" if digest else plain, plain

    def grid(self) -> Any:
        """Return the merged grid of the last `bench run`, or None where it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return self.planned()
        return None

    def planned(self) -> dict[str, Any]:
        """Return the merged grid of the last `bench run`.

        Raises:
            OSError: there is none, or it cannot be read.
            ValueError: it is not what was written.
        """
        return unsealed(read(self.folder / "grid.json"))

    def extended(self) -> tuple[int, int] | None:
        """Return how many seeds were planned first and how many last, where some were added once verdicts were out."""
        try:
            return _EXTENDED.validate_python(unsealed(read(self.folder / "extended.json")).get("seeds"), strict=False)
        except (OSError, ValueError):
            return None

    @property
    def foreign(self) -> bool:
        """Whether there is something in it, and this user has not run it here."""
        there = any(os.path.lexists(self.folder / name) for name in ("grid.json", "cells", "launches"))
        return there and not remembered("store", self.folder)

    # ---------------------------------------------------------------- writing

    def check_writable(self) -> None:
        """Make the store's folder and a file in it.

        Raises:
            StoreError: that is impossible.
        """
        with self.writing(), replacing(self.folder / ".writable") as file:
            file.write(b"")
        with self.writing():
            (self.folder / ".writable").unlink(missing_ok=True)

    def blame(self, error: BaseException, folder: Path) -> None:
        """Tell an error of the storage under this store from one of whoever ran into it.

        Args:
            error: that ended an attempt.
            folder: in which the attempt wrote.

        Raises:
            StoreError: it is the storage's, or there is no room any more.
        """
        seen: set[int] = set()
        cause: BaseException | None = error
        while cause and id(cause) not in seen:
            seen.add(id(cause))
            place = getattr(cause, "filename", None)
            ours = isinstance(place, str | os.PathLike) and Path(place).is_relative_to(self.folder)
            if isinstance(cause, OSError) and cause.errno in _STORAGE and ours:
                raise self._error(cause)
            cause = cause.__cause__ or cause.__context__
        try:  # libraries write in C++, and their errors bear no number
            self._probe(folder)
        except OSError as trouble:
            if trouble.errno in _STORAGE:
                raise self._error(trouble) from error

    def at_fault(self, cell_id: str, number: int | None) -> bool:
        """Tell whether nobody can write the store, where a worker could not; `number` is what the system told it."""
        if number is None or number in _STORAGE:
            return True
        if number == errno.EFBIG and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
            return True  # files may not be larger wherever the user's shell starts them
        try:
            self.cell(cell_id).mkdir(parents=True, exist_ok=True)
            self._probe(self.cell(cell_id))
        except OSError:
            return True
        return False

    def _probe(self, folder: Path) -> None:
        """Write a file of some size into a folder of the store, and delete it."""
        path = (folder if folder.is_dir() else self.folder) / f".probe.{os.getpid()}.part"
        try:
            with open(path, "wb", buffering=0) as file:
                rest = memoryview(bytes(_ROOM))
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
        finally:
            with contextlib.suppress(OSError):
                path.unlink()

    def write_grid(self, source: Mapping[str, Any]) -> None:
        """Keep the merged grid, from which the report takes what was planned.

        Raises:
            StoreError: the store cannot be written.
        """
        if self.grid() == source:
            return  # so that nothing needs to be written where nothing is to be done
        with self.writing(), replacing(self.folder / "grid.json") as file:
            file.write(sealed(json_bytes(source)))

    def extend(self, seeds: tuple[int, int]) -> None:
        """Keep that a plan was extended from so many seeds to so many, once verdicts were out.

        Raises:
            StoreError: the store cannot be written.
        """
        first = min(seeds[0], *(self.extended() or seeds))
        with self.writing(), replacing(self.folder / "extended.json") as file:
            file.write(sealed(json_bytes({"seeds": [first, seeds[1]]})))

    def keep(self, content: bytes) -> str:
        """Keep a file of arrays, and return its SHA-256.

        Raises:
            StoreError: the store cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self.data / f"{digest}.npz"
        with self.writing():
            if not path.is_file() or read(path) != content:
                with replacing(path) as file:
                    file.write(content)
        return digest

    def begin(self, cell: Cell, sweep: str) -> Attempt | None:
        """Begin an attempt at `cell`, or return None where another process is at it.

        Raises:
            StoreError: the store cannot be written.
        """
        folder = f"{self._cells}/{cell.id}"
        with self.writing():
            os.makedirs(folder, exist_ok=True)
            latest = self.attempts(cell.id)
            if latest and self.alive(cell.id, latest):
                return None
            attempt = attempts.claim(folder, latest + 1, sweep)
            if attempt is None:
                return None
            before = attempts.read(folder, latest) if latest else None
            if before and not before.how:
                attempts.end(folder, before, "lost")
            if not os.path.exists(request := f"{folder}/request.json"):
                with replacing(request, durable=False) as file:  # it is for people: the record says the same
                    file.write(json_bytes(cell.request))
            if latest:
                left = (*Path(folder).rglob(".*.part"), *Path(folder).glob("live-*.json"))
                for unfinished in left:  # of attempts that were killed while they wrote
                    unfinished.unlink(missing_ok=True)
            return attempt

    def beat(self, cell_id: str, attempt: Attempt) -> bool:
        """Show that an attempt goes on; return False where another has taken its place."""
        attempts.beat(self.cell(cell_id), attempt)
        return not os.path.exists(attempts.path(self.cell(cell_id), attempt.number + 1))

    def end(self, cell_id: str, attempt: Attempt, how: str) -> None:
        """Write how an attempt ended, which frees the cell."""
        attempts.end(self.cell(cell_id), attempt, how)

    @functools.cached_property
    def _offset(self) -> float:
        """Seconds by which the clock of the store's file system is ahead of ours; 0 where that cannot be told."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                return os.fstat(file.fileno()).st_mtime - time.time()
        except OSError:
            return 0.0

    def log(self, cell_id: str, attempt: int) -> Path:
        """Return where the output of an attempt lies."""
        return self.cell(cell_id) / f"log-{attempt}.txt"

    def finish(
        self,
        job: Job,
        record: Record,
        curves: Sequence[Point] = (),
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> bool:
        """Write the final record and what lies beside it; the record last, so that it never lacks them.

        What lies beside it has its SHA-256 in its name: an attempt that wakes late, when another's record stands,
        cannot touch what belongs to that.

        Returns:
            False where the cell has its final record already, which is left as it is, or where a later attempt has
            taken the place of this one.

        Raises:
            StoreError: the store cannot be written.
        """
        folder = f"{self._cells}/{job.cell.id}"
        path = f"{folder}/record-{job.key}.json"
        with self.writing():
            begun = attempts.numbers(_listing(folder))
            if os.path.exists(path) or max(begun, default=0) > job.attempt:
                return False
            os.makedirs(folder, exist_ok=True)  # here: a file in its place is no record that stands
            digests = dict(record.digests)
            for kind, content in _contents(curves, arrays or {}):
                digests[kind] = sha256(content)
                with replacing(f"{folder}/{file_beside(kind, job.key, digests[kind])}") as file:
                    file.write(content)
            earlier = self._history(job.cell.id, [number for number in begun if number < job.attempt])
            interrupted = restarts(earlier, job.attempt)
            record = record.model_copy(update={"digests": digests, "restarts": interrupted})
            content = _readable(record)
            try:
                with creating(path) as file:
                    file.write(content)
            except FileExistsError:
                return False
            return True

    def taken(self, job: Job) -> bool:
        """Tell whether a final record stands that `job` does not replace."""
        try:
            record = self.record(job.cell.id, job.key)
        except CorruptRecord:
            return False
        return record is not None and record.attempt != job.replaces

    def vacate(self, job: Job) -> None:
        """Make place for the record of `job`, whose attempt has begun.

        What is no record is set aside as `record-<key>.corrupt`, and the one that `job` replaces as
        `record-<key>.attempt-<n>.json`.

        Raises:
            StoreError: the store cannot be written.
        """
        path = self.record_path(job.cell.id, job.key)
        try:
            record = self.record(job.cell.id, job.key)
        except CorruptRecord:
            suffix = "corrupt"
        else:
            suffix = f"attempt-{job.replaces}.json" if record and record.attempt == job.replaces else ""
        if suffix:
            with self.writing():
                set_aside(path, suffix)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Take what goes wrong in the block for trouble of the store.

        Raises:
            StoreError: something did.
        """
        try:
            yield
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        place = f"{reason}: {error.filename}" if error.filename else reason
        return StoreError(f"the run store {self.folder} cannot be written ({place})", error.errno)


def _readable(record: Record) -> bytes:
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


def file_beside(kind: str, key: str, digest: str) -> str:
    """Return the name of a file beside a record: its kind, the record's key and its own SHA-256."""
    return f"{kind}-{key}-{digest}.{BESIDE[kind]}"


@functools.lru_cache(maxsize=1024)
def _changes(recorded: str, wanted: Evaluation) -> str:
    """Return how the evaluation settings of a record differ from those of now, in words; empty if they do not."""
    before = normal(type(wanted), recorded)
    if before is None:
        return "with settings that this version does not know"
    changed = differences(before, wanted.model_dump_json())
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in changed)


def _contents(curves: Sequence[Point], arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
    """Give kind and content of each file beside a record."""
    if arrays:
        from bench.sweep.npz import packed

        yield "arrays", packed(arrays)
    if curves:
        yield "curves", json_bytes([point.model_dump() for point in curves])


def _listing(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
