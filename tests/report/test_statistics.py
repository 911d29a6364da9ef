"""Intervals: against scipy, against hand-computed cases, and by how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.report.statistics import Interval, Value, over_seeds, paired


def exact(value: float) -> Value:
    """A score without any error of its own."""
    return Value(value, value, value, 0.0)


def test_two_seeds_by_hand() -> None:
    # sd = sqrt(2), so that t * sd / sqrt(n) = t = 12.706 at one degree of freedom
    interval = over_seeds([exact(1.0), exact(3.0)])
    assert interval is not None
    assert interval.mean == 2.0
    assert interval.lower == pytest.approx(2 - 12.7062, abs=1e-4)
    assert interval.upper == pytest.approx(2 + 12.7062, abs=1e-4)
    assert (interval.n, interval.basis) == (2, "seeds")


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_without_systematic_part_it_is_students_t_interval(n: int) -> None:
    values = np.random.default_rng(n).normal(95, 0.23, n)
    interval = over_seeds([exact(float(value)) for value in values])
    expected = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [2, 8, 128])
def test_the_interval_of_log_z_is_not_narrowed_by_seeds(n: int) -> None:
    interval = over_seeds([Value(90.0, 89.9, 90.3, 0.4)] * n)
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx((89.9, 90.3))


def test_one_seed_has_the_interval_of_its_images_and_says_so() -> None:
    interval = over_seeds([Value(90.0, 89.9, 90.3, 0.5)])
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx((89.9 - 1.95996 * 0.5, 90.3 + 1.95996 * 0.5), abs=1e-5)
    assert (interval.n, interval.basis) == (1, "images")


def test_no_seed_has_no_interval() -> None:
    assert over_seeds([]) is None


@pytest.mark.parametrize("n", [2, 3, 5])
def test_it_holds_the_truth_in_95_percent_of_repeats(n: int) -> None:
    repeats, truth = 3000, 95.0
    draws = np.random.default_rng(17 * n).normal(truth, 0.23, (repeats, n))
    found = [over_seeds([exact(float(value)) for value in row]) for row in draws]
    hits = sum(interval.lower <= truth <= interval.upper for interval in found if interval)
    assert hits / repeats == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / repeats))


@pytest.mark.parametrize("bias", [-0.2, 0.0, 0.1])
def test_it_holds_the_truth_wherever_log_z_lies_in_its_interval(bias: float) -> None:
    # log Z is wrong by the same amount in every seed, anywhere within its interval: no number of seeds would tell
    repeats, truth, n = 1500, 95.0, 5
    draws = np.random.default_rng(5).normal(truth + bias, 0.23, (repeats, n))
    found = [over_seeds([Value(float(v), float(v) - 0.1, float(v) + 0.2, 0.0) for v in row]) for row in draws]
    hits = sum(interval.lower <= truth <= interval.upper for interval in found if interval)
    assert hits / repeats >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / repeats)


def test_paired_differences_by_hand() -> None:
    # D = -2, -3, -1; sd 1; t(2) = 4.30265; per seed D + L_A - U_B = D - .1 - .3 and D + U_A - L_B = D + .2 + .05
    ours = {seed: Value(v, v - 0.1, v + 0.2, 0.4) for seed, v in enumerate([93.0, 92.5, 94.0])}
    baseline = {seed: Value(v, v - 0.05, v + 0.3, 0.4) for seed, v in enumerate([95.0, 95.5, 95.0])}
    interval = paired(ours, baseline)
    half = 4.30265 / math.sqrt(3)
    assert interval is not None
    assert interval.mean == pytest.approx(-2.0)
    assert interval.lower == pytest.approx(-2 - 0.4 - half, abs=1e-5)
    assert interval.upper == pytest.approx(-2 + 0.25 + half, abs=1e-5)
    assert (interval.n, interval.basis) == (3, "seeds")


def test_what_seeds_share_cancels_in_paired_differences() -> None:
    shared = np.random.default_rng(0).normal(0, 5, 4)
    ours = {seed: exact(93.0 + float(s)) for seed, s in enumerate(shared)}
    baseline = {seed: exact(95.0 + float(s)) for seed, s in enumerate(shared)}
    interval = paired(ours, baseline)
    assert interval is not None
    assert (interval.mean, interval.lower, interval.upper) == pytest.approx((-2.0, -2.0, -2.0))
    assert interval.excludes_zero


def test_only_common_seeds_are_paired() -> None:
    interval = paired({0: exact(1.0), 1: exact(2.0), 7: exact(50.0)}, {0: exact(0.0), 1: exact(0.0), 3: exact(9.0)})
    assert interval is not None
    assert (interval.n, interval.mean) == (2, 1.5)
    assert paired({0: exact(1.0)}, {1: exact(1.0)}) is None


def test_one_common_seed_has_the_standard_error_of_the_difference() -> None:
    ours, baseline = {0: Value(93.0, 93.0, 93.0, 0.3)}, {0: Value(95.0, 95.0, 95.0, 0.4)}
    interval = paired(ours, baseline, {0: 0.1}.get)
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx((-2 - 1.95996 * 0.1, -2 + 1.95996 * 0.1), abs=1e-5)


def test_one_common_seed_without_it_adds_both_standard_errors() -> None:
    interval = paired({0: Value(93.0, 93.0, 93.0, 0.3)}, {0: Value(95.0, 95.0, 95.0, 0.4)})
    assert interval is not None
    assert interval.basis == "images"
    assert interval.upper == pytest.approx(-2 + 1.95996 * 0.5, abs=1e-5)


@pytest.mark.parametrize(("lower", "upper", "outside"), [(-2, -1, True), (0.1, 1, True), (-1, 1, False), (0, 1, False)])
def test_zero_at_an_end_is_inside(lower: float, upper: float, outside: bool) -> None:
    assert Interval((lower + upper) / 2, lower, upper, 3, "seeds").excludes_zero is outside


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_with_any_part_that_is_not_finite_is_none(bad: float) -> None:
    assert exact(1.0).finite
    assert not any(Value(*parts).finite for parts in np.where(np.eye(4, dtype=bool), bad, 1.0))
