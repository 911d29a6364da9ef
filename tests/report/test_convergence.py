"""The picture of the importance-weighted NLL against the number of samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from bench.report import convergence, published, report, sources
from bench.report.cells import outcomes, select
from bench.report.drawing import DOTS
from bench.report.rows import Row
from bench.report.tables import build

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

SAMPLES = np.array([1, 10, 100, 1000])


def curve(start: float) -> dict[str, np.ndarray]:
    return {"nll_curve_samples": SAMPLES, "nll_curve_values": start - 2 * np.log10(SAMPLES)}


def rows(store: Synthetic) -> tuple[Row, ...]:
    source = sources.of_grid(store.grid.name, [store.folder], store.registry)
    found, _ = select(outcomes(source.frame), source.plan, source.evaluation)
    return build("mnist", found, source.plan, published.read(), source="here", command="`bench run`").rows


def test_a_curve_is_the_mean_over_seeds(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, arrays=curve(95.0))
    mnist.put("normal", 1, 96.0, arrays=curve(96.0))
    mnist.put("normal", 2, status="diverged")
    mnist.put("sliced-score-matching", 0, 94.0)
    found = convergence.curves(rows(mnist), [mnist.folder])
    assert list(found) == ["normal"]
    assert found["normal"].samples.tolist() == SAMPLES.tolist()
    assert found["normal"].values == pytest.approx([95.5, 93.5, 91.5, 89.5])


def test_a_curve_is_unreliable_where_a_seed_s_nll_is(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, arrays=curve(95.0))
    mnist.put("sliced-score-matching", 0, 94.0, half=0.1, arrays=curve(94.0))
    mnist.put("sliced-score-matching", 1, 94.0, half=0.1, unreliable="two bases differ", arrays=curve(94.0))
    found = convergence.curves(rows(mnist), [mnist.folder])
    assert {label: each.unreliable for label, each in found.items()} == {"normal": False, "sliced-score-matching": True}
    axis, *_ = convergence._drawn({"mnist": found}).axes
    assert [line.get_linestyle() for line in axis.lines[:2]] == ["-", ":"]
    (legend,) = axis.figure.legends
    assert legend.get_texts()[-1].get_text() == "dotted: unreliable"


def test_the_report_draws_it(mnist: Synthetic, tmp_path: Path) -> None:
    mnist.put("normal", 0, 95.0, arrays=curve(95.0))
    assert "nll-curve.png, nll-curve.pdf" in report("mnist", [mnist.folder], tmp_path)
    with Image.open(tmp_path / "nll-curve.png") as image:
        assert image.size[1] == pytest.approx(convergence.INCHES[1] * DOTS, rel=0.01)
    assert (tmp_path / "nll-curve.pdf").read_bytes().startswith(b"%PDF-")


def test_one_number_of_samples_is_no_curve(mnist: Synthetic, tmp_path: Path) -> None:
    mnist.put("normal", 0, 95.0, arrays={name: array[:1] for name, array in curve(95.0).items()})
    assert "nll-curve" not in report("mnist", [mnist.folder], tmp_path)
