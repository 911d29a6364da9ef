"""Intervals for means over seeds and for paired differences.

Two kinds of error are never mixed. The statistical one, between trainings, shrinks with the number of seeds n. The
systematic one, how far log Z of one trained model may be off, does not: a score lies in `[lower, upper]`, the means of
both ends are taken, and Student's t widens what results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special  # scipy.stats takes half a second to import

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Value:
    """One seed's score.

    Attributes:
        value: the estimate.
        lower, upper: where it may lie given the interval of log Z (systematic).
        stderr: statistical standard error: the estimator's own draws and the choice of test images.
    """

    value: float
    lower: float
    upper: float
    stderr: float

    @property
    def finite(self) -> bool:
        """Whether a mean can be taken of it."""
        return all(map(math.isfinite, (self.value, self.lower, self.upper, self.stderr)))


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval.

    Attributes:
        mean: mean over seeds.
        lower, upper: the ends; they include the systematic interval.
        n: how many seeds.
        basis: `seeds`: Student's t over seeds; `images`: one seed only, so the standard errors within that seed.
    """

    mean: float
    lower: float
    upper: float
    n: int
    basis: Literal["seeds", "images"]

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside."""
        return self.lower > 0 or self.upper < 0


def over_seeds(values: Sequence[Value]) -> Interval | None:
    """Return the mean over seeds with its interval, or None where there is no value.

    With n >= 2: `[mean(lower) - t sd / sqrt(n), mean(upper) + t sd / sqrt(n)]`. With one seed nothing is known of the
    variation between trainings: `[lower - z stderr, upper + z stderr]`, and `basis` says so.
    """
    if not values:
        return None
    mean, lower, upper = (float(np.mean([getattr(v, end) for v in values])) for end in ("value", "lower", "upper"))
    n, quantile = len(values), (1 + CONFIDENCE) / 2
    if n == 1:
        half = float(special.ndtri(quantile)) * values[0].stderr
        return Interval(mean, lower - half, upper + half, n, "images")
    half = float(special.stdtrit(n - 1, quantile) * np.std([v.value for v in values], ddof=1) / math.sqrt(n))
    return Interval(mean, lower - half, upper + half, n, "seeds")


def paired(
    ours: Mapping[int, Value],
    baseline: Mapping[int, Value],
    stderr: Callable[[int], float | None] = lambda seed: None,
) -> Interval | None:
    """Return the mean difference `ours - baseline` over the seeds that both have, or None where they share none.

    Per seed the difference D lies in `[D + L_A - U_B, D + U_A - L_B]`, with [L, U] how far each score may be off. The
    same seed means the same initial networks, data order and noise, so that these cancel in D.

    Args:
        ours: seed -> score.
        baseline: the same of what it is compared to.
        stderr: seed -> statistical standard error of D, from the differences on each test item. It counts where there
            is one common seed; where it is not known, those of both are added as if they were independent, which on the
            same items is too wide, not too narrow.
    """
    common = sorted(ours.keys() & baseline.keys())
    by_item = stderr(common[0]) if len(common) == 1 else None
    differences = [
        Value(
            ours[seed].value - baseline[seed].value,
            ours[seed].lower - baseline[seed].upper,
            ours[seed].upper - baseline[seed].lower,
            math.hypot(ours[seed].stderr, baseline[seed].stderr) if by_item is None else by_item,
        )
        for seed in common
    ]
    return over_seeds(differences)
