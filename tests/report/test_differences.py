"""Differences of scores that are no means over items, and of trainings that were carried out twice, by hand."""

from __future__ import annotations

import pytest

from bench.report.statistics import Trained, again, difference


def test_a_distance_of_one_seed_is_off_by_its_draws_and_by_the_test_items() -> None:
    """One training cannot tell its own draws from the test items, so that the whole standard error counts."""
    ours, theirs = Trained(90.0, 90.0, 90.0, 0.5, shared=0.3), Trained(88.0, 88.0, 88.0, 1.2, shared=0.4)
    for others in ([theirs], [theirs, theirs, theirs]):
        interval = difference([ours], others)
        assert interval is not None
        assert interval.half(0.05) == pytest.approx(1.95996 * 1.3, rel=1e-5)


def test_of_the_same_cells_each_end_of_log_z_is_apart_from_the_others_other_end() -> None:
    ours = {seed: Trained(90.0 + seed, 89.8 + seed, 90.1 + seed, 0.0) for seed in range(3)}
    theirs = {seed: Trained(91.0 + seed, 90.7 + seed, 91.5 + seed, 0.0) for seed in range(3)}
    interval = again(ours, theirs)
    assert interval is not None
    assert (interval.lower, interval.mean, interval.upper) == pytest.approx((89.8 - 91.5, -1.0, 90.1 - 90.7))
