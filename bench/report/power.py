"""How many seeds would decide a comparison that its records leave undecided.

At n seeds on either side the half-width of a difference is `w(n) = (high - low) / 2 + sqrt((t s)^2 / n + h_i^2)`: log
Z's part and that of the test items, h_i, stay as they are however many seeds there are. s^2 = s_A^2 + s_B^2 comes from
few seeds, so that its 80 % upper limit stands for it: `s^2 f / chi2_{f, .2}`, with Satterthwaite's f.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from bench.report.statistics import CONFIDENCE, Interval, Spread

ASSURANCE = 0.8  # in how many of such cases the width comes out as promised
MOST = 1000  # seeds; what takes more is told as such


@dataclass(frozen=True)
class Need:
    """What would decide a comparison.

    Attributes:
        seeds: on either side; None where no number would, and `MOST` where it takes that many or more.
        half: the half-width that this number comes to at most, at the level of the comparison.
        log_z, items: the half-widths that seeds cannot narrow: that of log Z's interval, and that of the test items.
    """

    seeds: int | None
    half: float
    log_z: float
    items: float

    def remedy(self, exact: str = "a better log Z") -> str:
        """Return what would decide it where no number of seeds would; `exact` is what would narrow log Z's part."""
        if self.log_z < self.half:
            return "more test items" if self.items >= self.half or not self.log_z else f"more test items and {exact}"
        return exact if self.items < self.half else f"more test items and {exact}"


@dataclass(frozen=True)
class Margin:
    """Within what both sides count as the same, and how many comparisons of the table are not shown to lie in it."""

    size: float
    open: int


def need(ours: Interval, theirs: Interval, apart: Interval, open_: int, margin: Margin | None = None) -> Need | None:
    """Return how many seeds would decide an undecided difference; None where either side has a single seed.

    Either the difference excludes 0 at last, which takes a half-width below its size, or it lies within the margin,
    which takes one below what is left of the margin beside it.

    Args:
        ours, theirs: the means of both sides.
        apart: their difference.
        open_: how many comparisons of the table are not shown to differ: Holm's method asks the level `5 % / open_` of
            the next. Those that differ count among the open ones of the margin, a family of its own.
        margin: within which both count as the same.
    """
    if ours.seeds is None or theirs.seeds is None:
        return None
    width = _Width.of(ours, theirs, apart)
    alpha, size = (1 - CONFIDENCE) / open_, abs(apart.low + apart.high) / 2
    ways = [(alpha, size)]
    if margin is not None:
        ways.append((2 * (1 - CONFIDENCE) / margin.open, margin.size - size))  # two one-sided tests
    needs = [Need(width.seeds(level, room), room, width.log_z, width.items(level)) for level, room in ways]
    return min(needs, key=lambda way: way.seeds or math.inf)


@dataclass(frozen=True)
class _Width:
    """The half-width of a difference as a function of the seeds on either side.

    Attributes:
        variance: the upper limit of s_A^2 + s_B^2.
        freedom: the degrees of freedom of a variance of n seeds on either side, by n - 1.
        log_z: half of what log Z leaves open.
        part: the standard error from test items, if any.
    """

    variance: float
    freedom: float
    log_z: float
    part: Spread | None

    @classmethod
    def of(cls, ours: Interval, theirs: Interval, apart: Interval) -> _Width:
        variances = []
        for side in (ours, theirs):
            assert side.seeds is not None, "asked for where both sides have a spread"
            variances.append(side.seeds.stderr**2 * side.n[0])
        total, squares = sum(variances), sum(v**2 for v in variances)
        if total == 0:
            return cls(0.0, 2.0, (apart.high - apart.low) / 2, apart.items)
        freedom = total**2 / sum(v**2 / (side.n[0] - 1) for v, side in zip(variances, (ours, theirs), strict=True))
        limit = total * freedom / float(special.chdtri(freedom, ASSURANCE))  # chdtri: by the upper tail
        return cls(limit, total**2 / squares, (apart.high - apart.low) / 2, apart.items)

    def items(self, alpha: float) -> float:
        return self.part.half(alpha / 2) if self.part else 0.0

    def half(self, n: int, alpha: float) -> float:
        """Return the half-width at n seeds on either side, at level 1 - alpha."""
        seeds = Spread(math.sqrt(self.variance / n), (n - 1) * self.freedom)
        return self.log_z + math.hypot(seeds.half(alpha / 2), self.items(alpha))

    def seeds(self, alpha: float, room: float) -> int | None:
        """Return the smallest number of seeds whose half-width is below `room`; `MOST` at most, None where none is."""
        if self.log_z + self.items(alpha) >= room:
            return None
        low, high = 1, MOST
        if self.half(high, alpha) >= room:
            return MOST
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.half(middle, alpha) < room else (middle, high)
        return high
