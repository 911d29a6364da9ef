"""Which of the records that come with bench a grid has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from bench.report import plans
from bench.report.parquet import write_parquet
from bench.report.sources import committed_of
from bench.report.stored import collect

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

VAMP = "vampprior[components=16]"


@pytest.fixture
def other(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> Synthetic:
    """A store whose records another grid has committed, beside those of `mnist`."""
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: Path("committed").absolute())
    return type(mnist)(Path("other"))


def committed(mnist: Synthetic, other: Synthetic) -> set[tuple[str, str, int, str]]:
    """Return grid, label, seed and status of the records that the grid `mnist` has of what both stores hold."""
    for name, store in {"mnist": mnist, "another": other}.items():
        frame: pd.DataFrame = collect([store.folder])
        if len(frame):
            write_parquet(frame.assign(grid=name), Path("committed", f"{name}.parquet").absolute())
    source = committed_of(plans.of(mnist.grid), mnist.registry, "mnist")
    return {(r.grid, r.label, r.seed, r.status) for r in source.records} if source else set()


def test_a_cell_that_a_grid_lacks_is_anothers_if_it_was_scored_alike(mnist: Synthetic, other: Synthetic) -> None:
    mnist.put(VAMP, 0, 94.2)
    other.put("normal", 0, 95.4)
    other.put("normal", 1, 95.0, evaluation=other.cell("normal", 1).evaluation.model_copy(update={"vlb_samples": 20}))
    assert committed(mnist, other) == {("mnist", VAMP, 0, "ok"), ("another", "normal", 0, "ok")}


def test_a_grids_own_record_stands_whatever_another_has_of_the_cell(mnist: Synthetic, other: Synthetic) -> None:
    mnist.put("normal", 0, status="crashed", reason="signal 9")
    other.put("normal", 0, 95.4)
    assert committed(mnist, other) == {("mnist", "normal", 0, "crashed")}


def test_a_grid_without_records_of_its_own_has_those_of_others_however_they_were_scored(
    mnist: Synthetic, other: Synthetic
) -> None:
    other.put("normal", 0, 95.4)
    other.put("normal", 1, 95.0, evaluation=other.cell("normal", 1).evaluation.model_copy(update={"vlb_samples": 20}))
    assert committed(mnist, other) == {("another", "normal", 0, "ok"), ("another", "normal", 1, "ok")}


def test_cells_that_a_grid_does_not_plan_are_not_its_own(mnist: Synthetic, other: Synthetic) -> None:
    longer = type(mnist)(Path("longer"), settings=["train.epochs=3"])
    mnist.put("normal", 0, 95.4)
    longer.put(VAMP, 0, 99.5)
    assert committed(mnist, longer) == {("mnist", "normal", 0, "ok")}
