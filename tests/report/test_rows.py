"""Differences on each test item, from the arrays beside records."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

HARDNESS = np.random.default_rng(0).normal(95, 25, 1000)  # of each image: the same for every model
GAIN = np.random.default_rng(1).normal(2, 0.5, 1000)


def test_one_seed_is_compared_image_by_image(mnist: Synthetic) -> None:
    """What makes an image hard for both models is in both scores, and cancels in the difference."""
    better = HARDNESS - GAIN
    mnist.put("normal", 0, float(HARDNESS.mean()), arrays={"vlb": HARDNESS.astype(np.float32)})
    mnist.put("sliced-score-matching", 0, float(better.mean()), arrays={"vlb": better.astype(np.float32)})
    difference = mnist.row("sliced-score-matching").paired["vlb"]
    half = 1.95996 * GAIN.std(ddof=1) / math.sqrt(1000)
    assert difference.basis == "images"
    assert difference.mean == pytest.approx(-GAIN.mean())
    assert (difference.upper - difference.lower) / 2 == pytest.approx(half, rel=1e-3)


@pytest.mark.parametrize("arrays", [None, {"nll": HARDNESS}, {"vlb": HARDNESS[:10]}])
def test_without_the_scores_of_the_same_images_both_errors_are_added(
    mnist: Synthetic, arrays: dict[str, np.ndarray] | None
) -> None:
    mnist.put("normal", 0, 95.0, arrays={"vlb": HARDNESS})
    mnist.put("sliced-score-matching", 0, 93.0, arrays=arrays)
    difference = mnist.row("sliced-score-matching").paired["vlb"]
    assert difference.upper - difference.lower > 20 * GAIN.std() / math.sqrt(1000)
