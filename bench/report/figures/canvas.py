"""What the figures of a report share: how a verdict looks, where labels stand, and how far an axis goes.

A verdict has a colour and a marker of its own, so that a figure reads the same in grey and to the colour-blind. What a
mark stands for is written beside it. What lies far beyond the rest stands at the edge as an arrow, and is said.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np

from bench import words
from bench.report.rows import Row
from bench.sweep.record import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DOTS = 160  # an inch
INK, MUTED, FAINT = "#222222", "#666666", "#c8c8c8"
BLUE, VERMILION = "#0072b2", "#d55e00"  # of Okabe and Ito's palette
TEXT = 8  # points
_FAR = 10  # times the median distance from the middle: what is farther is an outlier
MOST = 24  # panels of a figure
_BESIDE = 34  # signs of a line of a label beside a point or the end of a line
_LINE = 0.145  # inches of a line of a caption

#: of a chart, a page may turn light into dark; of a picture it may not
Kind = Literal["chart", "picture"]


@dataclass(frozen=True)
class Drawing:
    """A figure with its words.

    Attributes:
        stem: of the files' names.
        table: the data set that it belongs to; empty where it shows several.
        title: what it shows.
        caption: how it is read, and what is not in it.
        figure: the figure; the caption stands in its lowest `strip` inches.
        heading: the title in it.
        kind: whether it is drawn in ink on white, or of pictures.
        strip: height of the caption, inches.
    """

    stem: str
    table: str
    title: str
    caption: str
    figure: Figure
    heading: Text
    kind: Kind
    strip: float

    @property
    def head(self) -> float:
        """The height down to which the title reaches, pixels; once it is drawn."""
        return float(self.figure.bbox.height - self.heading.get_window_extent().y0)


_Shown = TypeVar("_Shown")
_Box = Sequence[float]  # left, low, right, top


class Look(NamedTuple):
    """How a row is drawn: colour, marker, and whether the marker is filled."""

    colour: str
    marker: str
    filled: bool

    @property
    def marks(self) -> dict[str, Any]:
        """Matplotlib's keywords of its marker."""
        return {
            "marker": self.marker,
            "markerfacecolor": self.colour if self.filled else "white",
            "markeredgecolor": self.colour,
        }


_LOOKS = {
    "baseline": Look(INK, "D", True),
    "better": Look(BLUE, "^", True),
    "worse": Look(VERMILION, "v", True),
    "same": Look(MUTED, "s", True),
}
MARKS = (
    "diamond: baseline; triangle up, blue: better; triangle down, orange: worse; square: same; circle: undecided or no"
    " verdict"
)


def first(drawn: Mapping[str, _Shown]) -> tuple[dict[str, _Shown], str]:
    """Return the first rows, as many as a figure with a panel for each can hold, and a sentence on those left out."""
    kept = dict(list(drawn.items())[:MOST])
    return kept, f"The first {MOST} of {len(drawn)} rows." if len(drawn) > MOST else ""


def look(row: Row) -> Look:
    """Return how a row is drawn: by its verdict."""
    return _LOOKS.get(row.verdict.kind if row.verdict else "", Look(MUTED, "o", False))


class Undrawable(Exception):
    """Nothing can be drawn here; the message says why."""


