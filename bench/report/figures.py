"""The pictures of a report: samples and densities in the plane, curves of the NLL, sheets of sampled images.

They are made from the arrays beside the records alone. Matplotlib draws without a screen and without its global state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.files import replacing
from bench.report.arrays import Arrays
from bench.report.rows import Row
from bench.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 200  # an inch


def write(tables: Sequence[Table], arrays: Arrays, out: Path) -> list[str]:
    """Draw what the records left arrays of; return the names of the files.

    Args:
        tables: one a data set.
        arrays: what lies beside the records.
        out: the folder to write into.

    Returns:
        `pictures.png` and `pictures.pdf`: samples and densities of a grid on points in the plane, as in the paper's
        Table 1; `nll-curve.png` and `nll-curve.pdf`: the NLL against the number of samples; `samples-DATASET.png`:
        images drawn from each strategy's prior by its samplers, as in the paper's Figure 2.
    """
    names = []
    panels = {table.name: {row.label: panel(row, arrays) for row in table.rows} for table in tables}
    panels = {name: row for name, row in panels.items() if any(shown.arrays for shown in row.values())}
    if panels:
        names += _save(_planes(panels), out, "pictures", "png", "pdf")
    lines = {table.name: curves(table.rows, arrays) for table in tables}
    lines = {name: line for name, line in lines.items() if line}
    if lines:
        names += _save(_lines(lines), out, "nll-curve", "png", "pdf")
    for table in tables:
        if pictures := [sheet for row in table.rows for sheet in sheets(row, arrays)]:
            names += _save(_album(pictures), out, f"samples-{table.name}", "png")
    return names


def _save(figure: Figure, out: Path, stem: str, *endings: str) -> list[str]:
    """Write a figure into a folder, whole or not at all, once for each ending; return the files' names."""
    for ending in endings:
        with replacing(out / f"{stem}.{ending}") as file:
            # without a date, so that the same records make the same file
            metadata = {"CreationDate": None} if ending == "pdf" else None
            figure.savefig(file, format=ending, dpi=DOTS, metadata=metadata)
    return [f"{stem}.{ending}" for ending in endings]


# ---------------------------------------------------------------- samples and densities in the plane

ARRAYS = ("points_data", "points_sampler", "density_data", "density_model", "window")
DENSITY = "density_model"  # which a prior without a density leaves out
INCHES = 1.1  # a panel's side


class Panel(NamedTuple):
    """What stands for a strategy on one data set: a record's arrays, or in words why there are none or are in doubt."""

    arrays: Mapping[str, np.ndarray]
    words: str = ""


def panel(row: Row, arrays: Arrays) -> Panel:
    """Return what shows a row of a table: the arrays of its lowest seed that has any."""
    for outcome in row.outcomes.values():
        wanted = [name for name in ARRAYS if not (outcome.sampled and name == DENSITY)]
        if outcome.status == "ok" and (own := arrays.of(outcome, wanted)):
            return Panel(own, "unreliable" if any(score.unreliable for score in outcome.scores) else "")
    statuses = dict.fromkeys(outcome.status for outcome in row.outcomes.values())
    return Panel({}, ", ".join("no arrays" if status == "ok" else status for status in statuses) or "not run")


def _planes(panels: Mapping[str, Mapping[str, Panel]]) -> Figure:
    """Return the figure of data set -> label -> panel.

    Each data set has two rows, samples above densities; the first column is the data, the others a strategy each, by
    the record of the lowest seed that came to scores. The shades of a row are those of the data's density.
    """
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(label for row in panels.values() for label in row))
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
        # on several lines, so that a label is no wider than a panel
        axis.set_title(label.replace("[", "\n[").replace("=", "=\n").replace("-", "-\n"), fontsize=7)
    for pair, (dataset, row) in zip(axes.reshape(-1, 2, columns), panels.items(), strict=True):
        data = next(panel.arrays for panel in row.values() if panel.arrays)
        window, brightest = float(data["window"]), float(np.exp(data["density_data"]).max())
        pair[0, 0].set_ylabel(dataset, fontsize=8)
        _draw(pair[:, 0], data["points_data"], data["density_data"], window, brightest)
        for both, label in zip(pair.T[1:], labels, strict=True):
            shown = row.get(label, Panel({}, "not run"))
            if shown.arrays:
                _draw(both, shown.arrays["points_sampler"], shown.arrays.get(DENSITY), window, brightest)
                words = shown.words if DENSITY in shown.arrays else "no density"
                both[1].text(0.5, 0.02, words, transform=both[1].transAxes, ha="center", va="bottom", fontsize=6)
                continue
            for axis in both:
                axis.set_facecolor("0.93")
                axis.text(0.5, 0.5, shown.words, transform=axis.transAxes, ha="center", va="center", fontsize=6)
    return figure


