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
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bench.files import creating, json_bytes, listing, read, read_patiently, replacing, set_aside, sha256
from bench.places import remembered
from bench.sweep import attempts, live, states
from bench.sweep.attempts import Attempt, Job, restarts
from bench.sweep.record import RETRIED, CorruptRecord, Gone, Integer, Point, Record
from bench.sweep.seal import sealed, unsealed
from bench.sweep.storage import Storage

if TYPE_CHECKING:
    import numpy as np

    from bench.grid import Cell

RECORD = re.compile(r"record-([0-9a-f]{16})\.json")
#: what may lie beside a record, and how it is stored
BESIDE = {"arrays": "npz", "curves": "json"}
_EXTENDED = TypeAdapter(tuple[Integer, Integer])


class Store:
    """A run store. Reading needs nothing to exist; nothing is made before something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()  # a plugin may change the working directory
        self.storage = Storage(self.folder)
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
            CorruptRecord: what lies there is not a record, or cannot be read, which is its cause.
        """
        try:
            return Record.read(read_patiently(f"{self._cells}/{cell_id}/record-{key}.json"), cell_id)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CorruptRecord(error.strerror or str(error)) from error

    def scan(self, *cells: str) -> Iterator[tuple[str, str, Record | CorruptRecord]]:
        """Give every record of all cells or of these, of whatever code, and of a file that is none, why it is not.

        Each with its cell and key (`record_path`).
        """
        for cell_id in cells or sorted(listing(self._cells)):
            try:
                names = sorted(listing(f"{self._cells}/{cell_id}"))
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
        return max(attempts.numbers(listing(f"{self._cells}/{cell_id}")), default=0)

    def history(self, cell_id: str) -> list[Attempt]:
        """Return the attempts at a cell, in order, as far as they can be read."""
        return self._history(cell_id, attempts.numbers(listing(f"{self._cells}/{cell_id}")))

    def _history(self, cell_id: str, numbers: Sequence[int]) -> list[Attempt]:
        readable = (attempts.read(f"{self._cells}/{cell_id}", number) for number in numbers)
        return [attempt for attempt in readable if attempt]

    def alive(self, cell_id: str, attempt: int) -> bool:
        """Tell whether an attempt goes on."""
        return attempts.alive(f"{self._cells}/{cell_id}", attempt, self.storage.ahead)

    def progress(self, cell_id: str) -> live.Live | None:
        """Return how far the last attempt at a cell is, while it goes on and has said so."""
        return live.read(self.cell(cell_id), self.attempts(cell_id))

    def trained(self, job: Job) -> bool:
        """Tell whether this code has trained a cell: the state lies in the workspace, as it was written."""
        with self.storage.reading():
            return states.intact(self.cell(job.cell.id) / job.workspace)

    def trained_on(self, job: Job) -> str | None:
        """Return the SHA-256 of the data of a cell's workspace, by itself or by a record; None where neither says."""
        with self.storage.reading():
            code, said = job.workspace, states.data_of(self.cell(job.cell.id) / job.workspace)
        records = self.records(job.cell.id) if said is None else []
        return next((r.dataset.sha256 for r in records if attempts.workspace(r.fingerprints) == code), said)

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
            Gone: it is not there.
            CorruptRecord: it is not what was written, or cannot be read.
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
            raise Gone from error
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

    def write_grid(self, source: Mapping[str, Any]) -> None:
        """Keep the merged grid, from which the report takes what was planned.

        Raises:
            StoreError: the store cannot be written.
        """
        if self.grid() == source:
            return  # so that nothing needs to be written where nothing is to be done
        with self.storage.writing(), replacing(self.folder / "grid.json") as file:
            file.write(sealed(json_bytes(source)))

    def extend(self, seeds: tuple[int, int]) -> None:
        """Keep that a plan was extended from so many seeds to so many, once verdicts were out.

        Raises:
            StoreError: the store cannot be written.
        """
        first = min(seeds[0], *(self.extended() or seeds))
        with self.storage.writing(), replacing(self.folder / "extended.json") as file:
            file.write(sealed(json_bytes({"seeds": [first, seeds[1]]})))

    def keep(self, content: bytes) -> str:
        """Keep a file of arrays, and return its SHA-256.

        Raises:
            StoreError: the store cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self.data / f"{digest}.npz"
        with self.storage.writing():
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
        with self.storage.writing():
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
        with self.storage.writing():
            begun = attempts.numbers(listing(folder))
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
            content = attempts.readable(record)
            try:
                with creating(path) as file:
                    file.write(content)
            except FileExistsError:
                return False
            return True

    def taken(self, job: Job) -> bool:
        """Tell whether a final record stands that `job` does not replace.

        Raises:
            StoreError: what stands there cannot be read.
        """
        try:
            record = self.record(job.cell.id, job.key)
        except CorruptRecord as reason:
            self.storage.demand_read(reason)
            return False
        return record is not None and not self.replaced(record, job.key, job.replaces)

    def replaced(self, record: Record, key: str, by: str | int | None) -> bool:
        """Tell whether a record is the one that a job replaces (`Job.replaces`); never one that need not run again."""
        return record.status in RETRIED and bool(by) and by in (record.attempt, self.digest(record.cell, key))

    def digest(self, cell_id: str, key: str) -> str:
        """Return the SHA-256 of a record's file; empty where none can be read."""
        try:
            return sha256(read(self.record_path(cell_id, key)))
        except OSError:
            return ""

    def vacate(self, job: Job) -> None:
        """Make place for the record of `job`, whose attempt has begun.

        What is no record is set aside as `record-<key>.corrupt`, and the one that `job` replaces as
        `record-<key>.attempt-<n>.json`.

        Raises:
            StoreError: the store cannot be written, or what stands there cannot be read.
        """
        path = self.record_path(job.cell.id, job.key)
        try:
            record = self.record(job.cell.id, job.key)
        except CorruptRecord as reason:
            self.storage.demand_read(reason)
            suffix = "corrupt"
        else:
            old = record and self.replaced(record, job.key, job.replaces)
            suffix = f"attempt-{record.attempt}.json" if record and old else ""
        if suffix:
            with self.storage.writing():
                set_aside(path, suffix)


def file_beside(kind: str, key: str, digest: str) -> str:
    """Return the name of a file beside a record: its kind, the record's key and its own SHA-256."""
    return f"{kind}-{key}-{digest}.{BESIDE[kind]}"


def _contents(curves: Sequence[Point], arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
    """Give kind and content of each file beside a record."""
    if arrays:
        from bench.sweep.npz import packed

        yield "arrays", packed(arrays)
    if curves:
        yield "curves", json_bytes([point.model_dump() for point in curves])
