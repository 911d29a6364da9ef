"""The figures of a report, made from records and what lies beside them alone, as PNG and PDF.

Matplotlib draws without a screen and without its global state. `canvas` holds what the figures share; each other file
is a family of them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.files import replacing
from bench.report.arrays import Arrays
from bench.report.figures import canvas, comparisons, estimates, images, planes, training
from bench.report.figures.canvas import DOTS, Drawing, Kind
from bench.report.tables import Table


@dataclass(frozen=True)
class Shown:
    """A figure as a page shows it.

    Attributes:
        table: the data set that it belongs to; empty where it shows several.
        title, caption: its words.
        kind: of a chart, a page may turn light into dark.
        png: the picture, without its caption.
    """

    table: str
    title: str
    caption: str
    kind: Kind
    png: bytes


def drawings(tables: Sequence[Table], arrays: Arrays, curves: pd.DataFrame) -> Iterator[Drawing]:
    """Give the figures that the records of these tables make, those first that say which strategy to use.

    Args:
        tables: one a data set.
        arrays: what lies beside the records.
        curves: the training curves, long.
    """
    for table in tables:
        made = [
            comparisons.forest(table),
            comparisons.cost(table),
            training.curves(table, curves),
            estimates.log_z(table),
            estimates.over_samples(table, arrays),
            images.album(table, arrays),
            planes.posteriors(table, arrays),
        ]
        yield from filter(None, made)
    if pictures := planes.points(tables, arrays):
        yield pictures


def write(
    tables: Sequence[Table], arrays: Arrays, curves: pd.DataFrame, out: Path, shown: list[Shown] | None = None
) -> list[str]:
    """Draw what the records have and write it into a folder; return the names of the files.

    Args:
        tables: one a data set.
        arrays: what lies beside the records.
        curves: the training curves, long.
        out: the folder.
        shown: takes each figure as a page shows it.

    Returns:
        Each as PNG and PDF: `differences-DATASET`, `cost-DATASET`, `training-DATASET`, `log-z-DATASET`,
        `nll-curve-DATASET`, `samples-DATASET`, `latents-DATASET`, and `pictures` of points in the plane.
    """
    names = []
    with canvas.style():
        for drawing in drawings(tables, arrays, curves):
            stem = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in drawing.stem)
            picture = io.BytesIO()
            drawing.figure.savefig(picture, format="png", dpi=DOTS)
            drawing.figure.set_layout_engine("none")  # it stays as it is laid out now
            with replacing(out / f"{stem}.png") as file:
                file.write(picture.getvalue())
            with replacing(out / f"{stem}.pdf") as file:
                # without a date, so that the same records make the same file
                drawing.figure.savefig(file, format="pdf", dpi=DOTS, metadata={"CreationDate": None})
            names += [f"{stem}.png", f"{stem}.pdf"]
            if shown is not None:
                shown.append(_without_caption(drawing, picture))
    return names


def _without_caption(drawing: Drawing, picture: io.BytesIO) -> Shown:
    """Return a figure for a page, which has the caption as text."""
    from PIL import Image

    with Image.open(picture) as whole:
        width, height = whole.size
        kept = whole.convert("RGB").crop((0, 0, width, height - round(drawing.strip * DOTS)))
        small = kept.quantize(128)
        content = io.BytesIO()
        small.save(content, format="png", optimize=True)
    return Shown(drawing.table, drawing.title, drawing.caption, drawing.kind, content.getvalue())
