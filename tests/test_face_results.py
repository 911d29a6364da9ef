"""What `bench.results` makes of several places, of stores that have just begun or are gone, and of a pickle."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import bench
from bench.face import Results
from bench.protocol import UserError
from bench.report import parquet as tables
from tests.test_face import QUICK

FACE: Any = bench  # as a caller without types sees it
HOW: dict[str, Any] = {"strategies": ["normal", "stein"], "jobs": 1, "progress": False}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("face") / "digits"


@pytest.fixture(scope="module")
def results(store: Path) -> Results:
    ran: Results = bench.run("digits", seeds=1, set=QUICK, store=store, **HOW)
    return ran


def _sorted(curves: pd.DataFrame) -> pd.DataFrame:
    return curves.sort_values(["cell", "metric", "epoch", "step"]).reset_index(drop=True)


def test_a_records_curves_come_once_wherever_they_lie(results: Results, store: Path, tmp_path: Path) -> None:
    own = results.curves()
    assert set(own["cell"]) == {cell.record.cell for cell in results.cells}
    tables.write_parquet(results.frame(), tmp_path / "records.parquet")
    tables.write_parquet(own, tmp_path / "curves.parquet", "curves")
    tables.write_parquet(own, tmp_path / "copy.parquet", "curves")
    one = own[own["cell"] == results.cell("stein").record.cell]
    tables.write_parquet(one, tmp_path / "stein.parquet", "curves")
    beside = ["records.parquet", "curves.parquet", "copy.parquet", "stein.parquet"]
    for names in (beside[:2], beside[:3], beside, beside[1:2], beside[1:], beside[:1] + beside[3:]):
        read = bench.results(store, *(tmp_path / name for name in names))
        pd.testing.assert_frame_equal(_sorted(read.curves()), _sorted(own))
        without = bench.results(*(tmp_path / name for name in names))  # and where the store is not there
        wanted = own if {"curves.parquet", "copy.parquet"} & {*names} else one
        pd.testing.assert_frame_equal(_sorted(without.curves()), _sorted(wanted))


def test_a_store_that_was_moved_is_said_to_be_gone(results: Results, store: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(store, moved)
    read = bench.results(moved)
    cell, touched = read.cell("normal"), read.cell("stein")
    assert len(touched.arrays)
    moved.rename(tmp_path / "elsewhere")
    gone = rf"^the run store {moved} is gone, moved or removed since the record of digits \w+ seed 0 was read$"
    for ask in (lambda: cell.arrays, lambda: cell.curves, lambda: cell.model(), lambda: touched.curves, touched.model):
        with pytest.raises(UserError, match=gone):
            ask()
    with pytest.raises(
        UserError, match=rf"^the run store {moved} is gone, moved or removed since these results were read$"
    ):
        read.curves()


def test_a_record_that_its_store_no_longer_holds_is_said_to_be(results: Results, store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(store, copied)
    cell = bench.results(copied).cell("normal")
    for file in copied.glob("cells/*/record-*.json"):
        file.unlink()
    with pytest.raises(UserError, match=r"lies in none of the run stores as it was read; the rest lies in its run st"):
        cell.model()


def test_a_store_whose_run_has_just_begun_is_said_to_be(results: Results, store: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    with pytest.raises(
        UserError, match=rf"^{begun} is empty: it is no run store, or one whose run has only just begun"
    ):
        bench.results(begun)
    shutil.copy(store / "grid.json", begun)
    with pytest.raises(UserError, match=rf"^no record lies in {begun}; the first cells of its run have not ended yet$"):
        bench.results(begun)
    (tmp_path / "trials" / "cells" / "c47039d227ce").mkdir(parents=True)
    with pytest.raises(UserError, match=r"trials holds no record; the first cells of its run have not ended yet$"):
        bench.results(tmp_path / "trials")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"other is no run store: it holds neither grid\.json nor records$"):
        bench.results(tmp_path / "other")


def test_limits_are_checked_where_nothing_is_left_to_run(results: Results, store: Path) -> None:
    for name, wrong in {"timeout": "1", "memory": float("nan"), "retries": True}.items():
        with pytest.raises(UserError, match=rf"^{name}={wrong!r} is not allowed; it must be a"):
            FACE.run("digits", seeds=1, set=QUICK, store=store, **HOW, **{name: wrong})


def test_results_can_be_pickled(results: Results) -> None:
    assert len(results.table()) == 2
    again = pickle.loads(pickle.dumps(results))
    pd.testing.assert_frame_equal(again.table(), results.table())
    pd.testing.assert_frame_equal(again.curves(), results.curves())
    assert again.cell("stein").model().sample(2).shape == (2, 8, 8)
    assert repr(pickle.loads(pickle.dumps(results.cell("stein")))) == "digits stein seed 0: ok"


def test_other_settings_are_shown_where_they_are_asked_for(results: Results, store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(store, copied)
    where: dict[str, Any] = {**HOW, "strategies": ["normal"], "store": copied, "trust": True}
    bench.run("digits", seeds=1, set={**QUICK, "train.epochs": 2}, **where)
    read = bench.results(copied)
    (note,) = [note for note in read.notes if "left out: 2 cells" in note]
    assert note.endswith(
        "instead of 2; --all-settings (with --grid; in Python `all_settings=True`) shows other settings, too"
    )
    assert read.table()["strategy"].tolist() == ["normal"]
    whole = FACE.results(copied, all_settings=True)
    assert len(whole.table()) == 3
    assert not [note for note in whole.notes if "all_settings" in note]


@pytest.mark.parametrize("device", ["gpu", 3, "cuda:x"])
def test_a_model_on_a_device_that_is_none_is_one_sentence(results: Results, device: Any) -> None:
    with pytest.raises(UserError, match=rf"^device={device!r} is unknown; allowed: cpu, cuda, cuda:N, mps$"):
        results.cell("normal").model(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_model_on_a_gpu_that_is_not_there_is_one_sentence(results: Results) -> None:
    with pytest.raises(UserError, match=r"^device='cuda' is not there: torch sees 0 cuda devices on this machine$"):
        results.cell("normal").model("cuda")
