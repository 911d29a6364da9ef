"""Means over trainings and differences between them, with intervals and p-values.

What a reader takes from a table is a strategy's expected score over trainings (seeds) *and* over the population of
test items. Three kinds of error are kept apart. Between trainings: the spread over seeds. Between items: the spread
over items of what the seeds come to on average, which no number of seeds narrows. And how far log Z of a trained model
may be off, the same for all of its items: a score lies in `[lower, upper]`, the means of both ends are taken, and the
statistical errors widen what results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from scipy import special  # scipy.stats takes half a second to import

CONFIDENCE = 0.95
_LEAST = 1e-12  # p-values are not told from smaller ones

Basis = Literal["seeds and items", "seeds", "items", "one estimate"]
BOTH: Final = "seeds and items"


@dataclass(frozen=True)
class Spread:
    """A standard error and its degrees of freedom; infinitely many where it is known and not estimated."""

    stderr: float
    freedom: float

    def half(self, tail: float) -> float:
        """Return how far the quantile that leaves `tail` above it is from the mean."""
        if self.stderr == 0:
            return 0.0
        # by the lower tail, in which small probabilities are exact
        quantile = special.ndtri(tail) if self.freedom == math.inf else special.stdtrit(self.freedom, tail)
        return float(-quantile) * self.stderr


@dataclass(frozen=True, eq=False)
class Items:
    """Scores of single test items of one model, of several on average, or their difference to another's.

    Where some items have a better score, the rough one is a control variate: the score of the model is the mean of the
    rough ones R over all N, plus the mean of D = better - rough over the n.

    Attributes:
        values: of all items, `(N,)`; the rough ones, where there are better ones.
        better: of n of them, which are the same for every model; None where the score is the plain mean of `values`.
        which: the places of these n, rising, `(n,)`.
    """

    values: np.ndarray
    better: np.ndarray | None = None
    which: np.ndarray | None = None

    @property
    def places(self) -> np.ndarray:
        """The places of the items that have what counts as the better score: of all where there is none better."""
        return np.arange(len(self.values)) if self.which is None else self.which

    @property
    def enough(self) -> bool:
        """Whether they have a spread."""
        return min(len(self.values), len(self.places)) > 1

    @property
    def mean(self) -> float:
        """What they come to."""
        mean = float(self.values.mean(dtype=np.float64))
        return mean if self.better is None else mean + float(self._corrections.mean())

    @property
    def spread(self) -> Spread:
        """The standard error of `mean` from the choice of items, by V(R)/N + V(D)/n + 2 Cov(R, D)/N, of n - 1 degrees.

        The n lie among the N, hence the covariance, which is that of the n; at n = N this is V(better)/N.
        """
        count, variance = len(self.values), float(self.values.var(ddof=1))
        if self.better is None:
            return Spread(math.sqrt(variance / count), count - 1)
        joint = np.cov(self.values[self.places].astype(np.float64), self._corrections)
        total = (variance + 2 * joint[0, 1]) / count + joint[1, 1] / len(self.places)
        return Spread(math.sqrt(max(float(total), 0.0)), len(self.places) - 1)

    @property
    def _corrections(self) -> np.ndarray:
        if self.better is None:
            return np.zeros(len(self.values))
        corrections: np.ndarray = self.better.astype(np.float64) - self.values[self.places]
        return corrections

    def like(self, other: Items) -> bool:
        """Tell whether both are scores of the same items, the better ones too."""
        alike = len(self.values) == len(other.values)
        if self.which is None and other.which is None:  # of the first ones, all of them
            return alike
        return alike and np.array_equal(self.places, other.places)

    def common(self, other: Items) -> Items:
        """Return those of the items that another has, too: all of its better scores are of items of both."""
        count, places = min(len(self.values), len(other.values)), np.intersect1d(self.places, other.places)
        better = self.values[places] if self.better is None else self.better[np.isin(self.places, places)]
        return Items(better) if len(places) == count else Items(self.values[:count], better, places)

    def minus(self, other: Items) -> Items:
        """Return the difference to scores that are `like` these."""
        if self.better is None or other.better is None:
            return Items(self.values - other.values)
        return Items(self.values - other.values, self.better - other.better, self.which)

    @classmethod
    def averaged(cls, models: Sequence[Items]) -> Items | None:
        """Return what several models' come to item by item; None where they are not of the same items, or of one."""
        first = models[0]
        if not first.enough or not all(first.like(other) for other in models):
            return None
        values = np.stack([model.values for model in models]).mean(0, dtype=np.float64)
        better = [model.better for model in models if model.better is not None]
        return cls(values, np.stack(better).mean(0, dtype=np.float64), first.which) if better else cls(values)


