"""Records as the report sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.report import Records
from bench.report.cells import Setting, outcomes
from bench.report.sources import of_grid
from bench.sweep.columns import canonical
from tests.report.test_selection import chosen

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic


@pytest.mark.parametrize("status", ["ok", "skipped", "crashed"])
def test_outcomes_hold_status_and_seed(mnist: Synthetic, status: str) -> None:
    mnist.put("normal", 2, 95.0 if status == "ok" else None, status=status)
    found = outcomes(of_grid(Records("mnist", [mnist.folder], mnist.registry)).frame)
    assert [(outcome.status, outcome.seed, len(outcome.scores)) for outcome in found] == [
        (status, 2, 2 if status == "ok" else 0)
    ]


def setting(tuned: str, rate: float) -> Setting:
    budget = canonical({"epochs": 3, "optimiser": {"lr": rate}})
    return Setting("d", "{}", "s", canonical({"components": rate}), "{}", budget, "{}", tuned)


def test_tuned_rows_are_compared_to_each_other_whatever_was_tuned() -> None:
    tuned = '["train.optimiser.lr"]'
    assert setting(tuned, 0.1).context == setting(tuned, 0.2).context
    assert setting("", 0.1).context != setting("", 0.2).context
    assert setting("[]", 0.1).context != setting("[]", 0.2).context, "what no study set is a condition"


def test_a_row_that_a_study_tuned_is_not_compared_to_one_that_none_did() -> None:
    assert setting("[]", 0.1).context != setting("", 0.1).context


def test_a_record_of_plugins_as_they_are_stands_before_one_of_bench_as_it_is(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 94.0, code={"fit": "1" * 64})
    mnist.put("normal", 0, 95.0, code={"plugin": "1" * 64})
    assert chosen(mnist)[0] == {"normal seed 0": 94.0}
