"""The first trial of a row has the grid's own values, exactly, wherever these lie."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bench.grid as grids
from bench.plugins import Registry
from bench.protocol import UserError
from bench.sweep.requests import Request
from bench.sweep.store import Store
from bench.tuning import rows
from bench.tuning.journal import storage_of
from bench.tuning.orders import Tuning
from bench.tuning.rows import Row
from bench.tuning.show import text
from bench.tuning.space import Range, holding
from bench.tuning.study import Study
from tests.tuning.conftest import FAKES, Tune, tables

OUTSIDE = {"variance": 500.0}  # of .01 to 100


def row_of(strategy: str, settings: dict[str, Any]) -> Row:
    """Return a row of the grid of digits."""
    settings = {"dataset.digits.validation": 300} | settings
    grid = grids.load("digits-full", Registry(), settings=settings, strategies=[strategy])
    (row,) = rows.of(grid, "vlb", Registry())
    return row


def study_of(row: Row, folder: Path) -> Study:
    storage = storage_of(None, folder)
    assert storage is not None
    return Study(row, storage)


@pytest.mark.parametrize(
    ("strategy", "key", "value", "searched"),
    [
        ("vampprior", "components", 8, "8, 16, 128 or 500, not from 16, 128 or 500"),
        ("stein", "penalty", 0.3, "0.3, 0.1, 1.0 or 10.0, not from 0.1, 1.0 or 10.0"),
        ("latent-mixture", "components", 1, "1 to 100, not from 2 to 100"),
        ("latent-mixture", "components", 200, "2 to 200, not from 2 to 100"),
        ("flow", "transforms", 20, "1 to 20, not from 1 to 6"),
        ("normal", "train.optimiser.lr", 5e-2, "0.0001 to 0.05, not from 0.0001 to 0.01"),
        ("normal", "train.optimiser.lr", 1.23456e-5, "1.23456e-05 to 0.01, not from 0.0001 to 0.01"),
        ("normal", "train.optimiser.lr", 1.23456e-3, ""),  # on no step
        ("flow", "transforms", 2, ""),
    ],
)
def test_the_first_trial_trains_the_grids_own_values_and_the_search_is_widened_to_hold_them(
    strategy: str, key: str, value: float, searched: str, tmp_path: Path
) -> None:
    row = row_of(strategy, {key if key.startswith("train.") else f"strategy.{strategy}.{key}": value})
    study = study_of(row, tmp_path)
    first, second = study.ask(2), study.ask(2)
    assert first is not None
    assert second is not None
    values = study_of(row, tmp_path).values(study.trials[0])
    assert values == row.defaults
    assert values[key] == value
    assert row.trial(0, values, Registry()).request | {"seed": 0} == row.cell.request | {"seed": 0}
    assert study.own(study.trials[0])
    assert not study.own(study.trials[1])
    said = f"digits {strategy}: {key} is searched from {searched}, to hold {json.dumps(value)}, the grid's own value"
    assert row.widened == ([said] if searched else [])
    assert study.earlier == []


def test_choices_that_are_equal_are_one(tmp_path: Path) -> None:
    row = row_of("stein", {"strategy.stein.penalty": 1.0, "tune.stein.penalty": {"choices": [1, 10]}})
    assert row.widened == []
    study = study_of(row, tmp_path)
    assert study.ask(1) is not None
    assert study.values(study.trials[0]) == row.defaults


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            {"seconds": {"low": 0.1, "high": 1, "log": True}},
            "the grid: tune.known.seconds: the first trial has the grid's own values, and 0.0 has no logarithm;"
            " search without log, or choices",
        ),
    ],
)
def test_what_no_range_can_hold_is_refused(table: dict[str, Any], sentence: str, tune: Tune, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        tune(tables(tune={"known": table}), trials=1)
    assert str(error.value) == sentence
    assert not (tmp_path / "runs").exists()


def test_what_is_no_number_is_in_no_range() -> None:
    with pytest.raises(UserError, match=r'^here: .* and "auto" is no number; write choices in place of low and high$'):
        Range("key", 1, 2).widened("auto", "here")


def test_a_key_without_a_value_is_refused() -> None:
    with pytest.raises(UserError) as error:
        holding([Range("width", 1, 2)], {}, "here: tune.own")
    why = "the first trial has the grid's own values, and the grid has none of width; give it one"
    assert str(error.value) == f"here: tune.own.width: {why}"


def test_a_record_and_the_ledger_are_of_the_grids_own_values(tune: Tune, tmp_path: Path) -> None:
    """The best variance is 1.75."""
    tuned = tune(tables(OUTSIDE), trials=4, pruner="none")
    said = (
        "drawn known: variance is searched from 0.01 to 500, not from 0.01 to 100, to hold 500.0, the grid's own value"
    )
    assert tuned.notes == [said]
    first = min(Store(tmp_path / "runs" / "grid-trials").records(), key=lambda record: record.seed)
    assert (first.hyper["variance"], first.tuned) == (500.0, OUTSIDE)
    ledger = tuned.ledger().iloc[0]
    assert ledger["defaults"] == OUTSIDE
    assert ledger["best"] != 0
    assert ledger["space"] == {"variance": {"low": 0.01, "high": 500.0, "log": True}}
    assert "better than the grid's own values, by one training of each" in repr(tuned)
    before = tuned.trials()
    again = tune(tables(OUTSIDE), trials=5, pruner="none")
    assert again.notes == [said]
    assert again.trials()[:4].equals(before)


def test_a_study_of_an_earlier_bench_goes_on_as_it_began(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first trial had the nearest of what was searched, and no mark."""

    def began(row: Row, *given: Any, **how: Any) -> Study:
        return Study(replace(row, ranges=row.stated), *given, **how)

    with monkeypatch.context() as patch:
        patch.setattr("bench.tuning.orders.Study", began)
        patch.setattr(Study, "_first", lambda study: {"params": {"variance": 100.0}})
        before = tune(tables(OUTSIDE), trials=2, pruner="none").trials()
    again = tune(tables(OUTSIDE), trials=3, pruner="none")
    assert again.trials()[:2].equals(before)
    assert json.loads(before["values"][0]) == {"variance": 100.0}
    why = "an earlier bench began its study, whose first trial has not the grid's own values"
    assert again.notes == [f"drawn known: {why}; a new one needs another run store"]
    assert again.ledger().iloc[0]["space"] == {"variance": {"low": 0.01, "high": 100.0, "log": True}}
    assert "the grid's own values" not in repr(again).replace(why, "")


