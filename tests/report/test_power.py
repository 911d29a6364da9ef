"""How many seeds would decide a comparison: against the half-widths of those seeds, and in simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.report.power import ASSURANCE, MOST, Margin, Need, need
from bench.report.statistics import Interval, Spread, Trained, difference, mean


def trained(values: Sequence[float] | np.ndarray) -> list[Trained]:
    return [Trained(float(value), float(value), float(value), 0.0) for value in values]


def compared(
    ours: Sequence[float] | np.ndarray, theirs: Sequence[float] | np.ndarray, apart: float, log_z: float = 0.0
) -> tuple[Interval, Interval, Interval]:
    """Return two means and a difference of this size, with the spread over seeds that these values have."""
    one, other, between = (
        mean(trained(ours)),
        mean(trained(theirs)),
        difference(trained(ours), trained(theirs)),
    )
    assert one
    assert other
    assert between
    return one, other, replace(between, mean=apart, low=apart - log_z, high=apart + log_z)


SEEDS = [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]  # of standard deviation 1


@pytest.mark.parametrize(("log_z", "items"), [(0.0, 0.0), (0.0, 0.3), (0.3, 0.0), (0.1, 0.2)])
def test_the_number_is_the_smallest_whose_half_width_is_below_the_difference(log_z: float, items: float) -> None:
    """What log Z leaves open is added, what test items do in squares; neither shrinks with the seeds."""
    one, other, apart = compared(*SEEDS, apart=0.9, log_z=log_z)
    wanted = need(one, other, replace(apart, items=Spread(items, math.inf)), 1)
    assert wanted is not None
    assert wanted.seeds is not None
    # of s^2 = 2 with 4 degrees of freedom the 80 % upper limit is 2 * 4 / 1.6488
    limit = math.sqrt(2 * 4 / 1.64878)
    halves = [
        log_z + math.hypot(stats.t.ppf(0.975, 2 * (n - 1)) * limit / math.sqrt(n), stats.norm.ppf(0.975) * items)
        for n in (wanted.seeds - 1, wanted.seeds)
    ]
    assert halves[0] >= 0.9 > halves[1]


def test_more_open_comparisons_ask_for_more_seeds() -> None:
    numbers = [need(*compared(*SEEDS, apart=0.9), count) for count in (1, 5, 15)]
    seeds = [number.seeds for number in numbers if number and number.seeds]
    assert len(seeds) == 3
    assert seeds == sorted(set(seeds))


def test_what_seeds_cannot_narrow_no_number_of_seeds_decides() -> None:
    one, other, apart = compared(*SEEDS, apart=0.5, log_z=0.6)
    blamed = need(one, other, apart, 1)
    assert blamed is not None
    assert blamed.seeds is None
    assert blamed.log_z == pytest.approx(0.6)
    items = need(one, other, replace(apart, low=0.5, high=0.5, items=Spread(0.3, math.inf)), 1)
    assert items is not None
    assert items.seeds is None
    assert items.items == pytest.approx(1.95996 * 0.3, rel=1e-4)
    assert items.items > items.half == 0.5


def test_a_margin_is_met_from_within() -> None:
    none = need(*compared(*SEEDS, apart=0.0), 1)
    assert none == Need(None, 0.0, 0.0, 0.0)
    same = need(*compared(*SEEDS, apart=0.0), 1, Margin(0.5, 1))
    assert same is not None
    assert same.seeds is not None
    assert same.half == 0.5
    # what lies half-way out needs half the width, on whichever side it ends
    off = need(*compared(*SEEDS, apart=0.25), 1, Margin(0.5, 1))
    assert off is not None
    assert off.seeds is not None
    assert off.seeds > same.seeds


def test_rows_that_differ_are_still_open_within_the_margin() -> None:
    """Of six rows, five are better: one is left to be told apart, and all six to be shown the same."""
    wanted = need(*compared(*SEEDS, apart=0.0), 1, Margin(0.5, 6))
    assert wanted is not None
    assert wanted.seeds is not None
    # of s^2 = 2 with 4 degrees of freedom the 80 % upper limit is 2 * 4 / 1.6488; two one-sided tests at 5 % / 6
    limit = math.sqrt(2 * 4 / 1.64878)
    halves = [Spread(limit / math.sqrt(n), 2 * (n - 1)).half(0.05 / 6) for n in (wanted.seeds - 1, wanted.seeds)]
    assert halves[0] >= 0.5 > halves[1]


def test_a_difference_of_next_to_nothing_needs_more_seeds_than_anybody_has() -> None:
    wanted = need(*compared(*SEEDS, apart=1e-3), 1)
    assert wanted is not None
    assert wanted.seeds == MOST


def test_one_seed_says_nothing_of_others() -> None:
    assert need(*compared([1.0], [0.0, 1.0], apart=0.5), 1) is None


@pytest.mark.slow
@pytest.mark.parametrize(("first", "size"), [(3, 0.5), (5, 0.5), (10, 0.5)])
def test_the_promised_width_is_reached_in_80_percent_of_repeats(first: int, size: float) -> None:
    """Seeds are drawn until there are as many as the first ones ask for; the width is then that of all of them."""
    noise, reached, repeats = np.random.default_rng(first), 0, 0
    for _ in range(1000):
        ours, theirs = noise.normal(size=(2, first))
        one, other, apart = compared(ours, theirs, size)
        wanted = need(one, other, apart, 1)
        if apart.excludes_zero or wanted is None or wanted.seeds in (None, MOST):
            continue
        more = noise.normal(size=(2, max((wanted.seeds or 0) - first, 0)))
        *_, after = compared(np.append(ours, more[0]), np.append(theirs, more[1]), size)
        reached, repeats = reached + after.excludes_zero, repeats + 1
    assert repeats > 500
    allowed = ASSURANCE - 3 * math.sqrt(ASSURANCE * (1 - ASSURANCE) / repeats)  # three standard errors of a share
    assert reached / repeats >= allowed
