"""That two run stores hold the same numbers is told from all that a cell leaves."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import bench
from bench.sweep.fingerprints import Fingerprints
from tests import equal
from tests.equal import committed, differences, numbers

QUICK = {
    "train.epochs": 1,
    "evaluate.images": 20,
    "evaluate.importance_samples": 10,
    "evaluate.ais_nll.images": 0,
    "evaluate.ais_nll.simulated": 0,
    "headline.metric": "nll",
}


def trained(store: Path, **changed: object) -> Path:
    bench.run("digits", strategies=["normal"], seeds=1, set=QUICK | changed, jobs=1, store=store, progress=False)
    return store


def test_the_same_cell_leaves_the_same_numbers_and_scoring_alone_changes_scores_alone(tmp_path: Path) -> None:
    first = numbers(trained(tmp_path / "first"))
    assert {"nll", "vlb", "arrays", "curves", "decoder net.0.weight"} <= {name for _, name in first}
    assert differences(first, numbers(trained(tmp_path / "second"))) == []
    other = numbers(trained(tmp_path / "third", **{"evaluate.importance_samples": 11}))
    names = {name.split(maxsplit=1)[1] for name in differences(first, other)}
    assert {"nll", "arrays"} <= names
    assert not {"vlb", "curves", "decoder net.0.weight"} & names


def test_a_number_that_is_missing_is_a_difference() -> None:
    assert differences({("a", "nll"): "1.0"}, {}) == ["a nll"]
    assert differences({}, {("a", "nll"): "1.0"}) == ["a nll"]


def test_every_grid_with_committed_records_has_a_file_to_train_it_again() -> None:
    assert committed()
    assert [grid for grid in committed() if not grid.is_file()] == []


def test_what_was_shown_is_written_as_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equal, "EQUAL", tmp_path / "equal.toml")
    monkeypatch.setattr(equal, "ROOT", tmp_path)
    (tmp_path / "equal.toml").write_text("# what stands there\n")
    before, after = code("a", "b"), code("c", "d")
    equal.add(before, after, "2 cells")
    equal.add(after, before, "3 cells")
    text = (tmp_path / "equal.toml").read_text()
    assert text.startswith("# what stands there\n")
    first, second = tomllib.loads(text)["change"]
    assert (first["fit"], first["evaluate"]) == (["a" * 64, "c" * 64], ["b" * 64, "d" * 64])
    assert second["shown"].endswith(": 3 cells")


def code(fit: str, evaluate: str) -> Fingerprints:
    return Fingerprints("", fit * 64, evaluate * 64)
