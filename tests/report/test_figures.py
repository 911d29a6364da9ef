"""Pictures are made from the arrays beside the records, and say what is not there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from bench.protocol import Metric, Score
from bench.report import Records, View, figures, lasting, outputs, published, report, sources
from bench.report.arrays import Arrays
from bench.report.figures import canvas, estimates, images, planes
from bench.report.figures.canvas import DOTS
from tests.report.conftest import items

if TYPE_CHECKING:
    from bench.report.tables import Table
    from tests.report.conftest import Synthetic

pytestmark = pytest.mark.draws
VAMP = "vampprior[components=16]"
KL_DATA, NLL = Metric("kl_data", "nats"), Metric("nll", "nats")
PANELS = planes.INCHES * DOTS


def arrays(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    centres = np.linspace(-3.96, 3.96, 100)
    density = -0.5 * (centres[:, None] ** 2 + centres**2) - np.log(2 * np.pi)
    return {
        "points_data": random.standard_normal((2000, 2)).astype(np.float32),
        "points_model": random.standard_normal((2000, 2)).astype(np.float32),
        "points_sampler": random.standard_normal((2000, 2)).astype(np.float32),
        "density_data": density.astype(np.float32),
        "density_model": density.astype(np.float32),
        "window": np.array(4.0),
    }


def fill(toy: Synthetic) -> None:
    for dataset in ("8-gaussians", "checkerboard"):
        toy.put("normal", 0, 4.0, dataset=dataset, arrays=arrays(0))
    toy.put("vampprior", 1, 4.0, dataset="checkerboard", arrays=arrays(1))
    toy.put("importance-weighted[variance=learned]", 0, dataset="checkerboard", status="diverged")


def test_a_report_of_points_has_pictures(toy: Synthetic) -> None:
    fill(toy)
    text = report(Records(toy.grid))
    assert "pictures.png, pictures.pdf" in text
    folder = toy.folder / "report"
    with Image.open(folder / "pictures.png") as image:
        width, height = image.size
    # two data sets of two rows each; the data and the three strategies that ran; above them labels, below the caption
    assert 4 * PANELS < width < 5 * PANELS
    assert 4 * PANELS < height < 6 * PANELS
    assert (folder / "pictures.pdf").read_bytes().startswith(b"%PDF-")


def test_records_without_such_arrays_have_no_pictures(toy: Synthetic, mnist: Synthetic) -> None:
    toy.put("normal", 0, 4.0, dataset="checkerboard", arrays={"vlb": np.zeros(3)})
    mnist.put("normal", 0, 95.0)
    for store in (toy, mnist):
        report(Records(store.grid, [store.folder]))
        assert not list((store.folder / "report").glob("pictures.*"))


def test_a_panel_is_the_lowest_seed_s_or_says_what_became_of_the_cells(toy: Synthetic) -> None:
    fill(toy)
    toy.put("normal", 1, 4.0, dataset="checkerboard", arrays=arrays(7))
    broken = toy.put("importance-weighted[variance=fixed]", 0, 4.0, dataset="checkerboard", arrays=arrays(2))
    (beside,) = broken.parent.glob("arrays-*.npz")
    beside.write_bytes(b"PK half a file")
    tables = outputs.of_grid(sources.of_grid(Records(toy.grid, [], toy.registry)), published.read())
    board = next(table for table in tables if table.name == "checkerboard")
    panels = {row.label: planes.panel(row, Arrays([Path("elsewhere"), toy.folder])) for row in board.rows}
    for label, seed in (("normal", 0), ("vampprior", 1)):
        assert np.array_equal(panels[label].arrays["points_sampler"], arrays(seed)["points_sampler"])
    words = {label.partition("[")[2]: panel.words for label, panel in panels.items() if not panel.arrays}
    assert words == {"variance=learned]": "diverged", "variance=fixed]": "no arrays"}
    spirals = next(table for table in tables if table.name == "2-spirals")
    assert planes.panel(spirals.rows[0], Arrays([toy.folder])).words == "not run"


def test_a_panel_says_so_where_the_density_that_it_shows_is_unreliable(toy: Synthetic) -> None:
    """The importance-weighted NLL of a model says nothing of its density, which is had in another way."""
    doubts = {"normal": (NLL, "its effective sample size is low"), "vampprior": (KL_DATA, "quadrature differs")}
    for seed, (label, (doubted, doubt)) in enumerate(doubts.items()):
        scores = [
            Score(metric, 3.0, 100, "quadrature", 0.0, 0.1, 3.0, 3.0, doubt if metric is doubted else "")
            for metric in (KL_DATA, NLL)
        ]
        toy.put(label, 0, scores=scores, dataset="checkerboard", arrays=arrays(seed))
    tables = outputs.of_grid(sources.of_grid(Records(toy.grid, [], toy.registry)), published.read())
    board = next(table for table in tables if table.name == "checkerboard")
    words = {row.label: planes.panel(row, Arrays([toy.folder])).words for row in board.rows}
    assert (words["normal"], words["vampprior"]) == ("", "unreliable")


def test_no_global_state_of_matplotlib_is_left(toy: Synthetic) -> None:
    from matplotlib import pyplot

    fill(toy)
    report(Records(toy.grid))
    assert pyplot.get_fignums() == []


# ---------------------------------------------------------------- the NLL against the number of samples

SAMPLES = np.array([1, 10, 100, 1000])


def curve(start: float) -> dict[str, np.ndarray]:
    return {"nll_curve_samples": SAMPLES, "nll_curve_values": start - 2 * np.log10(SAMPLES)}


def test_a_curve_is_the_mean_over_seeds(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, arrays=curve(95.0))
    mnist.put("normal", 1, 96.0, arrays=curve(96.0))
    mnist.put("normal", 2, status="diverged")
    mnist.put("sliced-score-matching", 0, 94.0)
    lines = estimates.curves(mnist.table().rows, Arrays([mnist.folder]))
    assert list(lines) == ["normal"]
    assert lines["normal"].samples.tolist() == SAMPLES.tolist()
    assert lines["normal"].values == pytest.approx([95.5, 93.5, 91.5, 89.5])


def test_a_curve_is_unreliable_where_a_seed_s_nll_is(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, arrays=curve(95.0))
    mnist.put("sliced-score-matching", 0, 94.0, half=0.1, arrays=curve(94.0))
    mnist.put("sliced-score-matching", 1, 94.0, half=0.1, unreliable="two bases differ", arrays=curve(94.0))
    table = mnist.table()
    lines = estimates.curves(table.rows, Arrays([mnist.folder]))
    assert {label: line.unreliable for label, line in lines.items()} == {"normal": False, "sliced-score-matching": True}
    with canvas.style():
        drawing = estimates.over_samples(table, Arrays([mnist.folder]))
    assert drawing is not None
    (axes,) = drawing.figure.axes
    assert [line.get_linestyle() for line in axes.lines] == ["-", ":"]
    assert "Dotted: unreliable." in drawing.caption
    assert {text.get_text() for text in axes.texts} == {"normal", "sliced-score-matching"}, "labels stand beside lines"


def test_the_report_draws_curves(mnist: Synthetic, tmp_path: Path) -> None:
    mnist.put("normal", 0, 95.0, arrays=curve(95.0))
    assert "nll-curve-mnist.png, nll-curve-mnist.pdf" in report(Records("mnist", [mnist.folder]), tmp_path)
    assert (tmp_path / "nll-curve-mnist.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "nll-curve-mnist.pdf").read_bytes().startswith(b"%PDF-")


def test_one_number_of_samples_is_no_curve(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, arrays={name: array[:1] for name, array in curve(95.0).items()})
    assert estimates.over_samples(mnist.table(), Arrays([mnist.folder])) is None


# ---------------------------------------------------------------- sheets of sampled images


def test_eight_images_lie_in_a_line() -> None:
    shown = np.arange(64, dtype=np.float32).reshape(64, 1, 1) / 64 * np.ones((1, 4, 3), np.float32)
    sheet = images.tiled(shown)
    assert sheet.shape == (2 * 5 - 1, 8 * 4 - 1, 3)
    assert np.allclose(sheet[0, ::4, 0], np.arange(8) / 64)
    assert np.allclose(sheet[::5, 0, 0], np.arange(2) / 8)
    assert (sheet[4] == 1).all(), "between lines"


def test_colours_are_planes() -> None:
    shown = np.zeros((4, 3, 2, 2), np.float32)
    shown[1, 0], shown[2, 1], shown[3, 2] = 0.5, 7.0, -1.0
    sheet = images.tiled(shown)
    assert sheet.shape == (2, 8 * 3 - 1, 3)
    assert sheet[0, 0].tolist() == [0, 0, 0]
    assert sheet[0, 4].tolist() == [0.5, 0, 0]
    assert sheet[0, 6].tolist() == [0, 1, 0], "no brighter than white"
    assert sheet[0, 9].tolist() == [0, 0, 0], "no darker than black"
    assert sheet[0, 12].tolist() == [1, 1, 1], "what is missing is white"


def album(table: Table, store: Synthetic) -> canvas.Drawing | None:
    with canvas.style():
        return images.album(table, Arrays([store.folder]))


def test_samples_stand_beside_data_and_reconstructions(mnist: Synthetic) -> None:
    random = np.random.default_rng(0)
    own = {name: random.random((64, 28, 28), dtype=np.float32) for name in ("items", "reconstructions")}
    samples = {f"samples_{name}": random.random((64, 28, 28), dtype=np.float32) for name in ("prior", "langevin-100")}
    mnist.put("normal", 0, 95.0, arrays={"samples_prior": samples["samples_prior"], **own})
    mnist.put("sliced-score-matching", 1, 95.0, arrays={**samples, **own, "samples_of": np.zeros((64, 2), np.float32)})
    drawing = album(mnist.table(), mnist)
    assert drawing is not None
    grid = np.array(drawing.figure.axes).reshape(3, 3)
    assert [axes.get_title() for axes in grid[0]] == [
        "test items; below, their reconstructions", "samples by prior", "samples by langevin-100"
    ]  # fmt: skip
    assert [axes.get_ylabel().replace("\n", "") for axes in grid[:, 0]] == ["data", "normal", "sliced-score-matching"]
    shown = [[np.asarray(axes.images[0].get_array() if axes.images else []) for axes in row] for row in grid]
    assert np.array_equal(shown[0][0], images.tiled(own["items"])), "items above their reconstructions"
    assert np.array_equal(shown[0][1], images.tiled(own["items"][16:])), "other items above samples"
    assert np.array_equal(shown[1][0], images.tiled(own["reconstructions"]))
    assert np.array_equal(shown[2][2], images.tiled(samples["samples_langevin-100"]))
    assert not shown[1][2].size
    assert [text.get_text() for text in grid[1, 2].texts] == ["none"]


def test_records_of_earlier_versions_have_samples_alone_and_say_so(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, arrays={"samples_prior": np.zeros((64, 28, 28), np.float32)})
    mnist.put("sliced-score-matching", 0, 95.0)
    drawing = album(mnist.table(), mnist)
    assert drawing is not None
    assert len(drawing.figure.axes) == 1
    assert "hold no test items and no reconstructions" in drawing.caption
    assert "No images: sliced-score-matching." in drawing.caption


def test_records_without_images_have_no_sheet(toy: Synthetic, mnist: Synthetic) -> None:
    toy.put("normal", 0, 4.0, dataset="checkerboard", arrays={"samples_prior": np.zeros((64, 2), np.float32)})
    mnist.put("normal", 0, 95.0, arrays={"samples_prior": np.zeros((64, 784), np.float32)})
    assert album(toy.table("checkerboard"), toy) is None
    assert album(mnist.table(), mnist) is None


def test_the_same_records_make_the_same_sheets(mnist: Synthetic) -> None:
    shown = np.random.default_rng(0).random((64, 28, 28), dtype=np.float32)
    mnist.put("normal", 0, 95.0, arrays={"samples_prior": shown})
    for out in ("a", "b"):
        report(Records("mnist"), Path(out))
    for name in ("samples-mnist.png", "samples-mnist.pdf"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


# ---------------------------------------------------------------- the aggregate posterior beside the prior


def clouds(seed: int, *samplers: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    names = ("latents_posterior", *(f"latents_{name}" for name in samplers))
    return {name: random.standard_normal((50, 2)).astype(np.float32) for name in names} | {
        "latents_share": np.array(0.25, np.float32)
    }


def test_the_posterior_stands_above_the_prior_in_one_plane(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, arrays=clouds(0, "prior"))
    mnist.put("sliced-score-matching", 0, 95.0, arrays=clouds(1, "prior", "langevin-100"))
    mnist.put("vampprior[components=16]", 0, 95.0)
    with canvas.style():
        drawing = planes.posteriors(mnist.table(), Arrays([mnist.folder]))
    assert drawing is not None
    grid = np.array(drawing.figure.axes).reshape(3, 2)
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["q(z)", "prior", "langevin-100"]
    for name, axes in zip(("latents_posterior", "latents_prior"), grid[:, 0], strict=False):
        assert np.allclose(axes.collections[0].get_offsets(), clouds(0, "prior")[name])
    assert len({axes.get_xlim() for axes in grid[:2, 0]}) == 1, "the same plane, the same scale"
    assert "25% of the variance" in grid[0, 0].get_title()
    assert [text.get_text() for text in grid[2, 0].texts] == ["none"]
    assert "No latents were kept: vampprior[components=16]." in drawing.caption


def test_earlier_records_have_no_latents(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    assert planes.posteriors(mnist.table(), Arrays([mnist.folder])) is None


def test_what_is_of_the_same_records_stays_and_other_files_are_made_anew(
    mnist: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    drawings = figures.drawings

    def counted(pairs: figures.Pairs) -> Iterator[canvas.Drawing]:
        drawn.append(1)
        return itertools.islice(drawings(pairs), 1)  # one is enough

    def anew(view: View | None = None) -> tuple[bool, str]:
        before = len(drawn)
        text = report(Records("mnist", [mnist.folder]), tmp_path, view)
        return len(drawn) > before, text.partition("Written into")[2]

    monkeypatch.setattr(figures, "drawings", counted)
    for seed in range(2):
        mnist.put("normal", seed, 95.0 + seed, arrays={"vlb": items(95.0 + seed, 3.0)})
        mnist.put(VAMP, seed, 90.0 + seed, arrays={"vlb": items(90.0 + seed, 3.0)})
    first = anew()
    assert first == (True, first[1])
    assert "differences-mnist.png" in first[1]
    assert anew() == (False, first[1])
    assert anew(View(baseline=VAMP))[0]
    assert anew()[0]
    for name in ("differences-mnist.png", "items.parquet"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-1])
        assert anew()[0]
        assert (tmp_path / name).read_bytes() == whole
    (tmp_path / lasting.NOTE).write_text('{"of": []')
    assert anew()[0]
    assert anew(View(html=True))[0]  # a page holds them itself
    assert not anew()[0]
    mnist.put("normal", 2, 98.0, arrays={"vlb": items(98.0, 3.0)})
    assert anew()[0]


def test_a_store_whose_path_is_no_text_is_reported_like_others(mnist: Synthetic) -> None:
    for seed in range(2):
        mnist.put("normal", seed, 95.0 + seed)
        mnist.put(VAMP, seed, 90.0 + seed)
    elsewhere = mnist.folder.rename(os.fsdecode(b"stores-\xff"))
    said = [report(Records("mnist", [elsewhere]), view=View(html=html)) for html in (True, False, False)]
    assert "differences-mnist.png" in said[0]
    assert said[1] == said[2]
    assert (elsewhere / "report" / "index.html").is_file()
