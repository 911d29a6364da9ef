"""Pictures of images: test items, their reconstructions, and what each strategy's samplers draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.report.arrays import Arrays
from bench.report.figures import canvas
from bench.report.figures.canvas import MUTED, TEXT, Drawing
from bench.report.rows import Row
from bench.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ITEMS, RECONSTRUCTIONS, SAMPLES = "items", "reconstructions", "samples_"
ACROSS, DOWN = 8, 2  # images of a sheet
_SHEET = 2.35  # inches across
_GAP = 1  # pixels between images


class Images(NamedTuple):
    """What a row has of images: test items with their reconstructions, if any, and sampler -> samples."""

    items: np.ndarray | None
    reconstructions: np.ndarray | None
    samples: Mapping[str, np.ndarray]


def images(row: Row, arrays: Arrays) -> Images | None:
    """Return the images of a row, of the lowest seed that left samples; None where no record has any beside it."""
    for outcome in row.outcomes.values():
        own = arrays.of(outcome, prefix=SAMPLES) if outcome.status == "ok" else {}
        samples = {name.removeprefix(SAMPLES): array for name, array in own.items() if planes(array) is not None}
        if samples:
            both = arrays.of(outcome, (ITEMS, RECONSTRUCTIONS))
            shown = both if both and all(planes(array) is not None for array in both.values()) else {}
            return Images(shown.get(ITEMS), shown.get(RECONSTRUCTIONS), samples)
    return None


def album(table: Table, arrays: Arrays) -> Drawing | None:
    """Return the sheets of a table: data in the first line, then a line for each strategy; None without images."""
    from matplotlib.figure import Figure

    rows = {row.label: own for row in table.rows if (own := images(row, arrays))}
    if not rows:
        return None
    absent = [row.label for row in table.rows if row.outcomes and row.label not in rows]
    rows, few = canvas.first(rows)
    data = next((own.items for own in rows.values() if own.items is not None), None)
    samplers = list(dict.fromkeys(name for own in rows.values() for name in own.samples))
    headings = ([] if data is None else ["reconstructions"]) + [f"samples by {name}" for name in samplers]
    lines = len(rows) + (data is not None)
    tall = _SHEET * _ratio(next(iter(next(iter(rows.values())).samples.values()))) + 0.16
    figure = Figure(figsize=(max(5.0, 1.6 + _SHEET * len(headings)), tall * lines + 0.6), layout="constrained")
    grid = figure.subplots(lines, len(headings), squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_frame_on(False)
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading, fontsize=TEXT)
    content: list[tuple[str, list[np.ndarray | None]]] = []
    if data is not None:
        count = ACROSS * DOWN
        others = [data[count * number : count * (number + 1)] for number in range(len(headings))]
        grid[0, 0].set_title("test items; below, their reconstructions", fontsize=TEXT)
        content.append(("data", [*others]))
    for label, own in rows.items():
        first = [] if data is None else [own.reconstructions]
        content.append((label, [*first, *(own.samples.get(name) for name in samplers)]))
    for axes_row, (label, sheets) in zip(grid, content, strict=True):
        words = canvas.broken(label, 20)
        axes_row[0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=TEXT - 1)
        for axes, sheet in zip(axes_row, sheets, strict=True):
            _show(axes, sheet)
    sentences = [
        "Of the lowest seed that has them. Shown is the mean of p(x|z), not a draw.",
        "The first line is data, for samples to be compared with." if data is not None else "",
        "Its records are of an earlier version and hold no test items and no reconstructions." if data is None else "",
        few,
        f"No images: {', '.join(absent)}." if absent else "",
    ]
    title = f"{table.name}: samples" + (" beside data and reconstructions" if data is not None else "")
    return canvas.finished(figure, f"samples-{table.name}", table.name, title, sentences, "picture")


def _show(axes: Axes, sheet: np.ndarray | None) -> None:
    if sheet is None or not len(sheet):
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", fontsize=TEXT - 1, color=MUTED)
        return
    axes.imshow(tiled(sheet), interpolation="nearest")


def _ratio(images: np.ndarray) -> float:
    height, width, _ = tiled(images).shape
    return float(height / width)


def tiled(images: np.ndarray) -> np.ndarray:
    """Return a sheet of images `(n, H, W)` or `(n, planes, H, W)` with 1 or 3 planes, as `(height, width, 3)`.

    The first 16 are shown, the first eight in the first line; what is missing is white.
    """
    shown = planes(images[: ACROSS * DOWN])
    assert shown is not None, "only such images are shown"
    n, _, height, width = shown.shape
    down = -(-n // ACROSS)
    sheet = np.ones((down * (height + _GAP) - _GAP, ACROSS * (width + _GAP) - _GAP, 3))
    for index, image in enumerate(shown):
        top, left = index // ACROSS * (height + _GAP), index % ACROSS * (width + _GAP)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet.clip(0, 1)


def planes(images: np.ndarray) -> np.ndarray | None:
    """Return images as `(n, planes, H, W)`, or None where they are no images."""
    shown = images[:, None] if images.ndim == 3 else images
    return shown if shown.ndim == 4 and shown.shape[1] in (1, 3) and len(shown) else None