def test_a_first_trial_that_an_earlier_bench_rounded_stays_what_it_was(
    tmp_path: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"variance": 1.23456}
    with monkeypatch.context() as patch:
        patch.setattr(Study, "_first", lambda study: {"params": own})
        before = tune(tables(own), trials=1).trials()
    assert json.loads(before["values"][0]) == {"variance": 1.23}
    again = tune(tables(own), trials=2)
    assert again.trials()[:1].equals(before)
    assert len(again.notes) == 1
    assert json.loads(tune(tables(own), trials=1, store=tmp_path / "another").trials()["values"][0]) == own


def test_another_value_of_the_grid_needs_another_study_and_is_named(tune: Tune, tmp_path: Path) -> None:
    tune(tables(), trials=1)
    with pytest.raises(UserError, match=r"made with other settings \(hyper.variance: 1.0 instead of 2.0\); a new one"):
        tune(tables({"variance": 2.0}), trials=2)
    with pytest.raises(UserError, match=r"made with other settings \(hyper.variance: 1.0 instead of 500.0\); a new "):
        tune(tables(OUTSIDE), trials=2)
    wide = tmp_path / "wide"
    tune(tables(OUTSIDE), trials=1, store=wide)
    for value in (300.0, 2.0):
        with pytest.raises(UserError, match=rf"other settings \(hyper.variance: 500.0 instead of {value}\); a new"):
            tune(tables({"variance": value}), trials=2, store=wide)
    with pytest.raises(UserError, match=r"another search space \(variance.high: 500.0 instead of 600.0, variance.log"):
        tune(tables(OUTSIDE, tune={"known": {"variance": {"low": 0.01, "high": 600}}}), trials=2, store=wide)
    request = Request(tables(), plugins=[FAKES], store=tmp_path / "runs" / "grid-trials")
    assert "the grid's own values are the best so far" in text(Tuning(request).studies)