def _draw(both: np.ndarray, points: np.ndarray, density: np.ndarray | None, window: float, brightest: float) -> None:
    """Draw points `(n, 2)` into the first of two axes, and a log density, first axis x1, into the second if any."""
    import seaborn

    extent = (-window, window, -window, window)
    # many dots as an image: a PDF of them all would be slow to show
    both[0].scatter(points[:, 0], points[:, 1], s=0.4, linewidths=0, color="0.15", rasterized=True)
    both[0].set(xlim=extent[:2], ylim=extent[2:])
    if density is None:
        both[1].set_facecolor("0.93")
        return
    shades = seaborn.color_palette("mako_r", as_cmap=True)
    both[1].imshow(np.exp(density).T, origin="lower", extent=extent, cmap=shades, vmin=0, vmax=brightest)


# ---------------------------------------------------------------- the NLL against the number of samples

CURVE = ("nll_curve_samples", "nll_curve_values")
CURVE_INCHES = (3.6, 3.0)  # a panel
_LEAST = 2  # points that a curve needs


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


def _lines(panels: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Return the figure of data set -> label -> curve; a label has the same colour in every panel."""
    import seaborn
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    colours = dict(zip(labels, seaborn.color_palette("husl", len(labels)), strict=True))
    width, height = CURVE_INCHES
    figure = Figure(figsize=(width * len(panels) + 2.2, height), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, lines) in zip(axes, panels.items(), strict=True):
        for label, (samples, values, unreliable) in lines.items():
            style = "dotted" if unreliable else "solid"
            axis.plot(samples, values, "o", linestyle=style, markersize=2, linewidth=0.8, color=colours[label])
        axis.set(xscale="log", xlabel="samples S", title=name)
    axes[0].set_ylabel("NLL, nats")
    handles = [axes[0].plot([], [], color=colours[label], label=label)[0] for label in labels]
    if any(curve.unreliable for lines in panels.values() for curve in lines.values()):
        handles += axes[0].plot([], [], color="black", linestyle="dotted", label="dotted: unreliable")
    figure.legend(handles=handles, loc="outside right upper", fontsize=6, frameon=False)
    return figure


# ---------------------------------------------------------------- sheets of sampled images

PREFIX = "samples_"
TILES = 8  # images along a side of a sheet
SHEET_INCHES = 2.7  # a sheet's side
_COLUMNS = 4  # sheets side by side
_GAP = 1  # pixels between images


class Sheet(NamedTuple):
    """Images of one strategy by one sampler: whose, and the picture `(height, width, 3)`, 0 .. 1."""

    label: str
    sampler: str
    picture: np.ndarray


def sheets(row: Row, arrays: Arrays) -> list[Sheet]:
    """Return the sheets of a row of a table, one for each sampler of z; none where no record has images beside it.

    They are of the lowest seed that left samples. Shown is the mean of p(x|z), not a draw.
    """
    for outcome in row.outcomes.values():
        own = arrays.of(outcome, prefix=PREFIX) if outcome.status == "ok" else {}
        images = {name.removeprefix(PREFIX): array for name, array in own.items() if _colours(array) is not None}
        if images:
            return [Sheet(row.label, sampler, tiled(array)) for sampler, array in images.items()]
    return []


def tiled(images: np.ndarray) -> np.ndarray:
    """Return a square of images `(n, H, W)` or `(n, planes, H, W)` with 1 or 3 planes, as `(height, width, 3)`.

    The first 64 are shown, the first eight in the first line; what is missing is white.
    """
    planes = _colours(images[: TILES**2])
    assert planes is not None, "only such images are shown"
    n, _, height, width = planes.shape
    side = min(TILES, math.ceil(n**0.5))
    tile_height, tile_width = height + _GAP, width + _GAP
    sheet = np.ones((side * tile_height - _GAP, side * tile_width - _GAP, 3))
    for index, image in enumerate(planes):
        top, left = index // side * tile_height, index % side * tile_width
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet.clip(0, 1)


def _colours(images: np.ndarray) -> np.ndarray | None:
    """Return images as `(n, planes, H, W)`, or None where they are no images."""
    planes = images[:, None] if images.ndim == 3 else images
    return planes if planes.ndim == 4 and planes.shape[1] in (1, 3) and len(planes) else None


def _album(pictures: Sequence[Sheet]) -> Figure:
    """Return the figure of sheets, some side by side."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(SHEET_INCHES * columns, (SHEET_INCHES + 0.35) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, sheet in zip(axes.flat, pictures, strict=False):
        axis.imshow(sheet.picture, interpolation="nearest")
        axis.set_title(f"{sheet.label}\nby {sheet.sampler}", fontsize=7)
    return figure
