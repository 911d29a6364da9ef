"""Sheets of images drawn from each strategy's prior by its samplers, as in the paper's Figure 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.report.arrays import starting
from bench.report.drawing import save
from bench.report.rows import Row
from bench.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFIX = "samples_"
TILES = 8  # images along a side of a sheet
INCHES = 2.7  # a sheet's side
_COLUMNS = 4  # sheets side by side
_GAP = 1  # pixels between images


@dataclass(frozen=True)
class Sheet:
    """Images of one strategy by one sampler: whose, and the picture `(height, width, 3)`, 0 .. 1."""

    label: str
    sampler: str
    picture: np.ndarray


def write(tables: Sequence[Table], stores: Sequence[Path], out: Path) -> list[str]:
    """Draw `samples-DATASET.png` for each data set of images; return their names.

    A strategy's sheets are of the lowest seed that left samples, one for each of its samplers of z. Shown is the mean
    of p(x|z), not a draw.

    Args:
        tables: one a data set.
        stores: folders of run stores, where the arrays are.
        out: the folder to write into.
    """
    names: list[str] = []
    for table in tables:
        found = [sheet for row in table.rows for sheet in sheets(row, stores)]
        if found:
            names += save(_drawn(found), out, f"samples-{table.name}", ["png"])
    return names


def sheets(row: Row, stores: Sequence[Path]) -> list[Sheet]:
    """Return the sheets of a row of a table; none where no record has images beside it."""
    for outcome in row.outcomes.values():
        if outcome.status == "ok":
            arrays = starting(outcome, stores, PREFIX)
            found = {name: array for name, array in arrays.items() if _colours(array) is not None}
            if found:
                return [Sheet(row.label, name.removeprefix(PREFIX), tiled(array)) for name, array in found.items()]
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


def _drawn(found: Sequence[Sheet]) -> Figure:
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(found))
    rows = math.ceil(len(found) / columns)
    figure = Figure(figsize=(INCHES * columns, (INCHES + 0.35) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, sheet in zip(axes.flat, found, strict=False):
        axis.imshow(sheet.picture, interpolation="nearest")
        axis.set_title(f"{sheet.label}\nby {sheet.sampler}", fontsize=7)
    return figure
