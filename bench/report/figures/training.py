"""How training went: a panel for each strategy, with the band of its seeds, what ended early and what jumped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.report.curves import LOG_Z, Curves, Series
from bench.report.figures import canvas
from bench.report.figures.canvas import FAINT, INK, MUTED, TEXT, VERMILION, Drawing
from bench.report.figures.comparisons import is_baseline
from bench.report.rows import Row
from bench.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: what is drawn of a row, the first that its curves have. The second is it of a normalised prior alone, of which no
#: log Z is estimated in training; of earlier records it lacks log Z where that is estimated, which is added then
BOUND, LOSS = "bound with log Z", "bound"
_COLUMNS = 4
_PANEL = (2.05, 1.45)  # inches
_JUMP = 8  # times the median step between epochs: what rises by more is marked
_FEW = 4  # epochs from which it cannot be told how a bound usually moves
_WARM = 0.1  # the share of epochs before which nothing is a jump, and the bound is still far from where it ends


class Course(NamedTuple):
    """The bound of a row's seeds over the epochs: `epochs` `(n,)` from 1, `values` `(seeds, n)`, NaN for none.

    `jumps`: (epoch, value) of what rose most within an epoch. `ended`: (epoch, value) at which seeds diverged.
    """

    epochs: np.ndarray
    values: np.ndarray
    jumps: tuple[tuple[float, float], ...]
    ended: tuple[tuple[float, float], ...]


def curves(table: Table, trained: Curves) -> Drawing | None:
    """Return the training curves of a table's rows, a panel each, or None where there are none."""
    from matplotlib.figure import Figure

    drawn = {row.label: (row, line) for row in table.rows if (line := course(row, trained))}
    if not drawn:
        return None
    left = _left(table, drawn)
    drawn, few = canvas.first(drawn)
    lines = math.ceil(len(drawn) / _COLUMNS)
    columns = math.ceil(len(drawn) / lines)
    figure = Figure(figsize=(max(4.2, _PANEL[0] * columns + 0.4), _PANEL[1] * lines + 0.55), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True)
    limits = _limits([line for _, line in drawn.values()])
    references = {row.setting.context: line for row, line in drawn.values() if is_baseline(row)}
    own_scale = []
    for axes in list(grid.flat)[len(drawn) :]:
        axes.set_axis_off()
    for place, (axes, (row, line)) in enumerate(zip(grid.flat, drawn.values(), strict=False)):
        low, high = limits
        last = np.nanmedian(line.values[:, -1])
        if not low <= last <= high:
            low, high = _limits([line])
            own_scale.append(row.label)
        _panel(axes, row, line, None if row.label in own_scale else references.get(row.setting.context))
        axes.set_ylim(low, high)
        if place % columns and row.label not in own_scale:
            axes.set_yticklabels([])
        if row.label in own_scale:
            axes.tick_params(axis="y", colors=VERMILION)
    for column in range(columns):
        lowest = [axes for axes in grid[:, column] if axes.axison][-1]
        lowest.tick_params(labelbottom=True)
        if lowest is grid[-1, column]:
            lowest.set_xlabel("epoch")
    figure.supylabel("negative bound, nats", fontsize=TEXT)
    counted = [row for row, line in drawn.values() if line.jumps]
    sentences = [
        "The negative bound in training, log Z in: mean over seeds, band from the lowest to the highest.",
        "Dashed: the mean of the baseline." if references else "",
        f"On a scale of their own, in orange: {', '.join(own_scale)}." if own_scale else "",
        "Triangle: the largest rise within an epoch." if counted else "",
        "Cross: a seed diverged." if any(line.ended for _, line in drawn.values()) else "",
        few,
        left,
    ]
    return canvas.finished(
        figure, f"training-{table.name}", table.name, f"{table.name}: the bound in training", sentences
    )


