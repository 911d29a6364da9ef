"""The figures of a report, made from records and what lies beside them alone, as PNG and PDF.

Matplotlib draws without a screen and without its global state. `canvas` holds what the figures share; each other file
is a family of them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.files import replacing
from bench.report.figures import canvas, comparisons, estimates, images, planes, training
from bench.report.figures.canvas import DOTS, Drawing, Kind, Undrawable
from bench.report.sources import Source
from bench.report.tables import Table

Pairs = Sequence[tuple[Table, Source]]  # tables, one a data set, with where their records come from
_COLOURS = 128  # of a picture in a page
_INCH = 122  # pixels of a page, so that the text of a figure is as large as a table's


@dataclass(frozen=True)
class Shown:
    """A figure as a page shows it.

    Attributes:
        stem: short, to tell it from the others.
        table: the data set that it belongs to; empty where it shows several.
        title, caption: its words.
        kind: of a chart, a page may turn light into dark.
        size: width and height as it is shown, pixels of a page.
        png: the picture, without title and caption.
    """

    stem: str
    table: str
    title: str
    caption: str
    kind: Kind
    size: tuple[int, int]
    png: bytes

    @property
    def address(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def drawings(pairs: Pairs) -> Iterator[Drawing]:
    """Give the figures that records make, those first that say which strategy to use."""
    for table, source in pairs:
        makers: list[Callable[[], Drawing | None]] = [
            partial(comparisons.forest, table),
            partial(comparisons.cost, table),
            partial(training.curves, table, source.curves),
            partial(estimates.log_z, table),
            partial(estimates.over_samples, table, source.arrays),
            partial(images.album, table, source.arrays),
            partial(planes.posteriors, table, source.arrays),
        ]
        yield from (drawing for make in makers if (drawing := make()))
    if pictures := planes.points([(table, source.arrays) for table, source in pairs]):
        yield pictures


def write(pairs: Pairs, out: Path, page: bool) -> tuple[list[str], list[Shown]]:
    """Draw what records have and write it into a folder, as PNG and PDF.

    Args:
        pairs: tables and where their records come from.
        out: the folder.
        page: whether a page shows them, too.

    Raises:
        Undrawable: nothing can be drawn here.

    Returns:
        The names of the files, and the same figures for that page: `differences-DATASET`, `cost-DATASET`,
        `training-DATASET`, `log-z-DATASET`, `nll-curve-DATASET`, `samples-DATASET`, `latents-DATASET`, and `pictures`
        of points in the plane.
    """
    names, shown = [], []
    with canvas.style():
        for drawing in drawings(pairs):
            stem = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in drawing.stem)
            picture = _picture(drawing)
            drawing.figure.set_layout_engine("none")  # it stays as it is laid out by now
            document = io.BytesIO()
            # without a date, so that the same records make the same file
            drawing.figure.savefig(document, format="pdf", dpi=DOTS, metadata={"CreationDate": None})
            for name, content in ((f"{stem}.png", picture.getvalue()), (f"{stem}.pdf", document.getvalue())):
                with replacing(out / name) as file:
                    file.write(content)
                names.append(name)
            shown += [_without_caption(drawing, picture)] if page else []
    return names, shown


def pictures(pairs: Pairs) -> list[Shown]:
    """Draw what records have for a page alone; nothing where that cannot be done, as `write` says."""
    with suppress(Undrawable), canvas.style():
        return [_without_caption(drawing, _picture(drawing)) for drawing in drawings(pairs)]
    return []


def _picture(drawing: Drawing) -> io.BytesIO:
    picture = io.BytesIO()
    drawing.figure.savefig(picture, format="png", dpi=DOTS)
    return picture


def _without_caption(drawing: Drawing, picture: io.BytesIO) -> Shown:
    """Return a figure for a page, which has title and caption as text."""
    from PIL import Image

    with Image.open(picture) as whole:
        width, height = whole.size
        top = round(drawing.head * DOTS / drawing.figure.dpi)
        kept = whole.convert("RGB").crop((0, top, width, height - round(drawing.strip * DOTS)))
        content = io.BytesIO()
        kept.quantize(_COLOURS).save(content, format="png", optimize=True)
    across, down = (round(pixels * _INCH / DOTS) for pixels in kept.size)
    return Shown(
        drawing.stem, drawing.table, drawing.title, drawing.caption, drawing.kind, (across, down), content.getvalue()
    )
