"""Cost and stability: every column of a store with records and curves of known values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.report.accounts import accounts
from bench.report.curves import Curves
from bench.report.layout import Layout
from bench.report.terms import glossary
from tests.report.test_findings import SSM, VAMP, Own, fill

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic


def curve(**series: list[float]) -> list[dict[str, Any]]:
    """Return the points of curves, one value an epoch."""
    return [
        {"epoch": epoch, "step": epoch, "metric": name.replace("_bound", " bound"), "value": value}
        for name, values in series.items()
        for epoch, value in enumerate(values, 1)
    ]


def lines(made: Layout) -> dict[str, dict[str, str]]:
    """Return label -> heading -> what stands there."""
    headings = [heading.text for heading in made.headings[1:]]
    return {
        row[0].text + row[0].below: dict(zip(headings, (entry.text for entry in row[1:]), strict=True))
        for row in made.rows
    }


@pytest.fixture
def made(mnist: Synthetic) -> tuple[Layout, ...]:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=nll"])
    seconds = {"fit_seconds": 40.0, "evaluate_seconds": 12.0, "overhead_seconds": 6.0, "peak_host_bytes": 2.5e9}
    own: Own = {
        ("normal", 0): {"curves": curve(validation_bound=[12.0, 11.0, 10.0])},
        (SSM, 0): {
            "curves": curve(
                validation_bound=[12.0, 9.0, 8.0, 7.0], log_z=[1.0, 1.5, -1.0], gradient_max_prior=[2.0, 6.0]
            ),
            "resources": seconds,
            "last_step": 3000,
            "stability": {"energy_gap": -0.7},
        },
        (VAMP, 1): {"status": "diverged", "reason": "a loss is not finite", "last_step": 1234},
        (VAMP, 2): {"status": "diverged", "reason": "a loss is not finite", "last_step": 700},
    }
    fill(judged, own)
    return tuple(accounts(judged.table(), Curves([judged.folder])))


def test_the_cost_of_a_seed_by_clock_speed_memory_and_time_to_the_baselines_bound(made: tuple[Layout, ...]) -> None:
    cost = lines(made[0])
    # of three seeds one took 40 + 12 + 6 s, two 10 + 2 + .5 s: the medians; 3,000 steps of 64 items in 40 s
    assert cost[SSM] == {
        "fit, min": "0.17",
        "scoring, min": "0.033",
        "overhead, min": "<0.01",
        "items/s": "4,800",
        "host, GB": "1.00",
        "to target, min": "0.33",  # after the second of four epochs of 40 s
    }
    assert cost["normal"]["to target, min"] == "0.17", "at its end"
    (entry,) = (row[-1] for row in made[0].rows if row[0].text + row[0].below == SSM)
    assert entry.below == "1 of 3 seeds", "the others have no curves"
    assert "To target:" in made[0].caption
    assert cost[VAMP]["to target, min"] == "-"


@pytest.mark.parametrize(
    ("second", "minutes"),
    [("validation bound with log Z", "1"), ("validation bound", "0.2"), ("validation bound without log Z", "-")],
)
def test_epochs_of_a_second_stage_follow_those_of_the_first(mnist: Synthetic, second: str, minutes: str) -> None:
    """Of 60 s in five epochs; the bound of the first stage is not that of a prior whose log Z it does not know."""
    judged = type(mnist)(mnist.folder, settings=["headline.metric=nll"])
    stages = [("validation bound", 0, 9.5), ("validation bound", 1, 9.0), ("validation bound", 2, 8.5)]
    stages += [(second, 3, 10.5), (second, 4, 9.5)]
    points = [{"epoch": epoch, "step": 10 * epoch, "metric": name, "value": value} for name, epoch, value in stages]
    own: Own = {
        (SSM, seed): {"curves": points, "resources": {"fit_seconds": 60.0, "evaluate_seconds": 2.0}}
        for seed in range(3)
    }
    fill(judged, own | {("normal", 0): {"curves": curve(validation_bound=[12.0, 10.0])}})
    cost = lines(accounts(judged.table(), Curves([judged.folder]))[0])
    assert cost[SSM]["to target, min"] == minutes


def test_what_is_fitted_in_a_single_step_has_no_speed(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, last_step=1)
    assert "items/s" not in {heading.text for heading in accounts(mnist.table(), Curves([mnist.folder]))[0].headings}


def test_stability_is_of_the_worst_seed(made: tuple[Layout, ...]) -> None:
    stability = lines(made[1])
    assert stability[SSM] == {
        "seeds": "3/3",
        "restarts": "0",
        "first bad step": "-",
        "gradient jump": "3x",
        "log Z jump": "2.50",
        "spread, nats": "0.01",
        "prior lag": "0.70",
    }
    assert stability[VAMP]["first bad step"] == "700"
    failed = next(row for row in made[1].rows if row[0].below and "16" in row[0].below)
    assert (failed[1].text, failed[1].below) == ("1/3", "2 diverged")


def test_the_first_bad_step_is_of_seeds_that_diverged(mnist: Synthetic) -> None:
    mnist.put("normal", 0, status="diverged", last_step=700)
    mnist.put("normal", 1, status="crashed", last_step=3)
    (stability,) = accounts(mnist.table(), Curves([mnist.folder]))
    assert lines(stability)["normal"]["first bad step"] == "700"


def test_without_a_record_there_is_nothing_to_account_for(mnist: Synthetic) -> None:
    assert accounts(mnist.table(), Curves()) == []


def test_captions_and_terms_speak_of_columns_that_are_shown(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    table = mnist.table()
    cost, stability = accounts(table, Curves([mnist.folder]))
    assert "To target" not in cost.caption
    shown = {heading.text for part in (cost, stability) for heading in part.headings}
    explained = {term for term, _ in glossary([table], ["vlb"], wide=True)}
    assert {"first bad step", "prior lag", "R-hat"}.isdisjoint(shown | explained)
    assert stability.caption == "Seeds: finished of planned, and how the others ended."


def test_the_target_is_that_of_a_rows_own_baseline(mnist: Synthetic) -> None:
    swept = type(mnist)(mnist.folder, settings=["headline.metric=vlb", "train.epochs=[3, 100]"], seeds=1)
    for label, bounds in {
        "normal[train.epochs=3]": [12.0, 11.0],
        "normal[train.epochs=100]": [12.0, 9.0],
        "sliced-score-matching[train.epochs=3]": [11.5, 10.5],
    }.items():
        swept.put(label, 0, 95.0, curves=curve(validation_bound=bounds))
    cost = lines(accounts(swept.table(), Curves([swept.folder]))[0])
    assert cost["normal[train.epochs=3]"]["to target, min"] == "0.17", "both of its epochs, of 10 s"
    assert cost["sliced-score-matching[train.epochs=3]"]["to target, min"] == "0.17"
