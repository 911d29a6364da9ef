"""Distances between samples, against answers that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.estimators.density import classifier_accuracy, sliced_wasserstein


def normal(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    points: np.ndarray = np.random.default_rng(seed).standard_normal((n, 2)) + np.array([shift, 0.0])
    return points


def test_a_sample_is_at_no_distance_from_itself() -> None:
    x = normal(500, 0)
    assert sliced_wasserstein(x, x).value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shift", [(3.0, 4.0), (0.0, 0.01), (-2.0, 0.0)])
def test_a_shift_is_seen_from_every_side(shift: tuple[float, float]) -> None:
    """The projections are |shift| |cos| apart, whose root mean square is |shift|/sqrt 2."""
    x = normal(500, 0)
    assert sliced_wasserstein(x, x + np.array(shift)).value == pytest.approx(math.hypot(*shift) / math.sqrt(2))


def test_a_change_of_scale_has_its_closed_form() -> None:
    """Between N(0, I) and N(0, 4 I) every projection is (2 - 1) apart."""
    n = 5_000
    distance = sliced_wasserstein(normal(n, 0), 2 * normal(n, 1))
    assert distance.value == pytest.approx(1, abs=4 * math.hypot(distance.stderr_x, distance.stderr_y))


def test_the_base_level_falls_with_the_size_of_the_samples() -> None:
    few, many = (sliced_wasserstein(normal(n, 0), normal(n, 1)).value for n in (200, 10_000))
    assert 0 < many < few / 3  # it is of the order of 1/sqrt n, here a seventh


def test_the_jackknife_tells_the_spread_over_samples() -> None:
    y = normal(400, 0, shift=1.0)
    found = [sliced_wasserstein(normal(400, 1 + seed), y) for seed in range(60)]
    spread = np.std([each.value for each in found], ddof=1)
    told = math.sqrt(np.mean([each.stderr_x**2 for each in found]))
    # a standard deviation of 60 values is known to 1/sqrt 120 = 9 %, and so, nearly, is the jackknife's mean
    assert told == pytest.approx(spread, rel=0.4)


def test_samples_of_one_distribution_cannot_be_told_apart() -> None:
    pairs = [(normal(500, 2 * seed), normal(500, 2 * seed + 1)) for seed in range(60)]
    scores = []
    for x, y in pairs:
        accuracy = classifier_accuracy(x, y)
        scores.append((accuracy.value - 0.5) / math.hypot(accuracy.stderr_x, accuracy.stderr_y))
    # their mean and standard deviation are 0 and 1, known to 1/sqrt 60 and 1/sqrt 120: 3.5 of these
    assert abs(np.mean(scores)) < 3.5 / 60**0.5
    assert np.std(scores) == pytest.approx(1, abs=3.5 / 120**0.5)


def test_samples_far_apart_are_always_told_apart() -> None:
    accuracy = classifier_accuracy(normal(300, 0), normal(300, 1, shift=30.0))
    assert (accuracy.value, accuracy.stderr_x, accuracy.stderr_y) == (1, 0, 0)


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_the_classifier_comes_close_to_the_best(shift: float) -> None:
    """The best one can do between N(0, I) and N(shift, I) is Phi(shift/2)."""
    accuracy, best = classifier_accuracy(normal(5000, 0), normal(5000, 1, shift)), stats.norm.cdf(shift / 2)
    error = math.hypot(accuracy.stderr_x, accuracy.stderr_y)
    assert best - 0.02 - 3 * error < accuracy.value < best + 3 * error


def test_the_same_samples_give_the_same_distances() -> None:
    x, y = normal(300, 0), normal(300, 1)
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y)
    assert classifier_accuracy(x, y) == classifier_accuracy(x, y)
