"""A baseline: no knowledge of images at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.data.dequantised import LEVELS
from bench.protocol import Noise, Run, Stopped, Task
from bench.strategy.pixels import PixelDensity

if TYPE_CHECKING:
    from torch import Tensor

    from bench.protocol import Pixels


class UniformPixels(PixelDensity):
    """A uniform density of pixels, no VAE: 8 bits per dimension, by definition."""

    def parameters(self, task: Task, run: Run) -> dict[str, Tensor]:
        """Return nothing: there is nothing to fit."""
        if run.stop_requested():
            raise Stopped("nothing was fitted")
        return {}

    def log_prob(self, dataset: Pixels, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return the log of 1/256 for each pixel, in the space of x."""
        return -dataset.log_jacobian(x) - x.shape[1] * math.log(LEVELS)

    def sample(self, task: Task, parameters: Mapping[str, Tensor], n: int, noise: Noise) -> Tensor:
        """Return images whose pixels are independent and uniform."""
        import torch

        pixels = noise.integers(LEVELS, n, *task.splits.train.shape[1:]).to(torch.uint8)
        return task.dataset.prepare(pixels, noise)
