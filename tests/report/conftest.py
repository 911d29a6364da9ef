"""A run store of part of the embedded MNIST grid with records of known values."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench.grid as grids
from bench.plugins import Registry
from bench.protocol import Evaluation, Metric, Score
from bench.report import Records, published, sources
from bench.report.rows import Row
from bench.report.tables import Table, build
from bench.sweep.attempts import Job, key
from bench.sweep.fingerprints import Fingerprints, fingerprints
from bench.sweep.record import Point
from bench.sweep.record import Score as ScoreRow
from bench.sweep.store import Store

VLB, NLL = Metric("vlb", "nats"), Metric("nll", "nats")
KL, LOG_Z = Metric("kl", "nats", "neither"), Metric("log_z", "nats", "neither")
# all of the MNIST grid but the adversary, whose published number so has no row of ours
STRATEGIES = ("normal", "vampprior", "sliced-score-matching")
SSM = "strategy.sliced-score-matching.variant=sliced"
CIRCUMSTANCES = {
    "device": "cpu",
    "torch": "2.13.0",
    "python": "3.12.0",
    "platform": "Linux",
    "git": {"commit": "0123456789abcdef", "dirty": False},
}


def items(mean: float, spread: float = 0.0, count: int = 100) -> np.ndarray:
    """Return scores of items with this mean and standard deviation."""
    signs = np.tile([1.0, -1.0], count // 2)
    return np.asarray(mean + spread * signs / signs.std(ddof=1), np.float32)


registry = functools.cache(Registry)  # to look for all plugins, and to parse all code, takes longer than a test
code_of = functools.cache(fingerprints)


class Synthetic:
    """A run store whose records are written by the test, by the label of the grid's cells and their seed."""

    def __init__(
        self, folder: Path, grid: str = "mnist", strategies: Sequence[str] = STRATEGIES, **changes: Any
    ) -> None:
        self.folder = folder
        self.registry = registry()
        self.store = Store(folder)
        if grid == "mnist" and "sliced-score-matching" in strategies:  # one of its two variants, the published one
            key, _, value = SSM.partition("=")
            own = changes.get("settings", [])
            changes["settings"] = {key: value, **own} if isinstance(own, Mapping) else [SSM, *own]
        self.grid = grids.load(grid, self.registry, strategies=strategies, **changes)
        self.store.write_grid(self.grid.source)
        self._clock = 0

    def cell(self, label: str, seed: int, dataset: str = "") -> grids.Cell:
        found = [cell for cell in self.grid.cells if (cell.label, cell.seed) == (label, seed)]
        return next(cell for cell in found if dataset in ("", cell.dataset))

    def code(self, cell: grids.Cell, **other: str) -> Fingerprints:
        """Return the fingerprints of a cell's code as it is, but for `other`."""
        return Fingerprints(**{**vars(code_of(cell.plugins)), **other})

    def put(
        self,
        label: str,
        seed: int,
        vlb: float | None = None,
        *,
        half: float = 0.0,
        unreliable: str = "",
        scores: Sequence[Score] | None = None,
        code: dict[str, str] | None = None,
        evaluation: Evaluation | None = None,
        sha256: str = "d" * 64,
        curves: Sequence[dict[str, Any]] = (),
        dataset: str = "",
        arrays: Mapping[str, np.ndarray] | None = None,
        spread: float = 0.0,
        **fields: Any,
    ) -> Path:
        """Write a record, later than those before it; its NLL is 3 nats below its VLB.

        Unless other `scores` or `arrays` are given, the scores of its 100 items lie beside it.

        Args:
            label: the cell's label.
            seed: its seed.
            vlb: the bound; none where the cell came to no scores.
            half: how far log Z may be off, to either side.
            unreliable: why log Z should not be trusted.
            scores: in place of those that follow from `vlb`.
            code: fingerprints other than those of now.
            evaluation: other than the grid's.
            sha256: of the data.
            curves: rows of the training curves.
            dataset: the cell's, where the grid has several.
            arrays: what lies beside the record, in place of the scores of its items.
            spread: the standard deviation of these scores.
            fields: further fields of the record.
        """
        cell = self.cell(label, seed, dataset)
        evaluation = evaluation or cell.evaluation
        self._clock += 1
        code_then = self.code(cell, **(code or {}))
        job = Job(cell, key(code_then, evaluation), code_then, {"version": "1", "sha256": sha256})
        if scores is None and vlb is not None:
            doubt = f"log Z: {unreliable}" if unreliable else ""
            scores = (
                Score(VLB, vlb, 10_000, "monte-carlo", 0.03, 0.4, vlb - half, vlb + half, doubt),
                Score(NLL, vlb - 3, 10_000, "importance-weighted", 0.0, 0.5, vlb - 3 - half, vlb - 3 + half, doubt),
            )
            if arrays is None and math.isfinite(vlb):
                arrays = {"vlb": items(vlb, spread), "nll": items(vlb - 3, spread)}
            if half:
                scores += (Score(LOG_Z, 58.0, 2500, "ais", 0.01, 0.0, 58 - half, 58 + half, unreliable),)
        content: dict[str, Any] = {
            "status": "ok",
            "scores": [ScoreRow.of(score) for score in scores or ()],
            "evaluation": evaluation.model_dump(mode="json"),
            "resources": {
                "fit_seconds": 10.0,
                "evaluate_seconds": 2.0,
                "overhead_seconds": 0.5,
                "peak_host_bytes": 1e9,
            },
            "stability": {"max_energy": 12.5},
            "finished": f"2026-01-01T00:00:{self._clock:02}+00:00",
            **fields,
        }
        record = job.record(self.grid.name, CIRCUMSTANCES, content.pop("status"), **content)
        points = [Point.model_validate(point) for point in curves]
        assert self.store.finish(job, record, points, arrays)
        return self.store.record_path(cell.id, job.key)

    def table(self, dataset: str = "mnist") -> Table:
        """Return the table of a data set of this store, whose records are `here` and whose cells `bench run` makes."""
        source = sources.of_grid(Records(self.grid, [self.folder], self.registry))
        source = replace(source, words="here", command="`bench run` makes them")
        return build(dataset, source, published.read(), alone=len({cell.dataset for cell in self.grid.cells}) == 1)

    def row(self, label: str, dataset: str = "mnist") -> Row:
        """Return a row of that table."""
        return next(row for row in self.table(dataset).rows if row.label == label)


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports come without figures, which take longer than all else, but where a test is of them."""
    if not request.node.get_closest_marker("draws"):
        monkeypatch.setattr("bench.report.figures.write", lambda *_: ([], []))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("BENCH_STORE", "BENCH_PLUGINS", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def mnist(here: Path) -> Synthetic:
    """The default store of part of the embedded MNIST grid, empty but for the grid."""
    return Synthetic(Path("runs/mnist"))


@pytest.fixture
def toy(here: Path) -> Synthetic:
    """The default store of part of the embedded toy grid: seven data sets, four strategies, three seeds."""
    strategies = ["normal", "importance-weighted", "vampprior"]
    return Synthetic(Path("runs/toy"), "toy", strategies=strategies, seeds=3)


@pytest.fixture
def colour(here: Path) -> Synthetic:
    """The default store of part of the embedded grid on a subset of CIFAR-10."""
    return Synthetic(Path("runs/cifar10-subset"), "cifar10-subset", strategies=["uniform-pixels", "normal"])
