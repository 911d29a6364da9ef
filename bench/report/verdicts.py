"""The verdict on a row: whether its strategy is better than the baseline's in the one metric that the grid names.

A table compares many rows to one baseline, so that p-values are adjusted for all of them, by Holm's method. Intervals
are not: each holds at 95 % on its own. A verdict waits for every seed that was planned, since looking after each seed
and stopping at the first difference finds one in 14 % of the cases where there is none (3 to 10 seeds).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.protocol import Metric
from bench.report.metrics import meaning
from bench.report.statistics import CONFIDENCE, Interval, holm
from bench.sweep.status import JUDGED_SEEDS

if TYPE_CHECKING:
    from bench.report.rows import Row

Kind = Literal["baseline", "better", "worse", "same", "undecided", "none"]


@dataclass(frozen=True)
class Verdict:
    """What a comparison to the baseline comes to.

    Attributes:
        kind: `better` or `worse` than the baseline; `same` within the margin; `undecided`; `none` where there is no
            test; `baseline` of the row that others are compared to.
        words: that, or why there is none.
        p: of the difference, adjusted for the table's comparisons; None where there is no test.
        alike: whether the difference is shown to lie within the margin, whatever else is shown of it.
    """

    kind: Kind
    words: str
    p: float | None = None
    alike: bool = False

    @property
    def marked(self) -> bool:
        """Whether tables set it off: what is better and what is worse, alike."""
        return self.kind in ("better", "worse")


def judge(pairs: Sequence[tuple[Row, Row]], metric: Metric, margin: float | None) -> None:
    """Set the verdict of every row that is compared to another.

    Args:
        pairs: rows and their baselines; all are one family of comparisons, whether they can be made yet or not.
        metric: the headline metric.
        margin: delta: differences within it are of no interest; None where nobody set one.
    """
    tested: list[tuple[Row, Row, Interval]] = []
    for row, baseline in pairs:
        difference = row.differences.get(metric.name)
        if reason := untested(row, baseline, metric):
            row.verdict = Verdict("none", reason)
        elif difference:
            tested.append((row, baseline, difference))
    apart = holm([difference.p for *_, difference in tested], len(pairs))
    within = [difference.p_within(margin) if margin is not None else 1.0 for *_, difference in tested]
    alike = holm(within, len(pairs))
    for (row, baseline, difference), p, p_same in zip(tested, apart, alike, strict=True):
        same = p_same <= 1 - CONFIDENCE
        kind, words = _decided(difference.mean, metric, p <= 1 - CONFIDENCE, same, margin)
        theirs = _short(baseline, metric)
        short = _short(row, metric) or (f"{baseline.label}: {theirs}" if theirs else "")
        row.verdict = Verdict(kind, f"{words} ({short})" if short else words, p, same)


def _decided(mean: float, metric: Metric, apart: bool, same: bool, margin: float | None) -> tuple[Kind, str]:
    ahead: Kind = "better" if (mean < 0) == (metric.better == "lower") else "worse"
    if apart:
        return ahead, f"{ahead}, by less than {margin:g}" if same else ahead
    if same:
        return "same", f"same within {margin:g}"
    return "undecided", "undecided"


def untested(row: Row, baseline: Row, metric: Metric) -> str:
    """Return why no verdict on a row and what it is compared to can be had, or nothing."""
    if metric.better == "neither":
        return f"none: neither direction of {metric.name} is better"

    def either(reason: Callable[[Row], str]) -> str:
        return reason(row) or (f"{baseline.label}: {theirs}" if (theirs := reason(baseline)) else "")

    if few := either(lambda side: f"{side.planned} planned" if side.planned < JUDGED_SEEDS else ""):
        return f"none below {JUDGED_SEEDS} seeds ({few})"
    if going := either(lambda side: f"{len(side.outcomes)} of {side.planned} seeds" if side.missing else ""):
        return f"preliminary, {going}"
    if away := either(lambda side: f"{len(side.left)} of {side.planned} seeds left out" if side.left else ""):
        return f"none: {away}"
    if known := either(lambda side: "exact likelihood" if side.exact and not side.seeds(metric.name) else ""):
        return f"none: {known}, no {meaning(metric.name).title}"
    if few := either(lambda side: _short(side, metric) if len(side.trained(metric.name)) < JUDGED_SEEDS else ""):
        return f"none below {JUDGED_SEEDS} seeds ({few})"
    if doubt := either(lambda side: "unreliable" if side.unreliable(metric.name) else ""):
        return f"none: {doubt}"
    if len({code for side in (row, baseline) for code in side.codes}) > 1:
        return "none: not all made with the same code of bench"
    if mixed := either(lambda side: "seeds made with different code of its plugins" if len(side.plugins) > 1 else ""):
        return f"none: {mixed}"
    return ""


def _short(row: Row, metric: Metric) -> str:
    """Return how many seeds came to scores, or to one of this metric, where not all did."""
    if (finished := len(row.finished)) < row.planned:
        return f"{finished} of {row.planned} finished"
    scored = len(row.seeds(metric.name))
    return f"{scored} of {row.planned} scored" if scored < row.planned else ""
