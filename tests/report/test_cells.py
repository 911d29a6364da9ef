"""Which record stands for a cell, and what may not stand in the same table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.protocol import Ais, Evaluation
from bench.report.cells import Outcome, Plan, outcomes, select
from bench.report.sources import of_grid
from bench.sweep.record import json_bytes, sealed

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic


def chosen(store: Synthetic) -> tuple[dict[str, float], list[str]]:
    """Return `label seed` -> the VLB of the record that stands for it, and the notes."""
    source = of_grid("mnist", [store.folder], store.registry)
    found, notes = select(outcomes(source.frame), source.plan, source.evaluation)
    return {outcome.name: _vlb(outcome) for outcome in found.values()}, notes


def _vlb(outcome: Outcome) -> float:
    return outcome.by_metric["vlb"].value if outcome.scores else float("inf")


def test_the_latest_record_stands_for_its_cell(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 96.0, code={"fit": "1" * 64})
    mnist.put("normal", 0, 95.0, code={"fit": "2" * 64})
    assert chosen(mnist) == ({"normal seed 0": 95.0}, [])


def test_a_record_of_the_code_as_it_is_comes_before_later_ones_of_other_code(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 94.0)
    mnist.put("normal", 0, 95.0, code={"fit": "1" * 64})
    mnist.put("normal", 0, 96.0, code={"plugin": "1" * 64})
    assert chosen(mnist)[0] == {"normal seed 0": 94.0}


def test_a_later_failure_stands_for_its_cell(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 96.0, code={"fit": "1" * 64})
    mnist.put("normal", 0, status="diverged")
    assert chosen(mnist)[0] == {"normal seed 0": float("inf")}


def test_records_scored_with_other_settings_are_refused_into_a_note(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    other = Evaluation(importance_samples=100, ais=Ais(temperatures=10_000, chains=500, repeats=5), images=200)
    mnist.put("normal", 1, 94.0, evaluation=other)
    found, notes = chosen(mnist)
    assert found == {"normal seed 0": 95.0}
    assert notes == [
        "left out: normal seed 1, scored with images 200 instead of not set, importance_samples 100 instead of 1000"
    ]


def test_a_cell_that_was_also_scored_as_it_should_is_not_noted(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("normal", 0, 94.0, evaluation=Evaluation(importance_samples=100))
    assert chosen(mnist) == ({"normal seed 0": 95.0}, [])


def test_records_on_other_data_are_refused_into_a_note(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 94.0, sha256="a" * 64)
    mnist.put("normal", 1, 95.0)
    found, notes = chosen(mnist)
    assert found == {"normal seed 1": 95.0}
    assert notes == ["left out: normal seed 0, made from other data (SHA-256 aaaaaaaa... instead of dddddddd...)"]


def test_cells_of_another_budget_are_refused_into_a_note(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("normal", 1, 95.0)
    short = type(mnist)(mnist.folder, settings=["train.epochs=3"])
    short.put("normal", 0, 99.0)
    found, notes = chosen(short)
    assert found == {"normal seed 0": 99.0}
    assert notes == ["left out: 2 cells trained with another budget, other networks or data options than this grid's"]


def test_cells_of_an_earlier_run_under_the_same_conditions_stay(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("vampprior[components=16]", 2, 94.0)
    narrowed = type(mnist)(mnist.folder, strategies=["normal"], seeds=1)
    assert chosen(narrowed) == ({"normal seed 0": 95.0, "vampprior[components=16] seed 2": 94.0}, [])


def test_without_a_plan_the_latest_record_says_how_all_are_scored(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, evaluation=Evaluation(importance_samples=10))
    mnist.put("normal", 1, 94.0)
    frame = of_grid("mnist", [mnist.folder], mnist.registry).frame
    found, notes = select(outcomes(frame), Plan())
    assert [outcome.seed for outcome in found.values()] == [1]
    assert len(notes) == 1


def test_settings_that_came_later_have_their_default_in_earlier_records(mnist: Synthetic) -> None:
    cell = mnist.cell("normal", 0)
    evaluation = cell.evaluation.model_dump(mode="json")
    del evaluation["seed"]
    budget = cell.budget.model_dump(mode="json")
    del budget["batch_size"]
    mnist.put("normal", 0, 95.0)
    path = next(Path(mnist.folder).glob("cells/*/record-*.json"))
    record = json.loads(path.read_text()) | {"evaluation": evaluation, "budget": budget}
    del record["sha256"]
    path.write_bytes(sealed(json_bytes(record)))
    assert chosen(mnist) == ({"normal seed 0": 95.0}, [])


def test_nothing_is_chosen_from_nothing() -> None:
    assert select([], Plan()) == ({}, [])


@pytest.mark.parametrize("status", ["ok", "skipped", "crashed"])
def test_outcomes_hold_status_and_seed(mnist: Synthetic, status: str) -> None:
    mnist.put("normal", 2, 95.0 if status == "ok" else None, status=status)
    found = outcomes(of_grid("mnist", [mnist.folder], mnist.registry).frame)
    assert [(outcome.status, outcome.seed, len(outcome.scores)) for outcome in found] == [
        (status, 2, 2 if status == "ok" else 0)
    ]
