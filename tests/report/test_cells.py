"""Records as the report sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.report import Records
from bench.report.cells import outcomes
from bench.report.sources import of_grid

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic


@pytest.mark.parametrize("status", ["ok", "skipped", "crashed"])
def test_outcomes_hold_status_and_seed(mnist: Synthetic, status: str) -> None:
    mnist.put("normal", 2, 95.0 if status == "ok" else None, status=status)
    found = outcomes(of_grid(Records("mnist", [mnist.folder], mnist.registry)).frame)
    assert [(outcome.status, outcome.seed, len(outcome.scores)) for outcome in found] == [
        (status, 2, 2 if status == "ok" else 0)
    ]
