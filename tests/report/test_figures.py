"""Pictures are made from the arrays beside the records, and say what is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from bench.report import figures, report
from bench.report.drawing import DOTS

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
    text = report("toy", [], None)
    assert text.endswith("records.parquet, curves.parquet, pictures.png, pictures.pdf\n")
    folder = toy.folder / "report"
    with Image.open(folder / "pictures.png") as image:
        width, height = image.size
    # two data sets of two rows each; the data and four strategies
    assert width == pytest.approx(5 * PANELS, rel=0.2)
    assert height == pytest.approx(4 * PANELS, rel=0.3)
    assert (folder / "pictures.pdf").read_bytes().startswith(b"%PDF-")


def test_the_same_records_make_the_same_pictures(toy: Synthetic) -> None:
    fill(toy)
    report("toy", [], Path("a"))
    report("toy", [], Path("b"))
    for name in ("pictures.png", "pictures.pdf"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_records_without_such_arrays_have_no_pictures(toy: Synthetic, mnist: Synthetic) -> None:
    toy.put("normal", 0, 4.0, dataset="checkerboard", arrays={"vlb": np.zeros(3)})
    mnist.put("normal", 0, 95.0)
    for store in (toy, mnist):
        report(store.grid.name, [store.folder], None)
        assert not list((store.folder / "report").glob("pictures.*"))


def test_a_panel_is_the_lowest_seed_s_or_says_what_became_of_the_cells(toy: Synthetic) -> None:
    from bench.report import outputs, published, sources

    fill(toy)
    toy.put("normal", 1, 4.0, dataset="checkerboard", arrays=arrays(7))
    broken = toy.put("importance-weighted[variance=fixed]", 0, 4.0, dataset="checkerboard", arrays=arrays(2))
    broken.with_name(broken.name.replace("record-", "arrays-").replace(".json", ".npz")).write_bytes(b"PK half a file")
    tables = outputs._tables(sources.of_grid("toy", [], toy.registry), published.read())
    board = next(table for table in tables if table.name == "checkerboard")
    panels = {row.label: figures.panel(row, [Path("elsewhere"), toy.folder]) for row in board.rows}
    for label, seed in (("normal", 0), ("vampprior", 1)):
        found = panels[label].arrays
        assert found is not None
        assert np.array_equal(found["points_sampler"], arrays(seed)["points_sampler"])
    words = {label.partition("[")[2]: each.words for label, each in panels.items() if each.arrays is None}
    assert words == {"variance=learned]": "diverged", "variance=fixed]": "no arrays"}
    spirals = next(table for table in tables if table.name == "2-spirals")
    assert figures.panel(spirals.rows[0], [toy.folder]).words == "not run"


def test_a_panel_of_an_unreliable_record_says_so(toy: Synthetic) -> None:
    from bench.report import outputs, published, sources

    toy.put("normal", 0, 4.0, dataset="checkerboard", arrays=arrays(0))
    doubt = "quadrature had not converged"
    toy.put("vampprior", 0, 4.0, half=0.1, unreliable=doubt, dataset="checkerboard", arrays=arrays(1))
    tables = outputs._tables(sources.of_grid("toy", [], toy.registry), published.read())
    board = next(table for table in tables if table.name == "checkerboard")
    words = {row.label: figures.panel(row, [toy.folder]).words for row in board.rows}
    assert (words["normal"], words["vampprior"]) == ("", "unreliable")


def test_no_global_state_of_matplotlib_is_left(toy: Synthetic) -> None:
    from matplotlib import pyplot

    fill(toy)
    report("toy", [], None)
    assert pyplot.get_fignums() == []
