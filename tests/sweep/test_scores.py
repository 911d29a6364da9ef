"""What a strategy's scores have to be, where they are recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.protocol import Metric, Score, Scores
from bench.sweep.scores import ScoreError, recorded

SCORE = Score(Metric("vlb", "nats"), 95.0, 9, "monte-carlo", 0.3, 0.4, 94.5, 95.5)


@pytest.mark.parametrize("field", ["stderr_mc", "stderr_images"])
def test_no_standard_error_is_below_0(field: str) -> None:
    changes: dict[str, Any] = {field: -0.1}
    with pytest.raises(ScoreError, match=rf"^the score of 'vlb' is wrong: {field} = -0.1 is below 0, and a standard"):
        recorded(Scores([replace(SCORE, **changes)]))


@pytest.mark.parametrize("changes", [{"sys_lower": 95.1}, {"sys_upper": 94.9}])
def test_a_value_lies_within_its_interval(changes: dict[str, Any]) -> None:
    with pytest.raises(ScoreError, match=r"^the score of 'vlb' is wrong: its value 95 lies outside of its interval"):
        recorded(Scores([replace(SCORE, **changes)]))


def test_an_end_that_rounding_puts_beside_the_value_is_let_pass() -> None:
    (row,) = recorded(Scores([replace(SCORE, sys_lower=95.0 + 1e-8, sys_upper=95.0 + 2e-8)]))
    assert (row.value, row.stderr) == (95.0, 0.5)
