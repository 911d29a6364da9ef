"""The tuned grid, and what the report says of it."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bench
import bench.grid as grids
from bench import contracts
from bench.plugins import Registry
from bench.protocol import UserError
from bench.report import Records, report
from bench.sweep.store import Store
from bench.tuning import ledgers, rows
from bench.tuning.ledgers import ranked
from tests.tuning.conftest import FAKES, Tune, tables


def carried_out(tuned: Path, tmp_path: Path) -> Any:
    """Carry out a tuned grid, and return the results."""
    return bench.run(tuned, jobs=1, progress=False, plugins=[FAKES], data_dir=tmp_path)


def test_the_tuned_grid_holds_what_was_chosen_and_what_was_before(tune: Tune, tmp_path: Path) -> None:
    tuned = tune(tables({"bound": 1e5}, headline={"metric": "vlb", "same_within": {"drawn": 0.1}}), trials=8)
    (path,) = tuned.grids
    grid = grids.load(str(path), Registry([FAKES]))
    ledger = tuned.ledger().iloc[0]
    assert [(cell.label, cell.seed) for cell in grid.cells] == [
        *(("known[tuned]", seed) for seed in (0, 1)),
        *(("known", seed) for seed in (0, 1)),
    ]
    chosen, _, before, _ = grid.cells
    assert chosen.hyper == before.hyper | ledger["chosen"]
    assert before.hyper["variance"] == 1.0
    assert (chosen.study, before.study) == ("grid/drawn/known", "")
    assert chosen.ledger is not None
    assert chosen.ledger.model_dump() == ledger.to_dict()
    assert chosen.evaluation.split == "test"
    assert (grid.headline.metric, grid.headline.same_within) == ("vlb", {"drawn": 0.1})


def test_the_tuned_grid_trains_and_scores_as_the_grid_does(tune: Tune) -> None:
    own = tables(
        networks={"latent": 3},
        train={"epochs": 2, "batch_size": 2, "clip": 1.0},
        evaluate={"importance_samples": 7, "ais": {"chains": 11}},
    )
    (path,) = tune(own, trials=1).grids
    before = grids.expand(own, Registry([FAKES]), name="grid", where="grid").cells[0]
    for cell in grids.load(str(path), Registry([FAKES])).cells:
        assert cell.evaluation == before.evaluation
        assert (cell.budget, cell.networks, cell.options) == (before.budget, before.networks, before.options)


def test_of_trials_that_are_as_good_the_first_is_chosen_and_what_cannot_be_trusted_comes_last() -> None:
    def trial(number: int, loss: float, doubt: str = "", status: str = "ok") -> tuple[Any, Any]:
        score = SimpleNamespace(
            metric="vlb", better="lower", value=loss, sys_lower=loss - 1, sys_upper=loss, unreliable=doubt
        )
        return SimpleNamespace(number=number), SimpleNamespace(status=status, scores=[score])

    records = [
        *(trial(0, 3.0), trial(1, 2.0), trial(2, 2.0), trial(3, 1.0, "few chains")),
        *(trial(4, 0.0, status="pruned"), trial(5, math.nan), (SimpleNamespace(number=6), None)),
    ]
    progress: Any = SimpleNamespace(
        study=SimpleNamespace(row=SimpleNamespace(metric="vlb")), records=lambda: records[::-1]
    )
    assert [(trial.number, scored.value, scored.doubt) for trial, scored in ranked(progress)] == [
        (1, 2.0, ""),
        (2, 2.0, ""),
        (0, 3.0, ""),
        (3, 1.0, "few chains"),
    ]


def test_the_report_shows_what_tuning_cost_and_gained(tune: Tune, tmp_path: Path) -> None:
    (path,) = tune(tables(data={"test": 1.5}, headline={"metric": "vlb"}), trials=8).grids
    results = carried_out(path, tmp_path)
    before, after = (results.table().set_index("strategy")["mean"][label] for label in ("known", "known[tuned]"))
    grid = grids.load(str(path), Registry([FAKES]))
    text = " ".join(
        report(Records(grid, [tmp_path / "runs" / "grid-tuned"], Registry([FAKES])), tmp_path / "out").split()
    )
    assert "Tuning took 8 trials a row" in text
    assert "Chosen by VLB on the validation split" in text
    assert f"{after - before:+.2f}" in text
    assert (tmp_path / "out" / "table.md").read_text().count("by VLB on the validation split") == 1
    with (tmp_path / "out" / "table.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["row"] == "known[tuned]"]
    assert (row["trials"], row["study"]) == ("8", "grid/drawn/known")
    assert float(row["gain"]) == pytest.approx(after - before)
    records = Store(tmp_path / "runs" / "grid-tuned").records()
    assert {record.study for record in records} == {None, "grid/drawn/known"}


def test_a_gain_over_a_score_that_is_unreliable_is_not_counted(tune: Tune, tmp_path: Path) -> None:
    (path,) = tune(tables({"variance": 0.02, "doubt": 0.5}, seeds=3, headline={"metric": "vlb"}), trials=8).grids
    carried_out(path, tmp_path)
    grid = grids.load(str(path), Registry([FAKES]))
    text = " ".join(
        report(Records(grid, [tmp_path / "runs" / "grid-tuned"], Registry([FAKES])), tmp_path / "out").split()
    )
    assert "It is not shown to have improved VLB." in text
    assert "Not counted: known[tuned] (known: unreliable)." in text


def test_a_gain_is_counted_once_every_planned_seed_is_there(tune: Tune, tmp_path: Path) -> None:
    (path,) = tune(tables(data={"test": 1.5}, seeds=3, headline={"metric": "vlb"}), trials=8).grids
    carried_out(path, tmp_path)
    folder = tmp_path / "runs" / "grid-tuned"
    last = next(record for record in Store(folder).records() if record.study and record.seed == 1)
    shutil.rmtree(folder / "cells" / last.cell)
    grid = grids.load(str(path), Registry([FAKES]))
    text = " ".join(report(Records(grid, [folder], Registry([FAKES])), tmp_path / "out").split())
    assert "Not counted: known[tuned] (preliminary, 2 of 3 seeds)." in text


def test_rows_whose_own_values_were_the_best_come_once(tune: Tune, tmp_path: Path) -> None:
    (path,) = tune(tables({"variance": 1.75}, headline={"metric": "vlb"}), trials=2).grids
    grid = grids.load(str(path), Registry([FAKES]))
    assert {cell.label for cell in grid.cells} == {"known[tuned]"}
    carried_out(path, tmp_path)
    text = " ".join(
        report(Records(grid, [tmp_path / "runs" / "grid-tuned"], Registry([FAKES])), tmp_path / "out").split()
    )
    assert "kept as it was" in text


def test_a_row_without_a_value_stays_as_it_was(tune: Tune) -> None:
    tuned = tune(tables({"bound": 1e5}, {"bound": 1e-3}), trials=2)
    assert tuned.notes == [
        "no trial came to a value of vlb: drawn known[bound=0.001] (2 diverged);"
        " the tuned grid has these rows as they were"
    ]
    cells = [cell for cell in grids.load(str(tuned.grids[0]), Registry([FAKES])).cells if not cell.seed]
    assert [cell.hyper["bound"] for cell in cells if cell.ledger] == [1e5]
    assert cells[-1].hyper["bound"] == 1e-3
    assert not cells[-1].study


def test_a_record_is_of_the_row_that_the_plan_has_now(tune: Tune, tmp_path: Path) -> None:
    """The same model was what a study chose, and is what the grid had before once a longer study chooses another."""
    own = {"variance": 1.5}
    (path,) = tune(tables(own, headline={"metric": "vlb"}), trials=1).grids
    carried_out(path, tmp_path)
    tune(tables(own, headline={"metric": "vlb"}), trials=20, pruner="none")
    table = carried_out(path, tmp_path).table()
    assert table["strategy"].tolist() == ["known[tuned]", "known"]
    assert table["seeds"].tolist() == [2, 2]


def test_every_data_set_has_a_tuned_grid_of_its_own(tune: Tune, tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    shutil.copytree(FAKES, plugins)
    shutil.copy(plugins / "datasets" / "drawn.py", plugins / "datasets" / "again.py")
    text = (plugins / "datasets" / "again.py").read_text().replace("class Drawn", "class Again")
    (plugins / "datasets" / "again.py").write_text(text)
    grid = tables() | {"dataset": [{"name": "drawn"}, {"name": "again", "test": 3.0}]}
    tuned = tune(grid, trials=2, plugins=[plugins])
    assert [path.name for path in tuned.grids] == ["grid-drawn-tuned.toml", "grid-again-tuned.toml"]
    cells = grids.load(str(tuned.grids[1]), Registry([plugins])).cells
    assert {(cell.dataset, cell.options["test"]) for cell in cells} == {("again", 3.0)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"study": ""}, "strategy.known.tuned.study"),
        ({"trials": 0}, "strategy.known.tuned.trials = 0 is not allowed; it must be an integer, at least 1"),
        ({"trails": 3}, 'unknown key strategy.known.tuned.trails; did you mean "trials"?'),
    ],
)
def test_a_ledger_is_validated(change: dict[str, Any], sentence: str) -> None:
    ledger = {"study": "s", "trials": 1, "seconds": 1.0, "metric": "vlb", "best": 0, "value": 1.0}
    ledger |= {"chosen": {}, "defaults": {}, "space": {}, **change}
    with pytest.raises(UserError) as error:
        grids.expand(tables({"tuned": ledger}), Registry([FAKES]), name="g", where="g.toml")
    assert sentence in str(error.value)


def test_a_strategy_may_change_the_grids_tables_for_its_own_row() -> None:
    grid = tables({}, {"train": {"optimiser": {"lr": 0.1}}, "networks": {"latent": 3}})
    plain, changed = [
        cell for cell in grids.expand(grid, Registry([FAKES]), name="g", where="g").cells if not cell.seed
    ]
    assert (plain.budget.optimiser.lr, plain.networks["latent"]) == (1e-3, 2)
    assert (changed.budget.optimiser.lr, changed.networks["latent"]) == (0.1, 3)
    assert changed.budget.epochs == plain.budget.epochs
    assert changed.label == "known[networks.latent=3,train.optimiser.lr=0.1]"


def test_two_rows_of_one_model_are_refused() -> None:
    grid = tables({}, {"train": {"epochs": 1}})
    with pytest.raises(UserError, match=r"known and known\[.*\] are the same model; remove one"):
        grids.expand(grid, Registry([FAKES]), name="g", where="g.toml")


def test_a_network_and_an_energy_in_files_are_named_by_these(tmp_path: Path) -> None:
    network, energy = contracts.write("network", "my-net", tmp_path), contracts.write("energy", "my-en", tmp_path)
    grid = tables({}, data={"validation": 8}) | {
        "networks": {"latent": 2, "encoder": {"kind": str(network)}},
        "strategy": [{"name": "sliced-score-matching", "energy": {"kind": str(energy)}}],
    }
    registry = Registry([FAKES])
    loaded = grids.load(grid, registry)
    (row,) = rows.of(loaded, "vlb", registry)
    progress: Any = SimpleNamespace(study=SimpleNamespace(row=row))
    (path,) = ledgers.write(loaded, [(progress, None)], tmp_path)
    again = grids.load(str(path), Registry([FAKES]))  # which knows neither by name
    assert [cell.id for cell in again.cells] == [cell.id for cell in loaded.cells]
