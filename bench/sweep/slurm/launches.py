"""Launches: what the store keeps of cells that were submitted to SLURM, for later commands and shells.

runs/mnist/launches/<sweep>/launch.json   which job carries out which cells
runs/mnist/submitting/attempt-<n>.json    who submits now, as one claims a cell
runs/mnist/launches/<sweep>/<n>/          array n: its script, what it was handed, and its jobs' own output
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from bench import files
from bench.files import replacing
from bench.protocol import UserError
from bench.sweep import attempts
from bench.sweep.record import Name, explained
from bench.sweep.storage import StoreError
from bench.sweep.store import Store


@dataclass(frozen=True)
class Array:
    """An array of jobs, or one job.

    Attributes:
        job: SLURM's id of the whole.
        cells: of every job, in the array's order.
    """

    job: Annotated[str, Field(pattern=r"^[0-9]+$")]  # it is handed to SLURM's commands
    cells: list[list[Name]]

    def jobs(self) -> Iterator[tuple[str, list[str]]]:
        """Give each job's id with its cells."""
        for task, cells in enumerate(self.cells):
            yield (f"{self.job}_{task}" if len(self.cells) > 1 else self.job), cells


@dataclass
class Launch:
    """What one command submitted.

    Attributes:
        sweep: its id.
        submitted: ISO 8601.
        slurm: the `[slurm]` settings.
        options: of the command, for a retry.
        keys: of the records, by cell: they stand for the code that was submitted.
        replaces: what tells the records that are to be replaced, by cell (`Job.replaces`).
        arrays: what SLURM took.
        cancelled: cells that `bench cancel` ended.
        cluster: that took the arrays, as it calls itself; empty in launches of earlier versions.
    """

    sweep: str
    submitted: str
    slurm: dict[str, Any]
    options: dict[str, Any]
    keys: dict[str, str] = field(default_factory=dict)
    replaces: dict[str, str | int] = field(default_factory=dict)
    arrays: list[Array] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    cluster: str = ""

    def jobs(self) -> dict[str, str]:
        """Return every cell's job."""
        return {cell: job for array in self.arrays for job, cells in array.jobs() for cell in cells}

    def tuning(self) -> list[str]:
        """Return the jobs that carry out trials: they were handed no cells."""
        return [job for array in self.arrays for job, cells in array.jobs() if not cells]


LAUNCH = TypeAdapter(Launch)


def folder(store: Store, sweep: str) -> Path:
    """Return where a launch lies."""
    return store.folder / "launches" / sweep


def output(store: Store, launch: Launch, job: str) -> Path:
    """Return where a job's own output lies."""
    number = next(n for n, array in enumerate(launch.arrays) if job.partition("_")[0] == array.job)
    return folder(store, launch.sweep) / str(number) / f"{job}_0_log.out"


def write(store: Store, launch: Launch) -> None:
    """Keep a launch.

    Raises:
        StoreError: the store cannot be written.
    """
    try:
        with replacing(folder(store, launch.sweep) / "launch.json") as file:
            file.write(LAUNCH.dump_json(launch))
    except OSError as error:
        raise StoreError(f"the run store {store.folder} cannot be written ({error.strerror})") from error


def read(store: Store) -> list[Launch]:
    """Return the launches of a store that can be read, the earliest first."""
    return [launch for launch in _files(store) if isinstance(launch, Launch)]


def unread(store: Store) -> list[str]:
    """Return a sentence for each launch of a store that cannot be read: nobody knows which jobs it submitted."""
    return [sentence for sentence in _files(store) if isinstance(sentence, str)]


@contextlib.contextmanager
def claimed(store: Store) -> Iterator[None]:
    """Let no other command submit cells of a store during the block: both would submit the same ones.

    Raises:
        UserError: another one submits.
        StoreError: the store cannot be written.
    """
    place, over = store.folder / "submitting", threading.Event()
    with store.storage.writing():
        place.mkdir(parents=True, exist_ok=True)
        latest = max(attempts.numbers(os.listdir(place)), default=0)
        free = not latest or not attempts.alive(place, latest, store.storage.ahead)
        claim = attempts.claim(place, latest + 1, "") if free else None
    if claim is None:
        raise UserError(f"another command submits cells of {store.folder} to SLURM now; try again once it has")

    def beat() -> None:
        while not over.wait(attempts.BEAT):
            attempts.beat(place, claim)

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()
        with contextlib.suppress(OSError):
            os.unlink(attempts.path(place, claim.number))
            place.rmdir()


def cancelled(store: Store, sweep: str) -> Sequence[str]:
    """Return the cells of a launch that `bench cancel` ended, as far as it can be read."""
    return next((launch.cancelled for launch in read(store) if launch.sweep == sweep), ())


def _files(store: Store) -> Iterator[Launch | str]:
    """Give every launch, or why a file is none."""
    for path in sorted(store.folder.glob("launches/*/launch.json")):
        try:
            launch = LAUNCH.validate_json(files.read(path), strict=True)
            if launch.sweep != path.parent.name:
                raise ValueError("its `sweep` is that of another folder")
        except ValidationError as error:
            yield f"{path} is no launch of this version: {explained(error)}"
        except (OSError, ValueError) as error:
            yield f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        else:
            yield launch
