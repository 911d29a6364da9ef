"""The results that come with bench are what its code gives."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.report import Records, agreement, stored
from bench.report.parquet import read_parquet
from bench.report.published import results_folder
from bench.report.sources import of_grids

GRID, STRATEGY, SEEDS = "digits-full", "normal", 2


def test_committed_cells_trained_again_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bench.run(GRID, seeds=SEEDS, strategies=[STRATEGY], store=tmp_path / "again", jobs=1, progress=False)
    text, agrees = agreement(Records(GRID, [tmp_path / "again"]))
    assert agrees, text
    assert text.startswith("Compared with 3 committed scores"), text


def test_a_grids_committed_records_are_its_own_and_of_its_other_cells_those_that_are_scored_alike() -> None:
    for source in of_grids():
        own = {record.cell for record in source.records if record.grid == source.plan.name}
        others = [record for record in source.records if record.grid != source.plan.name]
        planned = {cell.id for cell in source.plan.cells}
        assert own
        assert {record.cell for record in others} <= planned - own
        assert {record.scoring for record in others} <= {source.plan.evaluation}


@pytest.mark.parametrize("file", sorted(results_folder().glob("*.parquet")), ids=lambda file: file.stem)
def test_a_committed_file_is_whole(file: Path) -> None:
    table = next((table for table in ("curves", "items") if file.stem.endswith(f"-{table}")), "records")
    assert len(read_parquet(file, table))  # type: ignore[arg-type]


def test_the_committed_models_are_those_of_the_committed_records(tmp_path: Path) -> None:
    copied = bench.import_store(results_folder() / "mnist-annealed-models.zip", tmp_path / "models")
    committed = {record.identity for source in of_grids() for record in source.records}
    models = list((tmp_path / "models").glob("cells/*/*/state-*.pt"))
    assert copied.records == len(models) == 5
    said: list[str] = []
    assert {record.identity for record in stored.gather([tmp_path / "models"], corrupt=said)} <= committed
    assert [sentence.split(" of ")[0] for sentence in said] == ["gone: the arrays"]  # their scores are in another file
