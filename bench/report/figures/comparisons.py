"""The two figures that say which strategy to use: differences to the baseline, and what a difference costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from bench.protocol import Metric
from bench.report.captions import over
from bench.report.figures import canvas
from bench.report.figures.canvas import FAINT, INK, TEXT, Drawing, Look
from bench.report.layout import figure as digits
from bench.report.metrics import after, meaning
from bench.report.rows import Row
from bench.report.statistics import Interval
from bench.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW = 0.235  # inches
_LEAST = 2  # rows that make a comparison


@dataclass(frozen=True)
class Compared:
    """What the rows of a table are compared by.

    Attributes:
        metric: the headline.
        baseline: what differences are to; empty where the scores themselves are shown.
        rows: those that have a figure, in the table's order, with it.
    """

    metric: Metric
    baseline: str
    rows: tuple[tuple[Row, Interval], ...]

    def axis(self, separator: str = ", ") -> str:
        """Return what its axis says; `separator` stands before the unit."""
        title = meaning(self.metric.name).title
        better = f"; {self.metric.better} is better" if self.metric.better != "neither" else ""
        versus = f", difference to {self.baseline}" if self.baseline else ""
        return f"{title}{versus}{after(self.metric.unit, separator if versus else ', ')}{better}"


def compared(table: Table) -> Compared | None:
    """Return what the rows of a table are compared by, or None where fewer than two of them have it."""
    if table.headline:
        metric, baseline = table.headline, table.baseline
        rows = [(row, row.differences.get(metric.name)) for row in table.rows]
        zero = Interval(0.0, 0.0, 0.0, None, None, ())
        kept = [(row, zero if is_baseline(row) and metric.name in row.scores else value) for row, value in rows]
    else:
        if table.lead is None:
            return None
        metric, baseline = table.lead, ""
        kept = [(row, row.scores.get(metric.name)) for row in table.rows]
    whole = tuple((row, value) for row, value in kept if value is not None)
    return Compared(metric, baseline, whole) if len(whole) >= _LEAST else None


def is_baseline(row: Row) -> bool:
    """Tell whether others are compared to this row."""
    return row.verdict is not None and row.verdict.kind == "baseline"


# ---------------------------------------------------------------- forest plot


def forest(table: Table) -> Drawing | None:
    """Return the forest plot of a table: each difference to the baseline with its interval, the best first."""
    from matplotlib.figure import Figure

    what = compared(table)
    if what is None:
        return None
    sign = -1 if what.metric.better == "higher" else 1
    rows = sorted(what.rows, key=lambda pair: sign * pair[1].mean)
    labels = [canvas.broken(row.label, 44) for row, _ in rows]
    height = 0.75 + _ROW * sum(label.count("\n") * 0.6 + 1 for label in labels)
    figure = Figure(figsize=(7.6, height), layout="constrained")
    axes = figure.subplots()
    ends = [value for row, value in rows if not (what.baseline and is_baseline(row))]
    low, high = canvas.reach([*(end.lower for end in ends), *([0.0] if what.baseline else [])], [e.upper for e in ends])
    beyond = []
    for place, (row, value) in enumerate(rows):
        look = canvas.look(row)
        doubtful = row.unreliable(what.metric.name)
        beyond += [row.label] if _interval(axes, place, value, look, (low, high), doubtful) else []
        axes.text(
            1.02, place, _words(row, value, what), transform=axes.get_yaxis_transform(), va="center",
            fontsize=TEXT - 1, color=look.colour if look.filled else INK,
        )  # fmt: skip
    if what.baseline:
        axes.axvline(0, color=INK, linewidth=0.8, zorder=0)
        if table.margin:
            axes.axvspan(max(low, -table.margin), min(high, table.margin), color="0.93", zorder=-1)
    axes.set_yticks(range(len(rows)), labels)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(low, high), xlabel=what.axis())
    axes.grid(axis="x", color="0.92", linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    title = f"{table.name}: {meaning(what.metric.name).title}" + (f" against {what.baseline}" if what.baseline else "")
    seeds = sorted({len(row.trained(what.metric.name)) for row, _ in rows})
    sentences = [
        f"Bars: 95 % intervals over {over([row for row, _ in rows], [what.metric])} ({_count(seeds)}), not adjusted for"
        " the number of rows.",
        f"Marks: {canvas.MARKS}." if what.baseline else "",
        f"Grey band: differences of no interest, within {table.margin:g}." if what.baseline and table.margin else "",
        "Dashed: unreliable scores." if any(row.unreliable(what.metric.name) for row, _ in rows) else "",
        f"Beyond the axis, at the arrows: {', '.join(beyond)}." if beyond else "",
        _absent(table, [row for row, _ in rows]),
    ]
    return canvas.finished(figure, f"differences-{table.name}", table.name, title, sentences)


def _interval(
    axes: Axes, place: float, value: Interval, look: Look, limits: tuple[float, float], doubtful: bool
) -> bool:
    """Draw an interval in a row of a plot, with an arrow where it goes on; return whether its mean lies beyond."""
    low, high = limits
    shown = np.clip([value.lower, value.upper], low, high)
    axes.plot(
        shown, [place, place], color=look.colour, linewidth=1.6, solid_capstyle="butt",
        linestyle="dashed" if doubtful else "solid",
    )  # fmt: skip
    for edge, arrow, beyond in ((low, "<", value.lower < low), (high, ">", value.upper > high)):
        if beyond:
            axes.plot([edge], [place], arrow, color=look.colour, markersize=6, clip_on=False)
    if not low <= value.mean <= high:
        return True
    axes.plot([value.mean], [place], color=look.colour, markersize=5.5, linestyle="none", **look.marks)
    return False


def _words(row: Row, value: Interval, what: Compared) -> str:
    """Return the figures of a row, as its table has them."""
    verdict = row.verdict.words if row.verdict and what.baseline else ""
    if what.baseline and is_baseline(row):
        return f"{verdict} ({digits(row.scores[what.metric.name].mean, what.metric.unit)})"
    signed = bool(what.baseline)
    mean, low, high = (
        digits(end, what.metric.unit, sign=signed).replace("-", "\N{MINUS SIGN}")
        for end in (value.mean, value.lower, value.upper)
    )
    return f"{mean} [{low}, {high}]  {verdict}"


def _count(seeds: Sequence[int]) -> str:
    few, many = min(seeds), max(seeds)
    if few != many:
        return f"{few} to {many} seeds"
    return f"{few} seed{'s' * (few != 1)}"


def _absent(table: Table, shown: Sequence[Row]) -> str:
    """Return which rows have no figure, as a sentence."""
    left = [row for row in table.rows if row.outcomes and not any(row is other for other in shown)]
    metric = table.headline or table.lead
    scored = [row.label for row in left if metric and metric.name in row.scores]
    none = [row.label for row in left if row.label not in scored]
    title = meaning(metric.name).title if metric else "a score"
    parts = [f"Without {title}: {', '.join(none)}." if none else ""]
    parts += [f"Not shown, with nothing to compare them to: {', '.join(scored)}." if scored else ""]
    return " ".join(filter(None, parts))


# ---------------------------------------------------------------- score against cost


def cost(table: Table) -> Drawing | None:
    """Return the figure of score against time to fit: what no other row beats in both is joined by a line."""
    from matplotlib.figure import Figure
    from matplotlib.markers import CARETDOWN, CARETUP

    what = compared(table)
    points = [(row, value, minutes(row)) for row, value in what.rows] if what else []
    timed = [(row, value, spent) for row, value, spent in points if len(spent)]
    if what is None or len(timed) < _LEAST:
        return None
    figure = Figure(figsize=(7.6, min(4.4, 2.6 + 0.25 * len(timed))), layout="constrained")
    axes = figure.subplots()
    sign = -1 if what.metric.better == "higher" else 1
    low, high = canvas.reach([value.lower for _, value, _ in timed], [value.upper for _, value, _ in timed])
    times = [float(np.median(spent)) for *_, spent in timed]
    ends = [float(end) for *_, spent in timed for end in (spent.min(), spent.max())]
    if canvas.spans(ends):
        canvas.logarithmic(axes)
        axes.set_xlim(min(ends) * 0.8, max(ends) * (max(ends) / min(ends)) ** 0.35)
    else:
        spread = (max(ends) - min(ends)) or max(ends)
        axes.set_xlim(max(0, min(ends) - 0.08 * spread), max(ends) + 0.3 * spread)
    axes.set_ylim(low, high)
    labels, bars, beyond = [], [], []
    for (row, value, spent), time in zip(timed, times, strict=True):
        look = canvas.look(row)
        inside = low <= value.mean <= high
        mark = look.marks if inside else {"marker": CARETUP if value.mean > high else CARETDOWN}
        y = float(np.clip(value.mean, low, high))
        bottom, top = np.clip([value.lower, value.upper], low, high)
        bars += [(time, bottom, time, top), (spent.min(), y, spent.max(), y)]
        axes.plot([time], [y], markersize=6, linestyle="none", color=look.colour, clip_on=False, zorder=3, **mark)
        number = digits(value.mean, what.metric.unit, sign=bool(what.baseline))
        labels.append(
            (time, y, row.label if inside else f"{row.label} ({number})", look.colour if look.filled else INK)
        )
        for x0, y0, x1, y1 in bars[-2:]:
            axes.plot([x0, x1], [y0, y1], color=look.colour, alpha=0.3, linewidth=1.2)
        beyond += [] if inside else [row.label]
    # an unreliable score beats nobody
    sound = [n for n, (row, *_) in enumerate(timed) if not row.unreliable(what.metric.name)]
    ranked = sound if what.metric.better != "neither" else []
    front = [ranked[n] for n in pareto([(times[n], sign * timed[n][1].mean) for n in ranked])]
    corner = [(times[index], float(np.clip(timed[index][1].mean, low, high))) for index in front]
    if corner:
        axes.step(*zip(*corner, strict=True), where="post", color=INK, linewidth=0.8, linestyle="dotted", zorder=1)
    bars += [(x0, y0, x1, y0) for (x0, y0), (x1, _) in pairwise(corner)]
    bars += [(x1, y1, x1, y0) for (_, y0), (x1, y1) in pairwise(corner)]
    if what.baseline:
        axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
        bars.append((axes.get_xlim()[0], 0.0, axes.get_xlim()[1], 0.0))
    axes.set(xlabel="minutes to fit one seed, median (bar: least to most)", ylabel=what.axis(",\n"))
    canvas.label_points(axes, labels, bars, figure)
    doubted = [row.label for n, (row, *_) in enumerate(timed) if n not in sound]
    makers = {outcome.device_kind or outcome.device for row, *_ in timed for outcome in row.outcomes.values()} - {None}
    sentences = [
        "Dotted: the rows that no other beats in both time and score." if len(front) > 1 else "",
        f"{timed[front[0]][0].label} has the best score, and none is quicker." if len(front) == 1 else "",
        f"Unreliable, and on no line: {', '.join(doubted)}." if doubted else "",
        "Vertical bars: 95 % intervals; what reaches the edge goes on.",
        f"Marks: {canvas.MARKS}." if what.baseline else "",
        f"Beyond the axis, at its edge: {', '.join(beyond)}." if beyond else "",
        f"Times are of different devices and cannot be compared: {', '.join(sorted(map(str, makers)))}."
        if len(makers) > 1
        else "",
        _absent(table, [row for row, *_ in timed]),
    ]
    title = f"{table.name}: {meaning(what.metric.name).title} against time to fit"
    return canvas.finished(figure, f"cost-{table.name}", table.name, title, sentences)


def minutes(row: Row) -> np.ndarray:
    """Return how long each finished seed of a row took to fit, minutes."""
    return np.asarray(row.spent("fit_seconds")) / 60


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which points no other beats in both numbers, lower being better, by the first number."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: points[index]):
        if not front or points[index][1] < points[front[-1]][1]:
            front.append(index)
    return front
