"""A baseline: the second moments of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.protocol import Noise, Run, Stopped, Task
from bench.strategy.pixels import BLOCK, PixelDensity

if TYPE_CHECKING:
    from torch import Tensor

    from bench.protocol import Pixels


class GaussianPixels(PixelDensity):
    """A full-covariance Gaussian of pixels in logit space, no VAE: a VAE that is worse has learned less than that.

    It is the likeliest one, without regularisation: where images are few beside their pixels, it fits them better than
    others.
    """

    def skip(self, task: Task) -> str | None:
        """Say so also where there are too few training images for a covariance of full rank."""
        items, pixels = len(task.splits.train), task.splits.train[0].size
        if items <= pixels:
            return f"a covariance of {pixels} pixels needs more training images than that, and there are {items}"
        return super().skip(task)

    def parameters(self, task: Task, run: Run) -> dict[str, Tensor]:
        """Return the mean `(D,)` and the triangular factor of the covariance `(D, D)`, float64, of greatest likelihood.

        Each training image is dequantised once.
        """
        import torch

        from bench.streams import stream

        train = torch.from_numpy(task.splits.train)
        first: Tensor | float = 0.0
        second: Tensor | float = 0.0
        for step, items in enumerate(train.split(BLOCK)):
            if run.stop_requested():
                raise Stopped(f"stopped after {step * BLOCK} images")
            noise = stream(run.seed, "binarise", step, run.device)
            x = task.dataset.prepare(items.to(run.device), noise).double()
            first, second = first + x.sum(0), second + x.T @ x
            run.progress(stage="fit", done=step * BLOCK + len(items), total=len(train), epoch=0)
        mean = torch.as_tensor(first) / len(train)
        covariance = torch.as_tensor(second) / len(train) - torch.outer(mean, mean)
        return {"mean": mean, "factor": torch.linalg.cholesky(covariance)}

    def log_prob(self, dataset: Pixels, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return log N(x; mean, factor factor')."""
        import torch

        mean, factor = parameters["mean"], parameters["factor"]
        white: Tensor = torch.linalg.solve_triangular(factor, (x.double() - mean).T, upper=False)
        log_scale = factor.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
        return -0.5 * white.square().sum(0) - log_scale

    def sample(self, task: Task, parameters: Mapping[str, Tensor], n: int, noise: Noise) -> Tensor:
        """Return mean + factor times white noise."""
        mean, factor = parameters["mean"], parameters["factor"]
        draws: Tensor = mean + noise.normal(n, len(mean)).double() @ factor.T
        return draws.float()
