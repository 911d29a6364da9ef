"""Sheets of samples are made from the arrays beside the records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from bench.report import outputs, published, report, sheets, sources
from bench.report.drawing import DOTS

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic


def test_eight_images_lie_in_a_line() -> None:
    images = np.arange(64, dtype=np.float32).reshape(64, 1, 1) / 64 * np.ones((1, 4, 3), np.float32)
    sheet = sheets.tiled(images)
    assert sheet.shape == (8 * 5 - 1, 8 * 4 - 1, 3)
    assert np.allclose(sheet[0, ::4, 0], np.arange(8) / 64)
    assert np.allclose(sheet[::5, 0, 0], np.arange(8) / 8)
    assert (sheet[4] == 1).all(), "between lines"


def test_colours_are_planes() -> None:
    images = np.zeros((4, 3, 2, 2), np.float32)
    images[1, 0], images[2, 1], images[3, 2] = 0.5, 7.0, -1.0
    sheet = sheets.tiled(images)
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
    assert width == pytest.approx(3 * sheets.INCHES * DOTS, rel=0.01)
    assert height == pytest.approx((sheets.INCHES + 0.35) * DOTS, rel=0.01)

    (table,) = outputs._tables(sources.of_grid("mnist", [], mnist.registry), published.read())
    found = [(each.label, each.sampler) for row in table.rows for each in sheets.sheets(row, [mnist.folder])]
    assert found == [
        ("normal", "prior"), ("sliced-score-matching", "prior"), ("sliced-score-matching", "langevin-100")
    ]  # fmt: skip


def test_records_without_images_have_no_sheet(toy: Synthetic, mnist: Synthetic) -> None:
    toy.put("normal", 0, 4.0, dataset="checkerboard", arrays={"samples_prior": np.zeros((64, 2), np.float32)})
    mnist.put("normal", 0, 95.0, arrays={"samples_prior": np.zeros((64, 784), np.float32)})
    for store in (toy, mnist):
        report(store.grid.name, [store.folder], None)
        assert not list((store.folder / "report").glob("samples-*"))


def test_the_same_records_make_the_same_sheets(mnist: Synthetic) -> None:
    images = np.random.default_rng(0).random((64, 28, 28), dtype=np.float32)
    mnist.put("normal", 0, 95.0, arrays={"samples_prior": images})
    for out in ("a", "b"):
        report("mnist", [], Path(out))
    assert Path("a/samples-mnist.png").read_bytes() == Path("b/samples-mnist.png").read_bytes()