@contextmanager
def style() -> Iterator[None]:
    """Draw in one style, whatever the user's is; a `$` in a name is no mathematics.

    Raises:
        Undrawable: matplotlib cannot be loaded.
    """
    try:
        import matplotlib
    except Exception as error:  # it reads MPLBACKEND and a matplotlibrc, and what is wrong in them raises anything
        raise Undrawable(f"matplotlib cannot be loaded: {one_line(str(error))}") from error
    ticks = {"color": ".15", "labelsize": TEXT - 1, "major.size": 4.8, "major.width": 1, "minor.size": 3.2}
    own: Any = {
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": TEXT,
        "axes.titlesize": TEXT,
        "axes.labelsize": TEXT,
        "axes.labelcolor": ".15",
        "axes.axisbelow": True,
        "axes.linewidth": 1,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        **{f"{axis}tick.{name}": value for axis in "xy" for name, value in ticks.items()},
        "lines.linewidth": 1.2,
        "lines.markersize": 4.8,
        "lines.solid_capstyle": "round",
        "patch.edgecolor": "w",
        "patch.force_edgecolor": True,
        "patch.linewidth": 0.8,
        "legend.fontsize": 8.8,
        "text.color": INK,
        "text.parse_math": False,
        "svg.hashsalt": "bench",
    }
    # names may be in any script; a missing sign is drawn as a box
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(own)
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def finished(
    figure: Figure, stem: str, table: str, title: str, sentences: Sequence[str], kind: Kind = "chart"
) -> Drawing:
    """Put title and caption onto a figure whose axes are drawn, as wide as it is, and return both."""
    caption = " ".join(sentence for sentence in sentences if sentence)
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, max(40, int(width * 17.5)))
    strip = _LINE * (len(lines) + 1)
    figure.set_size_inches(width, height + strip)
    heading = figure.suptitle(title, fontsize=TEXT + 1, fontweight="bold", x=0.02, ha="left")
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, strip / (height + strip), 1, height / (height + strip)))  # type: ignore[call-arg]
    for number, line in enumerate(lines):
        y = (strip - _LINE * (number + 1)) / (height + strip)
        figure.text(0.02, y, line, fontsize=TEXT - 1, color=MUTED, va="center", in_layout=False)
    return Drawing(stem, table, title, caption, figure, heading, kind, strip)


def broken(label: str, width: int = 26) -> str:
    """Return a label on lines of at most so many signs, see `words.lines`."""
    return "\n".join(words.lines(words.plain(label), width))


def reach(lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float]:
    """Return how far an axis goes: over all intervals but those that lie far beyond the others, with a margin.

    Far is ten times the median distance of the intervals' ends from their median.
    """
    ends = np.asarray([*lows, *highs], float)
    ends = ends[np.isfinite(ends)]
    if not len(ends):
        return 0.0, 1.0
    middle = float(np.median(ends))
    distance = np.abs(ends - middle)
    kept = ends[distance <= _FAR * float(np.median(distance))] if np.median(distance) > 0 else ends
    low, high = float(kept.min()), float(kept.max())
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def apart(wanted: Sequence[float], sizes: Sequence[float], low: float, high: float) -> list[float]:
    """Return places as near to the wanted ones as they can be, in their order, where labels do not overlap.

    Args:
        wanted: where the middle of each label would stand by itself.
        sizes: of the labels; less where so many have no room.
        low, high: the ends of the axis.
    """
    order = np.argsort(wanted, kind="stable")
    sorted_sizes = np.asarray(sizes, float)[order]
    offsets = np.append(0.0, np.cumsum((sorted_sizes[1:] + sorted_sizes[:-1]) / 2))[: len(wanted)]
    if len(wanted) and offsets[-1] > high - low:
        offsets *= (high - low) / offsets[-1]
    blocks: list[list[float]] = []  # of neighbours that touch: number, sum of their wanted lowest places
    for offset, index in zip(offsets, order, strict=True):
        blocks.append([1, min(max(float(wanted[index]), low), high) - float(offset)])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][0] > blocks[-1][1] / blocks[-1][0]:
            number, total = blocks.pop()
            blocks[-1] = [blocks[-1][0] + number, blocks[-1][1] + total]
    starts = [total / number for number, total in blocks for _ in range(int(number))]
    places = [0.0] * len(wanted)
    for index, start, offset in zip(order, starts, offsets, strict=True):
        places[index] = min(max(start, low), high - float(offsets[-1])) + float(offset)
    return places


def beside(label: str) -> str:
    """Return a label on the lines that it has beside a point or the end of a line."""
    return broken(label, _BESIDE)


