"""The pictures of a grid on points in the plane: samples and densities, as in the paper's Table 1.

They are made from the arrays beside the records alone. Matplotlib draws without a screen and without its global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.report.arrays import beside
from bench.report.drawing import save
from bench.report.rows import Row
from bench.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARRAYS = ("points_data", "points_sampler", "density_data", "density_model", "window")
NAME = "pictures"
INCHES = 1.1  # a panel's side


@dataclass(frozen=True)
class Panel:
    """What stands for a strategy on one data set: a record's arrays, or in words why there are none or are in doubt."""

    arrays: Mapping[str, np.ndarray] | None
    words: str = ""


def write(tables: Sequence[Table], stores: Sequence[Path], out: Path) -> list[str]:
    """Draw a grid's samples and densities into `pictures.png` and `pictures.pdf`; return their names.

    Each data set has two rows, samples above densities; the first column is the data, the others a strategy each, by
    the record of the lowest seed that came to scores. The shades of a row are those of the data's density.

    Args:
        tables: one a data set.
        stores: folders of run stores, where the arrays are.
        out: the folder to write into.

    Returns:
        Nothing where no record has such arrays.
    """
    every = {table.name: {row.label: panel(row, stores) for row in table.rows} for table in tables}
    panels = {name: shown for name, shown in every.items() if any(each.arrays for each in shown.values())}
    if not panels:
        return []
    labels = list(dict.fromkeys(label for row in panels.values() for label in row))
    return save(_drawn(panels, labels), out, NAME)


def panel(row: Row, stores: Sequence[Path]) -> Panel:
    """Return what shows a row of a table: the arrays of its lowest seed that has any."""
    for outcome in row.outcomes.values():
        if outcome.status == "ok" and (arrays := beside(outcome, stores, ARRAYS)):
            return Panel(arrays, "unreliable" if any(score.unreliable for score in outcome.scores) else "")
    statuses = dict.fromkeys(outcome.status for outcome in row.outcomes.values())
    return Panel(None, ", ".join("no arrays" if status == "ok" else status for status in statuses) or "not run")


def _drawn(panels: Mapping[str, Mapping[str, Panel]], labels: Sequence[str]) -> Figure:
    """Return the figure of data set -> label -> panel, with a column for each of `labels`."""
    from matplotlib.figure import Figure

    columns, rows = 1 + len(labels), 2 * len(panels)
    figure = Figure(figsize=(INCHES * columns + 0.3, INCHES * rows + 0.9), layout="constrained")
    figure.supxlabel(
        "Samples above densities, both of the lowest seed. A strategy's samples are those of its own sampler; its"
        " density is by quadrature on one grid of z, with dots where the decoder's noise is finer."
        " Shades are those of the data.",
        fontsize=6,
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], aspect="equal")
    for axis, label in zip(axes[0], ["data", *labels], strict=True):
        axis.set_title(_broken(label), fontsize=7)
    for pair, (dataset, shown) in zip(axes.reshape(-1, 2, columns), panels.items(), strict=True):
        data = next(each.arrays for each in shown.values() if each.arrays)
        brightest = float(np.exp(data["density_data"]).max())
        pair[0, 0].set_ylabel(dataset, fontsize=8)
        _draw(pair[:, 0], data["points_data"], data["density_data"], float(data["window"]), brightest)
        for both, label in zip(pair.T[1:], labels, strict=True):
            each = shown.get(label, Panel(None, "not run"))
            if each.arrays:
                points, density = each.arrays["points_sampler"], each.arrays["density_model"]
                _draw(both, points, density, float(data["window"]), brightest)
                both[1].text(0.5, 0.02, each.words, transform=both[1].transAxes, ha="center", va="bottom", fontsize=6)
                continue
            for axis in both:
                axis.set_facecolor("0.93")
                axis.text(0.5, 0.5, each.words, transform=axis.transAxes, ha="center", va="center", fontsize=6)
    return figure


def _draw(both: np.ndarray, points: np.ndarray, density: np.ndarray, window: float, brightest: float) -> None:
    """Draw points `(n, 2)` into the first of two axes, and a log density, first axis x1, into the second."""
    import seaborn

    extent = (-window, window, -window, window)
    # many dots as an image: a PDF of them all would be slow to show
    both[0].scatter(points[:, 0], points[:, 1], s=0.4, linewidths=0, color="0.15", rasterized=True)
    both[0].set(xlim=extent[:2], ylim=extent[2:])
    shades = seaborn.color_palette("mako_r", as_cmap=True)
    both[1].imshow(np.exp(density).T, origin="lower", extent=extent, cmap=shades, vmin=0, vmax=brightest)


def _broken(label: str) -> str:
    """Return a strategy's label on several lines, so that it is no wider than a panel."""
    return label.replace("[", "\n[").replace("=", "=\n").replace("-", "-\n")
