"""What sweeps cost beside the cells themselves: each function sets up and returns one repetition of the work."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import bench.grid as grids
from bench.plugins import Registry
from bench.report import Records, report
from bench.sweep import status
from bench.sweep.attempts import Job
from bench.sweep.circumstances import provenance
from bench.sweep.store import Store
from bench.sweep.worker import Setup, Worker

FAKES = Path(__file__).parents[1] / "sweep" / "fakes"
CELLS = 100  # that a repetition carries out
FINISHED = 1000  # that it finds finished


class Sweep:
    """Cells that do nothing, and what carries them out within this process."""

    def __init__(self, cells: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.store, self.registry = Store(self.folder / "fakes"), Registry([FAKES])
        source = {
            "seeds": cells,
            "dataset": [{"name": "points"}],
            "networks": {"latent": 2},
            "train": {"epochs": 1},
            "strategy": [{"name": "actor"}],
        }
        self.grid = grids.expand(source, self.registry, name="fakes", where="fakes")
        self.store.write_grid(self.grid.source)
        self.worker = Worker(Setup("fakes", self.store.folder, self.registry, self.folder, "cpu", provenance("cpu")))

    def survey(self) -> status.Survey:
        """Find where the cells stand."""
        return status.survey(self.grid, self.store, self.registry)

    def ready(self) -> list[Job]:
        """Return what is not finished, to be carried out."""
        return status.verified(self.survey().jobs(), self.registry, self.folder)

    def carry_out(self, jobs: Iterable[Job]) -> None:
        """Carry out cells, as pool and worker do."""
        mute = io.StringIO()
        with mock.patch.dict(sys.modules), contextlib.redirect_stdout(mute), contextlib.redirect_stderr(mute):
            for job in jobs:
                sys.modules["torch"] = _Pickles("torch")  # the strategy takes it away
                attempt = self.store.begin(job.cell, "sweep")
                assert attempt is not None
                self.worker.carry_out(job)
                self.store.end(job.cell.id, attempt, "ok")


class _Pickles(ModuleType):
    """Stands for torch, which the strategy needs to write and read its state of plain types alone."""

    def save(self, content: Any, file: Any) -> None:
        pickle.dump(content, file)

    def load(self, file: Any, **_: Any) -> Any:
        return pickle.load(file)

    def set_num_threads(self, number: int) -> None:
        pass


def empty_cells() -> Callable[[], None]:
    """A hundred cells that do nothing; a ratio to `four_durable_files`, a hundred times."""
    sweep = Sweep(100 * CELLS)
    jobs = iter(sweep.ready())
    return lambda: sweep.carry_out(itertools.islice(jobs, CELLS))


def four_durable_files() -> Callable[[], None]:
    """What a cell cannot do without: state, arrays, curves and record, each written, fsynced and renamed."""
    folder, numbers = Path(tempfile.mkdtemp(prefix="bench-")), itertools.count()

    def write() -> None:
        for _ in range(4 * CELLS):
            path = f"{folder}/{next(numbers)}"
            with open(f"{path}.part", "xb") as file:
                file.write(b"x" * 2500)
                file.flush()
                os.fsync(file.fileno())
            os.replace(f"{path}.part", path)

    return write


def finished_cells() -> Callable[[], None]:
    """A look at a thousand finished cells, as every command begins; a ratio to `record_files`."""
    sweep = Sweep(FINISHED)
    sweep.carry_out(sweep.ready())

    def look() -> None:
        assert not sweep.survey().jobs()

    return look


def rerun() -> Callable[[], None]:
    """What `bench run` does where nothing is left to do, a thousand cells; a ratio to `record_files`."""
    sweep = Sweep(FINISHED)
    sweep.carry_out(sweep.ready())

    def again() -> None:
        survey = sweep.survey()
        assert not survey.jobs()
        report(Records(survey.grid, [sweep.store.folder], sweep.registry), sweep.folder / "report")

    return again


def record_files() -> Callable[[], None]:
    """Reading the JSON of a thousand records, and nothing else."""
    sweep = Sweep(FINISHED)
    sweep.carry_out(sweep.ready())
    files = sorted(sweep.store.folder.glob("cells/*/record-*.json"))

    def read() -> None:
        for file in files:
            json.loads(file.read_bytes())

    return read