def height_of(label: str) -> float:
    """Return how high a label is beside the end of a line, inches."""
    return 0.135 * (beside(label).count("\n") + 1)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], x: float, inches: float) -> None:
    """Write labels right of an axes, each beside the end of its line, apart from one another, with a thin line to it.

    Args:
        axes: whose limits are set.
        ends: where a line ends (y), its label and its colour.
        x: where the lines end.
        inches: the height of the axes.
    """
    low, high = axes.get_ylim()
    sizes = [(high - low) * height_of(label) / inches for _, label, _ in ends]
    places = apart([y for y, *_ in ends], sizes, low, high)
    transform = axes.get_yaxis_transform()
    for (y, label, colour), place in zip(ends, places, strict=True):
        shown = min(max(y, low), high)
        axes.annotate(
            beside(label), (x, shown), (1.05, place),
            textcoords=transform, fontsize=TEXT - 1, color=colour, va="center",
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 1,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def label_points(
    axes: Axes, points: Sequence[tuple[float, float, str, str]], bars: Sequence[_Box], figure: Figure
) -> None:
    """Write labels beside points `(x, y, label, colour)`, each where it covers least of points, bars and other labels.

    Args:
        axes: whose limits are set.
        points: with their labels.
        bars: from (x, y) to (x, y), the error bars of the points.
        figure: of the axes.
    """
    figure.draw_without_rendering()
    bounds = axes.get_window_extent()
    dots = axes.transData.transform([(x, y) for x, y, *_ in points])
    size = figure.dpi * TEXT / 72
    taken = [(px - size / 2, py - size / 2, px + size / 2, py + size / 2) for px, py in dots]
    for x0, y0, x1, y1 in bars:
        (left, low), (right, top) = axes.transData.transform([(x0, y0), (x1, y1)])
        taken.append((left - 1, min(low, top) - 1, right + 1, max(low, top) + 1))
    for (x, y, label, colour), (px, py) in zip(points, dots, strict=True):
        text = beside(label)
        lines = text.split("\n")
        width, height = 0.56 * size * max(map(len, lines)), 1.15 * size * len(lines)
        places = []
        for away in (0.7, 1.4, 2.2, 3.2, 4.4, 6.0, 8.0):
            for dx, dy in ((1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1)):
                left = px + dx * away * size - (width if dx < 0 else width / 2 if dx == 0 else 0)
                low = py + dy * away * size - height / 2
                box = (left, low, left + width, low + height)
                cost = sum(_shared(box, other) for other in taken) + 4 * _outside(box, bounds.extents)
                places.append((cost + 0.05 * away * size * height, box))
        _, box = min(places, key=lambda place: place[0])
        taken.append(box)
        place = axes.transData.inverted().transform((box[0], (box[1] + box[3]) / 2))
        near = abs((box[1] + box[3]) / 2 - py) < 1.2 * size and (abs(box[0] - px) < 1.2 * size)
        line = (
            None
            if near
            else {
                "arrowstyle": "-",
                "color": FAINT,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0 if box[0] > px else 1, 0.5),
            }
        )
        axes.annotate(
            text, (x, y), tuple(place), fontsize=TEXT - 1, color=colour, va="center", ha="left", arrowprops=line
        )


def _shared(one: _Box, other: _Box) -> float:
    """Return the area that two boxes share, pixels squared."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _outside(box: _Box, bounds: _Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) - _shared(box, bounds)


def plain(value: float) -> str:
    """Return a number for a tick of a logarithmic axis."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.4g}"


def logarithmic(axes: Axes, *, fine: bool = True) -> None:
    """Make the horizontal axis logarithmic, with plain numbers on its ticks: at 1, 2 and 5, or at powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if fine else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def spans(values: Sequence[float]) -> bool:
    """Tell whether positive values are so far apart that a logarithmic axis is the better one."""
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) > 0 and max(positive) / min(positive) > 5
