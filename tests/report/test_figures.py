"""Pictures, curves and sheets are made from the arrays beside the records, and say what is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from bench.report import figures, outputs, published, report, sources
from bench.report.arrays import Arrays
from bench.report.figures import DOTS

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

PANELS = figures.INCHES * DOTS


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
    text = report(toy.grid, [], None)
    assert text.endswith("records.parquet, curves.parquet, items.parquet, pictures.png, pictures.pdf\n")
    folder = toy.folder / "report"
    with Image.open(folder / "pictures.png") as image:
        width, height = image.size
    # two data sets of two rows each; the data and four strategies
    assert width == pytest.approx(5 * PANELS, rel=0.2)
    assert height == pytest.approx(4 * PANELS, rel=0.3)
    assert (folder / "pictures.pdf").read_bytes().startswith(b"%PDF-")


def test_the_same_records_make_the_same_pictures(toy: Synthetic) -> None:
    fill(toy)
    report(toy.grid, [], Path("a"))
    report(toy.grid, [], Path("b"))
    for name in ("pictures.png", "pictures.pdf"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_records_without_such_arrays_have_no_pictures(toy: Synthetic, mnist: Synthetic) -> None:
    toy.put("normal", 0, 4.0, dataset="checkerboard", arrays={"vlb": np.zeros(3)})
    mnist.put("normal", 0, 95.0)
    for store in (toy, mnist):
        report(store.grid, [store.folder], None)
        assert not list((store.folder / "report").glob("pictures.*"))


def test_a_panel_is_the_lowest_seed_s_or_says_what_became_of_the_cells(toy: Synthetic) -> None:
    fill(toy)
    toy.put("normal", 1, 4.0, dataset="checkerboard", arrays=arrays(7))
    broken = toy.put("importance-weighted[variance=fixed]", 0, 4.0, dataset="checkerboard", arrays=arrays(2))
    (beside,) = broken.parent.glob("arrays-*.npz")
    beside.write_bytes(b"PK half a file")
    tables = outputs.of_grid(sources.of_grid(toy.grid, [], toy.registry), published.read())
    board = next(table for table in tables if table.name == "checkerboard")
    panels = {row.label: figures.panel(row, Arrays([Path("elsewhere"), toy.folder])) for row in board.rows}
    for label, seed in (("normal", 0), ("vampprior", 1)):
        assert np.array_equal(panels[label].arrays["points_sampler"], arrays(seed)["points_sampler"])
    words = {label.partition("[")[2]: panel.words for label, panel in panels.items() if not panel.arrays}
    assert words == {"variance=learned]": "diverged", "variance=fixed]": "no arrays"}
    spirals = next(table for table in tables if table.name == "2-spirals")
    assert figures.panel(spirals.rows[0], Arrays([toy.folder])).words == "not run"


def test_a_panel_of_an_unreliable_record_says_so(toy: Synthetic) -> None:
    toy.put("normal", 0, 4.0, dataset="checkerboard", arrays=arrays(0))
    doubt = "quadrature had not converged"
    toy.put("vampprior", 0, 4.0, half=0.1, unreliable=doubt, dataset="checkerboard", arrays=arrays(1))
    tables = outputs.of_grid(sources.of_grid(toy.grid, [], toy.registry), published.read())
    board = next(table for table in tables if table.name == "checkerboard")
    words = {row.label: figures.panel(row, Arrays([toy.folder])).words for row in board.rows}
    assert (words["normal"], words["vampprior"]) == ("", "unreliable")


def test_no_global_state_of_matplotlib_is_left(toy: Synthetic) -> None:
    from matplotlib import pyplot

    fill(toy)
    report(toy.grid, [], None)
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
    lines = figures.curves(mnist.table().rows, Arrays([mnist.folder]))
    assert list(lines) == ["normal"]
    assert lines["normal"].samples.tolist() == SAMPLES.tolist()
    assert lines["normal"].values == pytest.approx([95.5, 93.5, 91.5, 89.5])


def test_a_curve_is_unreliable_where_a_seed_s_nll_is(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, arrays=curve(95.0))
    mnist.put("sliced-score-matching", 0, 94.0, half=0.1, arrays=curve(94.0))
    mnist.put("sliced-score-matching", 1, 94.0, half=0.1, unreliable="two bases differ", arrays=curve(94.0))
    lines = figures.curves(mnist.table().rows, Arrays([mnist.folder]))
    assert {label: line.unreliable for label, line in lines.items()} == {"normal": False, "sliced-score-matching": True}
    axis, *_ = figures._lines({"mnist": lines}).axes
    assert [line.get_linestyle() for line in axis.lines[:2]] == ["-", ":"]
    (legend,) = axis.figure.legends
    assert legend.get_texts()[-1].get_text() == "dotted: unreliable"


def test_the_report_draws_curves(mnist: Synthetic, tmp_path: Path) -> None:
    mnist.put("normal", 0, 95.0, arrays=curve(95.0))
    assert "nll-curve.png, nll-curve.pdf" in report("mnist", [mnist.folder], tmp_path)
    with Image.open(tmp_path / "nll-curve.png") as image:
        assert image.size[1] == pytest.approx(figures.CURVE_INCHES[1] * DOTS, rel=0.01)
    assert (tmp_path / "nll-curve.pdf").read_bytes().startswith(b"%PDF-")


def test_one_number_of_samples_is_no_curve(mnist: Synthetic, tmp_path: Path) -> None:
    mnist.put("normal", 0, 95.0, arrays={name: array[:1] for name, array in curve(95.0).items()})
    assert "nll-curve" not in report("mnist", [mnist.folder], tmp_path)


# ---------------------------------------------------------------- sheets of sampled images


def test_eight_images_lie_in_a_line() -> None:
    images = np.arange(64, dtype=np.float32).reshape(64, 1, 1) / 64 * np.ones((1, 4, 3), np.float32)
    sheet = figures.tiled(images)
    assert sheet.shape == (8 * 5 - 1, 8 * 4 - 1, 3)
    assert np.allclose(sheet[0, ::4, 0], np.arange(8) / 64)
    assert np.allclose(sheet[::5, 0, 0], np.arange(8) / 8)
    assert (sheet[4] == 1).all(), "between lines"


def test_colours_are_planes() -> None:
    images = np.zeros((4, 3, 2, 2), np.float32)
    images[1, 0], images[2, 1], images[3, 2] = 0.5, 7.0, -1.0
    sheet = figures.tiled(images)
    assert sheet.shape == (5, 5, 3)
    assert sheet[0, 0].tolist() == [0, 0, 0]
    assert sheet[0, 4].tolist() == [0.5, 0, 0]
    assert sheet[4, 0].tolist() == [0, 1, 0], "no brighter than white"
    assert sheet[4, 4].tolist() == [0, 0, 0], "no darker than black"


def test_there_is_a_sheet_for_each_sampler_of_each_strategy(mnist: Synthetic) -> None:
    images = np.random.default_rng(0).random((64, 28, 28), dtype=np.float32)
    mnist.put("normal", 0, 95.0, arrays={"vlb": np.zeros(3), "samples_prior": images})
    both = {"samples_prior": images, "samples_langevin-100": images, "samples_of": np.zeros((64, 2), np.float32)}
    mnist.put("sliced-score-matching", 1, 95.0, arrays=both)
    text = report("mnist", [], None)
    assert "samples-mnist.png" in text
    with Image.open(mnist.folder / "report" / "samples-mnist.png") as image:
        width, height = image.size
    assert width == pytest.approx(3 * figures.SHEET_INCHES * DOTS, rel=0.01)
    assert height == pytest.approx((figures.SHEET_INCHES + 0.35) * DOTS, rel=0.01)

    (table,) = outputs.of_grid(sources.of_grid(mnist.grid, [], mnist.registry), published.read())
    sheets = [
        (sheet.label, sheet.sampler) for row in table.rows for sheet in figures.sheets(row, Arrays([mnist.folder]))
    ]
    assert sheets == [
        ("normal", "prior"), ("sliced-score-matching", "prior"), ("sliced-score-matching", "langevin-100")
    ]  # fmt: skip


def test_records_without_images_have_no_sheet(toy: Synthetic, mnist: Synthetic) -> None:
    toy.put("normal", 0, 4.0, dataset="checkerboard", arrays={"samples_prior": np.zeros((64, 2), np.float32)})
    mnist.put("normal", 0, 95.0, arrays={"samples_prior": np.zeros((64, 784), np.float32)})
    for store in (toy, mnist):
        report(store.grid, [store.folder], None)
        assert not list((store.folder / "report").glob("samples-*"))


def test_the_same_records_make_the_same_sheets(mnist: Synthetic) -> None:
    images = np.random.default_rng(0).random((64, 28, 28), dtype=np.float32)
    mnist.put("normal", 0, 95.0, arrays={"samples_prior": images})
    for out in ("a", "b"):
        report("mnist", [], Path(out))
    assert Path("a/samples-mnist.png").read_bytes() == Path("b/samples-mnist.png").read_bytes()
