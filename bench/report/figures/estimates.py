"""How good the estimates are: the NLL against the number of samples, and how far log Z may be off by its estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.report.arrays import Arrays
from bench.report.cells import Outcome
from bench.report.figures import canvas
from bench.report.figures.canvas import INK, MUTED, TEXT, Drawing
from bench.report.layout import figure as digits
from bench.report.metrics import meaning
from bench.report.rows import Row
from bench.report.tables import Table
from bench.sweep.record import Score

# ---------------------------------------------------------------- the NLL against the number of samples

CURVE = ("nll_curve_samples", "nll_curve_values")
_LEAST = 2  # points that a curve needs
_MARKERS = "osD^vP*X<>"


class Curve(NamedTuple):
    """The importance-weighted NLL of a row with each number of samples: mean over the seeds that have it, nats.

    It is `unreliable` where that of a seed is.
    """

    samples: np.ndarray
    values: np.ndarray
    unreliable: bool


def curves(rows: Sequence[Row], arrays: Arrays) -> dict[str, Curve]:
    """Return label -> curve of the rows that have one; seeds with other numbers of samples than the first are left."""
    lines = {}
    for row in rows:
        own = [arrays.of(outcome, CURVE) for outcome in row.outcomes.values() if outcome.status == "ok"]
        pairs = [(curve[CURVE[0]], curve[CURVE[1]]) for curve in own if curve]
        alike = [values for samples, values in pairs if np.array_equal(samples, pairs[0][0])]
        if alike and len(pairs[0][0]) >= _LEAST:
            lines[row.label] = Curve(pairs[0][0], np.mean(alike, 0), row.unreliable("nll"))
    return lines


def over_samples(table: Table, arrays: Arrays) -> Drawing | None:
    """Return the figure of the NLL against the number of samples, with the NLL by annealing where there is one."""
    from matplotlib.figure import Figure

    lines = curves(table.rows, arrays)
    if not lines:
        return None
    rows = {row.label: row for row in table.rows}
    height = max(3.4, 1.26 * sum(map(canvas.height_of, lines)) + 1)
    figure = Figure(figsize=(7.6, height), layout="constrained")
    axes = figure.subplots()
    canvas.logarithmic(axes, fine=False)
    axes.set_ylim(
        canvas.reach([line.values.min() for line in lines.values()], [line.values.max() for line in lines.values()])
    )
    low, high = axes.get_ylim()
    last = max(float(line.samples[-1]) for line in lines.values())
    beyond, ends = [], []
    for place, (label, line) in enumerate(lines.items()):
        if not low <= line.values[-1] <= high:
            beyond.append(f"{label} ({line.values[-1]:.2f})")
            continue
        look = canvas.look(rows[label])
        axes.plot(
            line.samples, line.values, marker=_MARKERS[place % len(_MARKERS)], markersize=3.5, linewidth=1,
            color=look.colour, linestyle="dotted" if line.unreliable else "solid", markerfacecolor="white",
        )  # fmt: skip
        ends.append((float(line.values[-1]), label, look.colour))
    axes.set_xlim(right=last * 1.15)
    axes.set(xlabel="posterior samples S an item", ylabel="NLL, nats; lower is better")
    canvas.label_ends(axes, ends, last, height - 0.9)
    sentences = [
        "Importance-weighted NLL, mean over seeds: an upper bound that falls with S and is above the truth at every S.",
        "Dotted: unreliable." if any(line.unreliable for line in lines.values()) else "",
        f"Beyond the axis, with the NLL at the last S: {', '.join(beyond)}." if beyond else "",
    ]
    title = f"{table.name}: NLL against the number of samples"
    return canvas.finished(figure, f"nll-curve-{table.name}", table.name, title, sentences)


# ---------------------------------------------------------------- log Z

#: estimator -> marker and what it is called
_ESTIMATORS = {
    "exact-enumeration": ("s", "square: exact, by enumeration"),
    "quadrature": ("D", "diamond: quadrature"),
    "ais": ("o", "circle: annealed importance sampling"),
    "importance-weighted": ("^", "triangle: importance weights"),
}
LOG_Z, CHECK = "log_z", "log_z_check"
_SEED = 0.045  # inches between seeds
_ROW, _TALLEST = 0.24, 0.7  # inches
_SIGMAS = 1.96


def log_z(table: Table) -> Drawing | None:
    """Return the figure of log Z's intervals: of each seed of a row how far its estimate may be off, by estimator."""
    from matplotlib.figure import Figure

    estimated = [(row, LOG_Z, [*row.seeds(LOG_Z).values()]) for row in table.rows if row.seeds(LOG_Z)]
    normalised = [row for row in table.rows if row.seeds(CHECK) and not row.seeds(LOG_Z)]
    checked = [(row, CHECK, own) for row in normalised if (own := _checks(row))]
    left = [row.label for row in normalised if len(_checks(row)) < len(row.seeds(CHECK))]
    shown = [*estimated, *checked]
    if not shown:
        return None
    heights = [min(max(_ROW, _SEED * (len(scores) + 2)), _TALLEST) for *_, scores in shown]
    figure = Figure(figsize=(7.6, sum(heights) + 0.9), layout="constrained")
    axes = figure.subplots()
    places = [sum(heights[:index]) + height / 2 for index, height in enumerate(heights)]
    spreads = {id(row): [_ends(score, metric) for score in scores] for row, metric, scores in shown}
    ends = [end for spread in spreads.values() for end in spread]
    low, high = canvas.reach([end[0] for end in ends], [end[2] for end in ends])
    axes.set(xlim=(min(low, -0.02), max(high, 0.02)), ylim=(sum(heights), 0))
    low, high = axes.get_xlim()
    used: dict[str, str] = {}
    beyond = []
    for place, height, (row, metric, scores) in zip(places, heights, shown, strict=True):
        colour = canvas.BLUE if metric == LOG_Z else MUTED
        step = min(_SEED, 0.85 * height / len(scores))
        y = place + (np.arange(len(scores)) - (len(scores) - 1) / 2) * step
        lower, middle, upper = np.array(spreads[id(row)]).T
        doubted = np.array([bool(score.unreliable) for score in scores])
        estimators = np.array([score.estimator for score in scores])
        inside, above, below = (low <= middle) & (middle <= high), upper > high, (lower < low) & (upper <= high)
        for style, chosen in (("solid", ~doubted), ("dashed", doubted)):  # a few artists a row, however many seeds
            if chosen.any():
                edges = np.clip([lower[chosen], upper[chosen]], low, high)
                axes.hlines(y[chosen], *edges, color=colour, linewidth=1, linestyle=style)
        for estimator in dict.fromkeys(estimators):
            marker, words = _ESTIMATORS.get(estimator, ("X", f"cross: {estimator}"))
            used[words] = marker
            chosen = (estimators == estimator) & inside
            axes.plot(middle[chosen], y[chosen], marker, color=colour, markersize=3, linestyle="none")
        for edge, marker, chosen in ((high, ">", above), (low, "<", below)):
            if chosen.any():  # without a point, what is not clipped has no extent that a layout could be made of
                axes.plot(np.full(chosen.sum(), edge), y[chosen], marker, color=colour, markersize=4, clip_on=False)
        if (above | below).any() and row.label not in beyond:
            beyond.append(row.label)
        values = [score.value for score in scores]
        span = " to ".join(dict.fromkeys(digits(end, "nats") for end in (min(values), max(values))))
        said = f"log Z {span}" if metric == LOG_Z else _found(row)
        axes.text(1.02, place, said, transform=axes.get_yaxis_transform(), va="center", fontsize=TEXT - 1, color=INK)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=0)
    axes.set_yticks(places, [canvas.broken(row.label, 44) for row, *_ in shown])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="0.92", linewidth=0.6)
    ways = ["nats from the estimate (blue)"] if estimated else []
    ways += ["nats from 0, the true value of a normalised prior (grey)"] if checked else []
    axes.set_xlabel(", or ".join(ways))
    doubtful = any(score.unreliable for *_, scores in shown for score in scores)
    sentences = [
        f"A line for each seed: the {meaning(LOG_Z).words}, its systematic interval widened by 1.96 standard errors.",
        f"By estimator: {'; '.join(used)}.",
        "Dashed: unreliable." if doubtful else "",
        f"Beyond the axis, at the arrows: {', '.join(beyond)}." if beyond else "",
        f"Left out, seeds of which it could not be checked that the prior integrates to one: {', '.join(left)}."
        if left
        else "",
    ]
    return canvas.finished(
        figure, f"log-z-{table.name}", table.name, f"{table.name}: how far log Z may be off", sentences
    )


def _checks(row: Row) -> list[Score]:
    """Return the checks of a prior that calls itself normalised, of the seeds of which they could be made."""
    return [score for seed, score in row.seeds(CHECK).items() if _verdict(row.outcomes[seed]) != "not checked"]


def _found(row: Row) -> str:
    """Return in words what these checks come to."""
    verdicts = {_verdict(row.outcomes[seed]) for seed in row.seeds(CHECK)}
    ways = {"above": "integrates to more than one", "below": "the check missed mass"}
    return ", ".join(words for verdict, words in ways.items() if verdict in verdicts) or "normalised, checked"


def _verdict(outcome: Outcome) -> str:
    return str((outcome.normalised or {}).get("verdict"))


def _ends(score: Score, metric: str) -> tuple[float, float, float]:
    """Return the interval of an estimate of log Z and itself: less itself, or as it is where the truth is 0."""
    centre = score.value if metric == LOG_Z else 0.0
    half = _SIGMAS * score.stderr_mc
    return score.sys_lower - half - centre, score.value - centre, score.sys_upper + half - centre
