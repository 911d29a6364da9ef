"""Trials: cells with records, as many for every row, however they end; and what is chosen of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.plugins import Registry
from bench.protocol import Metric, Score, UserError
from bench.sweep.record import Score as ScoreRow
from bench.sweep.store import Store
from bench.sweep.wire import Figures
from bench.tuning import ledgers
from bench.tuning.trials import COMPARED, Allowance, Trials, value_of
from tests.tuning.conftest import BEST, FAKES, Tune, tables


def records(tmp_path: Path) -> list[Any]:
    """Return the records of trials, by seed."""
    return sorted(Store(tmp_path / "runs" / "grid-trials").records(), key=lambda record: record.seed)


def test_a_trial_is_a_cell_with_a_record_of_the_validation_split(tune: Tune, tmp_path: Path) -> None:
    tuned = tune(trials=3)
    made = records(tmp_path)
    assert [record.seed for record in made] == [1_000_000, 1_000_001, 1_000_002]
    assert {record.split for record in made} == {"validation"}
    assert {record.study for record in made} == {"grid/drawn/known"}
    assert [record.tuned for record in made] == [{"variance": record.hyper["variance"]} for record in made]
    assert made[0].hyper["variance"] == 1.0  # the grid's own comes first
    frame = tuned.trials()
    assert frame["cell"].tolist() == [record.cell for record in made]
    # by the upper end of log Z's interval
    assert frame["value"].tolist() == [record.scores[0].sys_upper for record in made]


@pytest.mark.parametrize(("better", "value", "loss"), [("lower", 0.9, 0.9), ("higher", 0.7, -0.7)])
def test_a_trial_counts_by_the_worse_end_of_log_z(better: Any, value: float, loss: float) -> None:
    record: Any = SimpleNamespace(
        scores=[ScoreRow.of(Score(Metric("own", "1", better), 0.8, 9, "ais", 0.0, 0.0, 0.7, 0.9, "few chains"))]
    )
    scored = value_of(record, "own")
    assert scored is not None
    assert (scored.value, scored.loss, scored.doubt) == (value, loss, "few chains")
    assert value_of(record, "vlb") is None


@pytest.mark.parametrize(("better", "ends"), [("lower", (0.7, math.inf)), ("higher", (-math.inf, 0.9))])
def test_a_trial_whose_log_z_may_be_anything_has_no_value(better: Any, ends: tuple[float, float]) -> None:
    record: Any = SimpleNamespace(
        scores=[ScoreRow.of(Score(Metric("own", "1", better), 0.8, 9, "ais", 0.0, 0.0, *ends))]
    )
    assert value_of(record, "own") is None


def test_a_trial_without_a_value_is_not_said_to_be_ok() -> None:
    said: list[str] = []
    score = Score(Metric("vlb", "nats"), 0.8, 9, "ais", 0.0, 0.0, 0.7, math.inf)
    record: Any = SimpleNamespace(status="ok", reason="", resources={}, label="x", scores=[ScoreRow.of(score)])
    row = SimpleNamespace(name="drawn x", metric="vlb", study="s")
    study = SimpleNamespace(row=row, tell=lambda *how: None)
    progress: Any = SimpleNamespace(study=study, store=SimpleNamespace(record=lambda *of: record))
    feed = Trials([], Allowance(trials=1), said.append)
    feed._whose["0123"] = progress, 4
    job: Any = SimpleNamespace(cell=SimpleNamespace(id="0123"), key="key")
    feed.ended(job)
    assert said == ["drawn x, trial 4: vlb is not finite"]
    progress.records = lambda: [(None, record), (None, record), (None, None)]
    assert ledgers.ends(progress) == "2 not finite, 1 without a record"


def test_the_same_trials_come_again_and_resuming_adds_those_that_are_missing(tune: Tune, tmp_path: Path) -> None:
    assert len(tune(trials=2).trials()) == 2
    whole = tune(trials=5).trials()
    assert whole["trial"].tolist() == [0, 1, 2, 3, 4]
    assert len(records(tmp_path)) == 5
    assert tune(trials=5).trials().equals(whole)
    assert {record.attempt for record in records(tmp_path)} == {1}
    at_once = tune(trials=5, store=tmp_path / "other").trials()
    assert at_once["values"].tolist() == whole["values"].tolist()
    assert at_once["value"].tolist() == whole["value"].tolist()


def test_the_best_variance_is_found(tune: Tune) -> None:
    ledger = tune(trials=20, jobs=2, pruner="none").ledger().iloc[0]
    spread, best = ledger["chosen"]["variance"] + 0.25, BEST + 0.25
    assert 0.5 * (math.log(spread / best) + best / spread - 1) < 0.02  # nat


def test_diverged_trials_count_and_have_a_record(tune: Tune, tmp_path: Path) -> None:
    ledger = tune(tables({"bound": 1.5}), trials=8).ledger().iloc[0]
    ends = [record.status for record in records(tmp_path)]
    assert ends.count("diverged") == ledger["failed"] > 0
    assert len(ends) == ledger["trials"] == 8
    assert ledger["chosen"]["variance"] <= 1.5


def test_pruned_trials_count_and_their_seconds_do(tune: Tune, tmp_path: Path) -> None:
    tuned = tune(tables({"seconds": 0.3}), trials=12)
    ledger = tuned.ledger().iloc[0]
    ends = [record.status for record in records(tmp_path)]
    assert ends.count("pruned") == ledger["pruned"] > 0
    assert len(ends) == ledger["trials"] == 12
    spent = tuned.trials()["seconds"]
    assert ledger["seconds"] == pytest.approx(spent.sum(), abs=0.1)
    pruned = [record for record in records(tmp_path) if record.status == "pruned"]
    assert all(record.resources["overhead_seconds"] > 0 for record in pruned)
    assert pruned[0].reason.startswith("worse than other trials after ")


def test_hyperband_prunes_as_well(tune: Tune, tmp_path: Path) -> None:
    tune(tables({"seconds": 0.1}, train={"epochs": 9}), trials=10, pruner="hyperband")
    ends = [record.status for record in records(tmp_path)]
    assert len(ends) == 10
    assert {*ends} == {"ok", "pruned"}


def test_every_row_has_the_same_number_of_trials(tune: Tune, tmp_path: Path) -> None:
    grid = tables({"bound": 1e6}, {"bound": 1.5})
    tuned = tune(grid, trials=3)
    assert tuned.trials().groupby("study").size().tolist() == [3, 3]
    assert tuned.grids == [tmp_path / "grid-tuned.toml"]
    # a row after the other, so that an interruption leaves them alike
    assert {record.seed for record in records(tmp_path)} == {1_000_000, 1_000_001, 1_000_002}


def test_rows_with_unequal_trials_give_no_tuned_grid(tune: Tune, tmp_path: Path) -> None:
    grid = tables() | {"strategy": [{"name": "known"}, {"name": "actor", "how": "ok"}]}
    plugins = [Path(__file__).parents[1] / "sweep" / "fakes", Path(__file__).with_name("fakes")]
    grid["tune"] = {"actor": {"seconds": {"low": 0.0, "high": 0.01}}}
    tune(grid, trials=2, plugins=plugins)
    (tmp_path / "grid-tuned.toml").unlink()
    tuned = tune(grid, trials=3, strategies=["known"], plugins=plugins)
    assert tuned.grids == []
    assert tuned.notes == [
        "rows have not had the same, so that there is no tuned grid (3 trials: drawn known; 2 trials: drawn actor);"
        " give all of them the most"
    ]
    assert tune(grid, trials=3, plugins=plugins).grids


def test_rows_with_the_same_seconds_stop_when_these_are_spent(tune: Tune, tmp_path: Path) -> None:
    grid = tables({"seconds": 0.2, "bound": 1e6}, {"seconds": 0.8, "bound": 2e6})
    tuned = tune(grid, budget="5s", jobs=2, pruner="none")
    frame = tuned.trials()
    spent = frame.groupby("study")["seconds"].sum()
    # running trials are looked at every .2 s, and what studies have spent every second
    assert all(5 <= seconds < 8 for seconds in spent)
    counts = frame.groupby("study").size().tolist()
    assert counts[0] > counts[1]
    assert {record.reason for record in records(tmp_path) if record.status == "pruned"} <= {
        "the 5 s of its study are spent"
    }
    again = tune(grid, budget=5, jobs=2, pruner="none")
    assert len(again.trials()) == len(frame)
    assert again.grids


def test_what_cannot_be_trusted_is_not_chosen(tune: Tune) -> None:
    ledger = tune(tables({"doubt": 0.9}), trials=8, pruner="none").ledger().iloc[0]
    assert ledger["chosen"]["variance"] >= 0.9
    assert not ledger["unreliable"]


def test_test_items_change_nothing_in_a_study(tune: Tune, tmp_path: Path) -> None:
    ours = tune(trials=4).trials()
    theirs = tune(tables(data={"test": 7.0}), trials=4, store=tmp_path / "other").trials()
    for column in ("value", "values", "status"):
        assert ours[column].tolist() == theirs[column].tolist()
    assert ours["cell"].tolist() != theirs["cell"].tolist()


def test_pictures_of_digits_change_nothing_either(tune: Tune, tmp_path: Path) -> None:
    """With a real model: its test images are turned upside down."""
    import numpy as np
    from sklearn.datasets import load_digits

    import bench

    x = load_digits().images[:200].astype(np.uint8)
    quick = {"set": {"train.epochs": 1, "train.batch_size": 50, "networks.latent": 2}, "strategies": ["normal"]}
    values = []
    for number, test in enumerate((x[150:], x[150:, ::-1])):
        data = bench.dataset(
            "arrays", train=x[:150], test=np.ascontiguousarray(test), likelihood="bernoulli", validation=50
        )
        tuned = tune("digits", trials=2, datasets=[data], store=tmp_path / str(number), **quick)
        values.append(tuned.trials()["value"].tolist())
    assert values[0] == values[1]
    assert all(math.isfinite(value) for value in values[0])
    made = Store(tmp_path / "0").records()
    assert {score.metric for record in made for score in record.scores} == {
        "vlb",
        "kl",
        "reconstruction",
        "log_z_check",
    }


def test_the_ledger_says_what_was_searched_and_on_which_records_it_rests(tune: Tune, tmp_path: Path) -> None:
    ledger = tune(trials=3).ledger().iloc[0]
    assert ledger["space"] == {"variance": {"low": 0.01, "high": 100.0, "log": True}}
    assert ledger["defaults"] == {"variance": 1.0}
    places = [tmp_path / "runs/grid-trials/cells" / record.replace("/", "/record-") for record in ledger["records"]]
    made = [json.loads(place.with_name(f"{place.name}.json").read_text()) for place in places]
    assert [record["seed"] for record in made] == [1_000_000, 1_000_001, 1_000_002]


def test_the_search_leaves_what_cannot_be_trusted(tune: Tune) -> None:
    """Scores below a variance of .9 are 100 nats too good; at random half of all trials would be there."""
    tuned = tune(tables({"doubt": 0.9}), trials=24, pruner="none")
    tried = [json.loads(values)["variance"] for values in tuned.trials()["values"]]
    assert sum(variance < 0.9 for variance in tried[12:]) <= 4


def test_trials_are_compared_by_what_training_calls_the_validation_bound() -> None:
    from bench.training import stability
    from bench.tuning import trials

    assert trials.COMPARED == stability.COMPARED


@pytest.mark.parametrize(("metric", "ends"), [("vlb", True), ("nll_ais", True), ("recall", False), ("share", False)])
def test_no_trial_is_ended_by_a_bound_that_says_nothing_of_the_metric(metric: str, ends: bool) -> None:
    feed = Trials([], Allowance(trials=1), lambda sentence: None)
    study: Any = SimpleNamespace(row=SimpleNamespace(metric=metric), report=lambda *figures: True)
    job: Any = SimpleNamespace(cell=SimpleNamespace(id="0123"))
    progress: Any = SimpleNamespace(study=study)
    feed._whose["0123"] = progress, 0
    feed.hear(job, Figures("fit", 1, 2, {"epoch": 1.0, COMPARED[0]: 99.0}))
    assert bool(feed._cut) == ends


def test_less_time_than_a_row_was_allowed_is_said_to_add_nothing(tune: Tune) -> None:
    tune(tables({"seconds": 0.2}), budget=1)
    fewer = tune(tables({"seconds": 0.2}), budget="0.5s")
    assert fewer.notes == ["1 s already, more than 0.5 s, so that nothing is added: drawn known"]
    assert fewer.grids


def test_a_study_of_other_data_does_not_go_on(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trials were chosen by values that those of the new data cannot be compared with."""
    tune(tables(), trials=1)
    drawn: Any = Registry([FAKES]).find("dataset", "drawn").load()
    load = drawn.load
    monkeypatch.setattr(drawn, "load", lambda self, folder: replace(load(self, folder), sha256="6" * 64))
    what = "^drawn known, trial 0, was trained on"
    other = r"other data \(SHA-256 [0-9a-f]{8}\.\.\. instead of 66666666\.\.\.\)"
    with pytest.raises(UserError, match=rf"{what} {other}; another run store begins anew$"):
        tune(tables(), trials=2)
