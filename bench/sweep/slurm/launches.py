"""Launches: what was submitted to SLURM from a run store, kept in the store for later commands and other shells.

runs/mnist/launches/<sweep>/launch.json   which job carries out which cells
runs/mnist/launches/<sweep>/<n>/          array n: its script, what it was handed, and its jobs' own output
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.files import replacing
from bench.sweep.store import Store, StoreError


@dataclass(frozen=True)
class Array:
    """An array of jobs, or one job.

    Attributes:
        job: SLURM's id of the whole.
        cells: of every job, in the array's order.
    """

    job: str
    cells: list[list[str]]

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
        replaces: the attempts whose records are to be replaced, by cell.
        arrays: what SLURM took.
        cancelled: cells that `bench cancel` ended.
    """

    sweep: str
    submitted: str
    slurm: dict[str, Any]
    options: dict[str, Any]
    keys: dict[str, str]
    replaces: dict[str, int]
    arrays: list[Array] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of its jobs."""
        return f"bench-{self.sweep}"

    def jobs(self) -> dict[str, str]:
        """Return every cell's job."""
        return {cell: job for array in self.arrays for job, cells in array.jobs() for cell in cells}


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
            file.write(json.dumps(asdict(launch)).encode())
    except OSError as error:
        raise StoreError(f"the run store {store.folder} cannot be written ({error.strerror})") from error


def read(store: Store) -> list[Launch]:
    """Return the launches of a store, the earliest first."""
    found = []
    for path in sorted(store.folder.glob("launches/*/launch.json")):
        content = json.loads(path.read_bytes())
        found.append(Launch(**{**content, "arrays": [Array(**array) for array in content["arrays"]]}))
    return found
