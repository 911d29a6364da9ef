"""Pictures in the plane: samples and densities of points, and the aggregate posterior beside the prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench import words
from bench.report.arrays import Arrays
from bench.report.figures import canvas
from bench.report.figures.canvas import INK, MUTED, TEXT, Drawing
from bench.report.metrics import EXACT
from bench.report.rows import Row
from bench.report.tables import Table

# ---------------------------------------------------------------- samples and densities of points

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
            doubted = any(score.unreliable for score in outcome.scores if score.metric in EXACT)  # of the density shown
            return Panel(own, "unreliable" if doubted else "")
    statuses = dict.fromkeys(outcome.status for outcome in row.outcomes.values())
    return Panel({}, ", ".join("no arrays" if status == "ok" else status for status in statuses) or "not run")


def points(pairs: Sequence[tuple[Table, Arrays]]) -> Drawing | None:
    """Return the figure of all data sets of points, as in the paper's Table 1; None where there are no such arrays.

    Each data set has two rows, samples above densities; the first column is the data, the others a strategy each
    that ran, by the record of the lowest seed that came to scores. The shades of a row are those of the data's density.
    """
    from matplotlib.figure import Figure

    panels = {table.name: {row.label: panel(row, arrays) for row in table.rows} for table, arrays in pairs}
    panels = {name: row for name, row in panels.items() if any(shown.arrays for shown in row.values())}
    if not panels:
        return None
    ran = {row.label for table, _ in pairs for row in table.rows if row.outcomes}
    labels = [label for label in dict.fromkeys(label for row in panels.values() for label in row) if label in ran]
    columns, rows = 1 + len(labels), 2 * len(panels)
    figure = Figure(figsize=(INCHES * columns + 0.3, INCHES * rows + 0.9), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], aspect="equal")
        for spine in axes.spines.values():
            spine.set_visible(True)
    for axes, label in zip(grid[0], ["data", *labels], strict=True):
        axes.set_title(canvas.broken(label, 13), fontsize=TEXT - 1)
    for pair, (dataset, row) in zip(grid.reshape(-1, 2, columns), panels.items(), strict=True):
        data = next(panel.arrays for panel in row.values() if panel.arrays)
        window, brightest = float(data["window"]), float(np.exp(data["density_data"]).max())
        pair[0, 0].set_ylabel(words.plain(dataset), fontsize=TEXT)
        _draw(pair[:, 0], data["points_data"], data["density_data"], window, brightest)
        for both, label in zip(pair.T[1:], labels, strict=True):
            shown = row.get(label, Panel({}, "not run"))
            if shown.arrays:
                _draw(both, shown.arrays["points_sampler"], shown.arrays.get(DENSITY), window, brightest)
                said = shown.words if DENSITY in shown.arrays else "no density"
                both[1].text(0.5, 0.02, said, transform=both[1].transAxes, ha="center", va="bottom", fontsize=6)
                continue
            for axes in both:
                axes.set_facecolor("0.93")
                axes.text(0.5, 0.5, shown.words, transform=axes.transAxes, ha="center", va="center", fontsize=6)
    sentences = [
        "Samples above densities, both of the lowest seed. A strategy's samples are those of its own sampler;",
        "its density is by quadrature on one grid of z, with dots where the decoder's noise is finer.",
        "The darker, the denser; shades are those of the data.",
    ]
    title = "Samples and densities"
    return canvas.finished(figure, "pictures", "", title, sentences, "picture")


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


# ---------------------------------------------------------------- the aggregate posterior beside the prior

POSTERIOR, LATENTS, SHARE = "latents_posterior", "latents_", "latents_share"
_EDGE = 0.5  # per cent of the points of the posterior on either side that need not be within the axes
_COLUMNS = 6  # strategies side by side


def latents(row: Row, arrays: Arrays) -> dict[str, np.ndarray]:
    """Return latents in a plane, by whose they are, of the lowest seed that has them; the posterior's come first."""
    for outcome in row.outcomes.values():
        own = arrays.of(outcome, (POSTERIOR, SHARE)) if outcome.status == "ok" else {}
        if not own:
            continue
        clouds = {
            name: array
            for name, array in arrays.of(outcome, prefix=LATENTS).items()
            if name != SHARE and array.ndim == 2 and array.shape[1] == 2
        }
        if POSTERIOR in clouds and len(clouds) > 1:
            return {POSTERIOR: clouds.pop(POSTERIOR), **clouds, SHARE: own[SHARE]}
    return {}


def posteriors(table: Table, arrays: Arrays) -> Drawing | None:
    """Return the figure of the aggregate posterior beside the prior, a column for each strategy, as in Figure 3."""
    from matplotlib.figure import Figure

    rows = {row.label: own for row in table.rows if (own := latents(row, arrays))}
    if not rows:
        return None
    absent = [row.label for row in table.rows if row.outcomes and row.label not in rows]
    rows, few = canvas.first(rows)
    samplers = list(dict.fromkeys(name for own in rows.values() for name in own if name not in (POSTERIOR, SHARE)))
    bands = -(-len(rows) // _COLUMNS)
    columns = -(-len(rows) // bands)  # of seven, four and three, not six and one
    high = 1 + len(samplers)
    width, height = INCHES * columns + 1.0, (INCHES * high + 0.55) * bands + 0.4
    figure = Figure(figsize=(max(width, 4.5), height), layout="constrained")
    grid = figure.subplots(bands * high, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    for place, (label, own) in enumerate(rows.items()):
        band, column = divmod(place, columns)
        low, high_ = (np.percentile(own[POSTERIOR], end, axis=0) for end in (_EDGE, 100 - _EDGE))
        centre, half = (low + high_) / 2, 0.62 * float((high_ - low).max())
        for line, name in enumerate([POSTERIOR, *samplers]):
            axes = grid[band * high + line, column]
            axes.set_axis_on()
            axes.set_aspect("equal")
            for spine in axes.spines.values():
                spine.set_visible(True)
            axes.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half))
            if column == 0:
                title = "q(z)" if name == POSTERIOR else name.removeprefix(LATENTS)
                axes.set_ylabel(title, fontsize=TEXT - 1)
            if line == 0:
                axes.set_title(
                    f"{canvas.broken(label, 16)}\n{float(own[SHARE]):.0%} of the variance", fontsize=TEXT - 2
                )
            if name in own:
                colour = INK if name == POSTERIOR else canvas.BLUE
                axes.scatter(*own[name].T, s=1.4, linewidths=0, color=colour, alpha=0.6, rasterized=True)
            else:
                axes.set_facecolor("0.93")
                axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", fontsize=6, color=MUTED)
    sentences = [
        "1,000 latents of the lowest seed: of the aggregate posterior q(z), and drawn from the prior by each sampler.",
        "Each strategy has the plane in which its own q(z) varies most; above it stands that plane's share of the"
        " variance. The two clouds are alike where the prior has learned q(z).",
        few,
        f"No latents were kept: {', '.join(absent)}." if absent else "",
    ]
    title = f"{table.name}: aggregate posterior beside the prior"
    return canvas.finished(figure, f"latents-{table.name}", table.name, title, sentences)