def course(row: Row, trained: Curves) -> Course | None:
    """Return the bound of a row's seeds over epochs, or None where its records have none that can be compared."""
    lines = {seed: line for seed, o in row.outcomes.items() if (line := _bound(trained.of(o))) is not None}
    if not lines:
        return None
    epochs = np.unique(np.concatenate([line[0] for line in lines.values()]))
    values = np.full((len(lines), len(epochs)), np.nan)
    for place, (own, bounds) in enumerate(lines.values()):
        values[place, np.searchsorted(epochs, own)] = bounds
    jumps = [jump for line in lines.values() if (jump := _jump(*line))]
    last = {seed: (float(own[-1]) + 1, float(bounds[-1])) for seed, (own, bounds) in lines.items()}
    ended = [place for seed, place in last.items() if row.outcomes[seed].status == "diverged"]
    return Course(epochs + 1, values, tuple(jumps), tuple(ended))


def _bound(series: Series) -> np.ndarray | None:
    """Return epochs and the bound of a record at the end of each, log Z in; None where there is none."""
    if BOUND in series or LOSS not in series:
        return series.get(BOUND)
    epochs, loss = series[LOSS]
    of_log_z, log_z = series.get(LOG_Z, (epochs, np.zeros_like(loss)))
    return np.stack([epochs, loss + log_z]) if np.array_equal(epochs, of_log_z) else None


def _jump(epochs: np.ndarray, values: np.ndarray) -> tuple[float, float] | None:
    """Return (epoch, value) where a bound rose most within an epoch, if that is far more than it usually moves."""
    first = int(_WARM * len(values))
    moves = np.diff(values[first:])
    if len(moves) < _FEW:
        return None
    worst = int(moves.argmax())
    usual = float(np.median(np.abs(moves)))
    place = first + worst + 1
    return (float(epochs[place]) + 1, float(values[place])) if moves[worst] > _JUMP * usual > 0 else None


def _limits(lines: Sequence[Course]) -> tuple[float, float]:
    """Return the ends of the axis that shows lines from when they have come down; not those far from the others."""
    late = [line.values[:, line.epochs >= _WARM * line.epochs.max()] for line in lines]
    means = [np.nanmean(values, 0) if len(values) > 1 else values[0] for values in late]
    return canvas.reach([float(np.nanmin(m)) for m in means], [float(np.nanmax(m)) for m in means])


def _panel(axes: Axes, row: Row, line: Course, reference: Course | None) -> None:
    look = canvas.look(row)
    if reference is not None:
        axes.plot(reference.epochs, _mean(reference.values), color=INK, linewidth=0.8, linestyle="dashed", zorder=1)
    if len(line.values) > 1:
        low, high = np.nanmin(line.values, 0), np.nanmax(line.values, 0)
        axes.fill_between(line.epochs, low, high, color=look.colour, alpha=0.25, linewidth=0)
    axes.plot(line.epochs, _mean(line.values), color=look.colour, linewidth=1.3)
    for epoch, value in line.jumps:
        axes.plot([epoch], [value], "^", color=VERMILION, markersize=4)
    for epoch, value in line.ended:
        axes.plot([epoch], [value], "x", color=VERMILION, markersize=6, markeredgewidth=1.6)
    axes.set_title(canvas.broken(row.label, 30), fontsize=TEXT - 1, loc="left", color=INK)
    axes.grid(color="0.94", linewidth=0.5)
    if words := _events(row):
        axes.text(0.98, 0.95, words, transform=axes.transAxes, ha="right", va="top", fontsize=TEXT - 2, color=MUTED)
    axes.spines["left"].set_color(FAINT)


def _events(row: Row) -> str:
    """Return what happened to the seeds of a row, a line each."""
    failed = [f"{count} of {len(row.outcomes)} {status}" for status, count in row.failed.items()]
    restarts = sum(outcome.restarts for outcome in row.outcomes.values())
    early = [o.resources["epochs"] for o in row.outcomes.values() if "epochs" in o.resources]
    failed += [f"restarted {restarts}x"] if restarts else []
    failed += [f"ended at {min(early):g}-{max(early):g}"] if early else []
    return "\n".join(failed)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over seeds, `(n,)`, of those that have come so far."""
    counts = np.isfinite(values).sum(0)
    means: np.ndarray = np.nansum(values, 0) / np.maximum(counts, 1)
    return np.where(counts > 0, means, np.nan)


def _left(table: Table, drawn: Sequence[str] | dict[str, tuple[Row, Course]]) -> str:
    left = [row.label for row in table.rows if row.outcomes and row.label not in drawn]
    return f"No bound with log Z was kept in training: {', '.join(left)}." if left else ""