class Trained(NamedTuple):
    """The score of one trained model.

    Attributes:
        value: the estimate.
        lower, upper: where it may lie given the interval of log Z (systematic).
        stderr: statistical standard error: the estimator's own draws and the choice of test items.
        averages: whether it is a mean over test items that other models are scored on, too.
        items: of each of these items; what they come to is `value`. None where they cannot be had.
        shared: the part of `stderr` that all seeds have in common, since they are scored on the same test items, of a
            score that is no mean over them.
    """

    value: float
    lower: float
    upper: float
    stderr: float
    averages: bool = False
    items: Items | None = None
    shared: float = 0.0

    @property
    def finite(self) -> bool:
        """Whether a mean can be taken of it."""
        return all(map(math.isfinite, self[:4]))

    def minus(self, other: Trained) -> Trained:
        """Return the difference to the score of the same cell trained again, whose test items are the same."""
        items = None
        if self.items is not None and other.items is not None and self.items.like(other.items):
            items = self.items.minus(other.items)
        return Trained(
            self.value - other.value,
            self.lower - other.upper,
            self.upper - other.lower,
            math.hypot(self.stderr, other.stderr),
            self.averages and other.averages,
            items,
        )


@dataclass(frozen=True)
class Interval:
    """A mean, or a difference of means, and how far it may be off.

    Attributes:
        mean: the estimate.
        low, high: its systematic ends: where it lies, statistics aside, given the intervals of log Z.
        seeds: the spread between trainings; None where one seed cannot tell.
        items: that between test items; None where they play no part, or are drawn anew for every training.
        n: how many seeds; of a difference, of both sides.
        lost: scores of single items could not be had, so that standard errors of whole records stand in for them.
        common: how many items both sides have, where they have not the same.
    """

    mean: float
    low: float
    high: float
    seeds: Spread | None
    items: Spread | None
    n: tuple[int, ...]
    lost: bool = False
    common: int | None = None

    @property
    def basis(self) -> Basis:
        """Which errors are in it."""
        if self.seeds and self.items:
            return BOTH
        if self.seeds:
            return "seeds"
        return "items" if self.items and self.items.freedom < math.inf else "one estimate"

    def half(self, alpha: float) -> float:
        """Return h, with h^2 the sum of the squares of both parts' half-widths at level 1 - alpha."""
        return math.hypot(*(part.half(alpha / 2) for part in (self.seeds, self.items) if part))

    @property
    def lower(self) -> float:
        """The lower end of the 95 % interval."""
        return self.low - self.half(1 - CONFIDENCE)

    @property
    def upper(self) -> float:
        """The upper end of the 95 % interval."""
        return self.high + self.half(1 - CONFIDENCE)

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside."""
        return self.lower > 0 or self.upper < 0

    @property
    def p(self) -> float:
        """The smallest alpha at which the interval at level 1 - alpha excludes 0; 1 where none does."""
        return self._smallest(max(self.low, -self.high))

    def p_within(self, margin: float) -> float:
        """Return the smallest alpha at which the interval at level 1 - 2 alpha lies inside +-`margin`.

        That is the p-value of two one-sided tests: at .05 the 90 % interval is inside.
        """
        return self._smallest(margin - max(-self.low, self.high)) / 2

    def _smallest(self, room: float) -> float:
        """Return the smallest alpha whose half-width is below `room`."""
        if room <= 0:
            return 1.0
        low, high = math.log(_LEAST), 0.0  # the half-width falls as alpha grows, to 0 at 1
        if self.half(_LEAST) < room:
            return _LEAST
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (low, middle) if self.half(math.exp(middle)) < room else (middle, high)
        return math.exp(high)


def mean(trained: Sequence[Trained] | Side) -> Interval | None:
    """Return the mean over seeds with its interval, or None where there is no score.

    With n seeds and N items `h^2 = (t_{n-1} s_s / sqrt(n))^2 + (t_{N-1} s_i / sqrt(N))^2`: s_s the spread over seeds of
    the mean over items, s_i that over items of the mean over seeds. The interval is
    `[mean(lower) - h, mean(upper) + h]`. Of one seed the items count alone. Where items cannot be had, the mean of the
    seeds' own standard errors stands in for s_i / sqrt(N); it is never smaller. Where n of the items have better
    scores, `Items.spread` takes the place of s_i / sqrt(N), and t_{n-1} that of t_{N-1}. Of a score that is no mean
    over items, such as a distance, the part of the standard error that the seeds share takes its place.
    """
    side = Side.of(trained)
    if side is None:
        return None
    whole = side.averages or side.spread is None
    part = side.items.spread if side.items is not None else _known(side.stderr if whole else side.shared, whole)
    return Interval(
        side.mean,
        side.low,
        side.high,
        side.spread,
        part,
        (side.n,),
        lost=side.averages and side.items is None,
    )


def difference(ours: Sequence[Trained] | Side, baseline: Sequence[Trained] | Side) -> Interval | None:
    """Return the difference of two means, ours - baseline, with its interval; None where a side has no score.

    Items are paired: s_i is the spread of the difference of the two seed-averaged vectors, of rough scores and of
    better ones where there are such, over the items that both have. Seeds are not, since the same seed takes out
    little and costs half of the degrees of freedom: Welch's
    `s_A^2 / n_A + s_B^2 / n_B` with its degrees of freedom. Log Z's ends are mean(L_A) - mean(U_B) and
    mean(U_A) - mean(L_B). Where either side has one seed, the items count alone. Where a side's items cannot be had,
    both standard errors are added as if independent, which on the same items is too wide, not too narrow; and so are
    those of scores that are no means over items.
    """
    a, b = Side.of(ours), Side.of(baseline)
    if a is None or b is None:
        return None
    averages = a.averages and b.averages
    common, shift, apart = None, 0.0, None
    if a.items is not None and b.items is not None:
        of_both, theirs = a.items, b.items
        if not of_both.like(theirs):
            of_both, theirs = a.items.common(b.items), b.items.common(a.items)
        if of_both.enough:
            apart = of_both.minus(theirs)
            if of_both is not a.items:
                common = len(of_both.values)
                # over the items that both have, not over those that one has
                shift = (of_both.mean - a.items.mean) - (theirs.mean - b.items.mean)
    seeds = _welch(a, b)
    whole = averages or seeds is None
    errors = (a.stderr, b.stderr) if whole else (a.shared, b.shared)
    part = apart.spread if apart else _known(math.hypot(*errors), whole)
    return Interval(
        a.mean - b.mean + shift,
        a.low - b.high + shift,
        a.high - b.low + shift,
        seeds,
        part,
        (a.n, b.n),
        lost=averages and apart is None,
        common=common,
    )


def again(ours: Mapping[int, Trained], theirs: Mapping[int, Trained]) -> Interval | None:
    """Return how far trainings that were carried out twice differ, ours - theirs; None where no seed is on both sides.

    The same cell gives the same score but for what differs between machines and versions, so that seeds are paired as
    well as items: the mean over seeds of the differences, with the interval of `mean`.
    """
    return mean([ours[seed].minus(theirs[seed]) for seed in ours if seed in theirs])


@dataclass(frozen=True, eq=False)
class Side:
    """Seeds taken together: means of the ends, the spread over seeds, and the mean over seeds of each item."""

    n: int
    mean: float
    low: float
    high: float
    stderr: float
    spread: Spread | None
    averages: bool
    items: Items | None
    shared: float

    @classmethod
    def of(cls, trained: Sequence[Trained] | Side) -> Side | None:
        """Return the seeds together, which a caller may do once for many comparisons; None where there is no score."""
        if isinstance(trained, Side) or not trained:
            return trained if isinstance(trained, Side) else None
        n = len(trained)
        ends = np.array([*zip(*(score[:4] for score in trained), strict=True)])
        mean, low, high, stderr = ends.mean(1).tolist()
        spread = Spread(float(np.std(ends[0], ddof=1)) / math.sqrt(n), n - 1) if n > 1 else None
        vectors = [score.items for score in trained if score.items is not None]
        items = Items.averaged(vectors) if len(vectors) == n else None
        shared = sum(score.shared for score in trained) / n
        return cls(n, mean, low, high, stderr, spread, all(score.averages for score in trained), items, shared)


def _known(stderr: float, always: bool) -> Spread | None:
    """Return the spread whose standard error is known; None where there is none, unless it is wanted always."""
    return Spread(stderr, math.inf) if stderr or always else None


def _welch(a: Side, b: Side) -> Spread | None:
    """Return the spread of a difference of means over seeds, with the Welch-Satterthwaite degrees of freedom."""
    if a.spread is None or b.spread is None:
        return None
    variances = a.spread.stderr**2, b.spread.stderr**2
    total = sum(variances)
    if total == 0:
        return Spread(0.0, a.n + b.n - 2)
    freedom = total**2 / sum(v**2 / s.freedom for v, s in zip(variances, (a.spread, b.spread), strict=True))
    return Spread(math.sqrt(total), freedom)


def holm(p_values: Sequence[float], comparisons: int | None = None) -> list[float]:
    """Return p-values adjusted for as many comparisons by Holm's step-down method, in their order.

    Args:
        p_values: of the comparisons that were made.
        comparisons: of the whole family, where some were not made and count as 1; by default those made.
    """
    order = np.argsort(p_values, kind="stable")
    total = len(p_values) if comparisons is None else comparisons
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (total - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
