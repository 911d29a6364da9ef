"""The picture of how the importance-weighted NLL falls with the number of samples: it has converged nowhere."""

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

ARRAYS = ("nll_curve_samples", "nll_curve_values")
NAME = "nll-curve"
INCHES = (3.6, 3.0)  # a panel
_LEAST = 2  # points that a curve needs


@dataclass(frozen=True)
class Curve:
    """The NLL of a row of a table with each number of samples: mean over the seeds that have it, nats.

    It is `unreliable` where that of a seed is.
    """

    samples: np.ndarray
    values: np.ndarray
    unreliable: bool


def write(tables: Sequence[Table], stores: Sequence[Path], out: Path) -> list[str]:
    """Draw the NLL against S into `nll-curve.png` and `nll-curve.pdf`, a panel a data set; return their names.

    Args:
        tables: one a data set.
        stores: folders of run stores, where the arrays are.
        out: the folder to write into.

    Returns:
        Nothing where no record has such a curve.
    """
    every = {table.name: curves(table.rows, stores) for table in tables}
    panels = {name: found for name, found in every.items() if found}
    if not panels:
        return []
    return save(_drawn(panels), out, NAME)


def curves(rows: Sequence[Row], stores: Sequence[Path]) -> dict[str, Curve]:
    """Return label -> curve of the rows that have one; seeds with other numbers of samples than the first are left."""
    found = {}
    for row in rows:
        outcomes = [outcome for outcome in row.outcomes.values() if outcome.status == "ok"]
        arrays = [each for outcome in outcomes if (each := beside(outcome, stores, ARRAYS))]
        alike = [each for each in arrays if np.array_equal(each[ARRAYS[0]], arrays[0][ARRAYS[0]])]
        if alike and len(alike[0][ARRAYS[0]]) >= _LEAST:
            values = np.mean([each[ARRAYS[1]] for each in alike], 0)
            found[row.label] = Curve(alike[0][ARRAYS[0]], values, row.unreliable("nll"))
    return found


def _drawn(panels: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Return the figure of data set -> label -> curve; a label has the same colour in every panel."""
    import seaborn
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(label for found in panels.values() for label in found))
    colours = dict(zip(labels, seaborn.color_palette("husl", len(labels)), strict=True))
    width, height = INCHES
    figure = Figure(figsize=(width * len(panels) + 2.2, height), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, found) in zip(axes, panels.items(), strict=True):
        for label, curve in found.items():
            style = "dotted" if curve.unreliable else "solid"
            axis.plot(
                curve.samples, curve.values, "o", linestyle=style, markersize=2, linewidth=0.8, color=colours[label]
            )
        axis.set(xscale="log", xlabel="samples S", title=name)
    axes[0].set_ylabel("NLL, nats")
    handles = [axes[0].plot([], [], color=colours[label], label=label)[0] for label in labels]
    if any(curve.unreliable for found in panels.values() for curve in found.values()):
        handles += axes[0].plot([], [], color="black", linestyle="dotted", label="dotted: unreliable")
    figure.legend(handles=handles, loc="outside right upper", fontsize=6, frameon=False)
    return figure
