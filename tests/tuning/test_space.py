"""What is searched: what fields declare, or a table of the grid; and what is refused, in one sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import bench.grid as grids
from bench.plugins import Registry
from bench.protocol import UserError
from bench.sweep.requests import Request
from bench.tuning import rows
from bench.tuning.orders import Tuning, allowance_of, seconds_of
from bench.tuning.rows import Row
from bench.tuning.show import text
from tests.tuning.conftest import FAKES, Tune, tables

SWEEPS = Path(__file__).parents[1] / "sweep" / "fakes"


def rows_of(*names: str, **changes: Any) -> dict[str, Row]:
    """Return the rows of the grid of digits by label."""
    settings = {"dataset.digits.validation": 300} | {key.replace("__", "."): value for key, value in changes.items()}
    grid = grids.load("digits-full", Registry(), settings=settings, strategies=names)
    return {row.cell.label: row for row in rows.of(grid, "vlb", Registry())}


def test_every_strategy_tunes_the_learning_rate_of_its_vae_and_what_its_fields_declare() -> None:
    spaces = {label: [chosen.key for chosen in row.ranges] for label, row in rows_of().items()}
    assert spaces["normal"] == ["train.optimiser.lr"]
    assert spaces["vampprior"] == ["train.optimiser.lr", "components"]
    assert spaces["adversarial"] == ["train.optimiser.lr", "lr", "adversary_lr"]
    assert spaces["stein"] == ["train.optimiser.lr", "lr", "penalty", "critic_lr"]
    assert all("train.optimiser.lr" in space for space in spaces.values())
    assert not any(key.startswith("networks.") for space in spaces.values() for key in space)


def test_rows_of_one_strategy_are_tuned_each() -> None:
    assert len([label for label in rows_of() if label.startswith("sliced-score-matching[variant=")]) == 3


def test_a_table_stands_in_place_of_what_fields_declare_and_reaches_networks_where_asked() -> None:
    table = {
        "networks.latent": {"choices": [8, 16]},
        "networks.encoder.hidden": {"choices": [[64], [128, 128]]},
        "energy.hidden": {"low": 4, "high": 16, "log": True},
    }
    (row,) = rows_of("tilted", tune__tilted=table).values()
    assert [chosen.key for chosen in row.ranges] == ["train.optimiser.lr", *table]
    cell = row.trial(3, {"networks.latent": 8, "energy.hidden": 5, "networks.encoder.hidden": [64]}, Registry())
    assert (cell.networks["latent"], cell.networks["encoder"]["hidden"], cell.hyper["energy"]["hidden"]) == (8, [64], 5)
    assert cell.seed == 1_000_003
    assert row.ranges[-1].whole
    (row,) = rows_of("normal", tune__normal={"train.optimiser.lr": {"low": 1e-3, "high": 2e-3}}).values()
    assert [chosen.plain for chosen in row.ranges] == [{"low": 1e-3, "high": 2e-3}]


def test_a_trial_is_scored_by_the_bound_alone_unless_another_metric_is_asked_for() -> None:
    grid = grids.load("digits-full", Registry(), settings={"dataset.digits.validation": 300}, strategies=["normal"])
    for metric, alone in (("vlb", True), ("nll_ais", False)):
        (row,) = rows.of(grid, metric, Registry())
        evaluation = row.trial(0, {}, Registry()).evaluation
        assert (evaluation.split, evaluation.bound_alone) == ("validation", alone)


def test_the_grids_own_values_are_those_of_the_cells_of_a_comparison() -> None:
    (row,) = rows_of("adversarial").values()
    cell = row.trial(0, row.defaults, Registry())
    assert cell.request | {"seed": 0} == row.cell.request | {"seed": 0}


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"varance": {"low": 1, "high": 2}}, 'the grid: tune.known: unknown key varance; did you mean "variance"?'),
        ({"variance": {"low": 1.0}}, "tune.known.variance needs low and high, or choices"),
        ({"variance": {"low": 2, "high": 1}}, "tune.known.variance: low = 2 is not below high = 1"),
        ({"variance": {"low": 0, "high": 1, "log": True}}, "low = 0 has no logarithm; it must be above 0, or without"),
        ({"variance": {"low": 1, "high": 1e5}}, "reaches a value that is refused: strategy.known.variance = 100000.0"),
        ({"variance": {"choices": [1.0, -1.0]}}, "reaches a value that is refused: strategy.known.variance = -1.0"),
        ({"variance": {"choices": [1.0]}}, "tune.known.variance.choices = [1.0] is not allowed; it must be a list"),
        (
            {"variance": {"low": 1, "choices": [1, 2]}},
            "choices stand in place of low, high and log; remove",
        ),
        ({"variance": {"low": 1, "hihg": 2}}, 'unknown key tune.known.variance.hihg; did you mean "high"?'),
        ({"networks.latent": {"low": 1.5, "high": 3}}, "low and high must be integers, as its values are"),
        (
            {"train.batch_size": {"low": 16, "high": 128}},
            "tune.known.train.batch_size reaches a value that is refused: data set drawn: ",
        ),
        ({"variance": 3}, "tune.known.variance = 3 is not allowed; it must be a table"),
        (3, "tune.known = 3 is not allowed; write a table of keys, each with low and high, or choices"),
    ],
)
def test_a_wrong_table_is_one_sentence(table: Any, sentence: str) -> None:
    grid = grids.load(tables(tune={"known": table}), Registry([FAKES]))
    with pytest.raises(UserError) as error:
        rows.of(grid, "vlb", Registry([FAKES]))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tune": {"knwon": {}}}, 'the grid: [tune.knwon] is of no strategy; did you mean "known"?'),
        ({"tune": 3}, "the grid: tune = 3 is not allowed; write [tune.STRATEGY] tables"),
        ({"train": {"epochs": [1, 2]}}, "the grid: train is swept, and must be one for all that is tuned"),
        ({"networks": {"latent": [2, 3]}}, "the grid: networks is swept, and must be one for all that is tuned"),
        ({"dataset": [{"name": "drawn", "validation": [4, 8]}]}, "dataset.drawn is swept; choose one value for tuning"),
        ({"dataset": [{"name": "drawn", "validation": 0}]}, 'evaluate.split = "validation" needs 2 or more'),
        ({"seeds": [0, 1_000_000]}, "seeds = 1000000 is a trial's; those of a comparison must be below 1,000,000"),
        (
            {"strategy": [{"name": "known", "variance": [1.0, 2.0]}]},
            "drawn known[variance=1.0] and drawn known[variance=2.0] differ in variance alone, which is tuned",
        ),
        (
            {"strategy": [{"name": "actor"}]},
            "strategy.actor has no field that can be tuned; a table [tune.actor] names some",
        ),
    ],
)
def test_a_grid_that_cannot_be_tuned_is_one_sentence(change: dict[str, Any], sentence: str, tune: Tune) -> None:
    with pytest.raises(UserError) as error:
        tune(tables() | change, trials=1, plugins=[FAKES, SWEEPS])
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_tuned_grid_is_not_tuned_again(tune: Tune) -> None:
    (path,) = tune(trials=2).grids
    with pytest.raises(UserError, match=r"known\[tuned\] comes from a study; tune the grid that it was made from"):
        tune(path, trials=2)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({}, "say trials=20 or budget='2h', one of them, not neither"),
        ({"trials": 1, "budget": "1h"}, "one of them, not both"),
        ({"trials": 0}, "trials=0 is not allowed; it must be a whole number, at least 1"),
        ({"budget": "9" * 400 + "h"}, " is no time; write 2h, 90m, 1h30m or 45s"),
        ({"budget": "soon"}, "budget='soon' is no time; write 2h, 90m, 1h30m or 45s"),
        ({"budget": -1.0}, "budget=-1.0 is not allowed; it must be seconds, above 0"),
        ({"trials": 1, "pruner": "meidan"}, "pruner='meidan' is unknown; allowed: median, hyperband, none"),
        ({"trials": 1, "metric": "vbl"}, 'no score "vbl" to be chosen by; did you mean "vlb"? it has vlb'),
        (
            {"trials": 1, "storage": "sqlite:////nowhere/at/all.db"},
            "the storage of studies sqlite:////nowhere/at/all.db",
        ),
        ({"trials": 1, "storage": "redis://h"}, "the storage of studies redis://h cannot be reached: "),
        ({"trials": 1, "storage": "nonsense"}, "the storage of studies nonsense cannot be reached: "),
    ],
)
def test_a_wrong_argument_is_one_sentence(how: dict[str, Any], sentence: str, tune: Tune) -> None:
    with pytest.raises(UserError) as error:
        tune(**how)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_another_search_space_or_other_settings_need_another_study(tune: Tune, tmp_path: Path) -> None:
    tune(trials=1)
    narrow = tables(tune={"known": {"variance": {"low": 0.5, "high": 2.0}}})
    with pytest.raises(UserError, match=r"with another search space \(variance.high: 100.0 instead of 2.0") as error:
        tune(narrow, trials=2)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"was made with other settings \(budget.epochs: 1 instead of 2\)"):
        tune(tables(train={"epochs": 2}), trials=2)
    tune(narrow, trials=2, store=tmp_path / "another")


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate.vlb_samples": 3},
        {"evaluate.ais.chains": 50},
        {"train.epochs": 3},
        {"networks.latent": 3},
        {"dataset.digits.validation": 200},
    ],
)
def test_a_study_is_of_one_way_of_scoring_budget_networks_and_data(changes: dict[str, Any]) -> None:
    before, now = rows_of("normal")["normal"].context, rows_of("normal", **changes)["normal"].context
    assert [part for part, said in now.items() if said != before[part]] == ["settings"]


def test_a_study_whose_strategy_has_changed_is_not_added_to(tune: Tune, tmp_path: Path) -> None:
    import shutil

    plugins = tmp_path / "plugins"
    shutil.copytree(FAKES, plugins)
    tune(trials=1, plugins=[plugins])
    file = plugins / "strategies" / "known.py"
    file.write_text(f"{file.read_text()}\nCHANGED = True\n")
    with pytest.raises(UserError, match="was made with other code of bench or of its plugins; a new one needs another"):
        tune(trials=2, plugins=[plugins])
    request = Request(tables(), plugins=[plugins], store=tmp_path / "runs" / "grid-trials")
    assert "drawn known: 1 of 1 trials ended" in text(Tuning(request).studies)  # it can be read


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400), ("2 h 5 min", 7500)],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_no_trial_with_a_value_is_said(tune: Tune) -> None:
    with pytest.raises(UserError, match=r"no trial came to a value of vlb: drawn known \(2 skipped\); widen what"):
        tune(tables({"end": "skip"}), trials=2)
    assert allowance_of(3, None, str).trials == 3


def test_no_refusal_names_an_option_of_the_command_line() -> None:
    """Whoever tunes from Python reads the same sentences."""
    for file in (Path(__file__).resolve().parents[2] / "bench" / "tuning").glob("*.py"):
        assert not re.findall(r"(?:another|with|give|choose) --[a-z]+", file.read_text()), file
