"""Images of 8-bit pixels as continuous data: uniform dequantisation, then the logit (Papamakarios et al., 2017).

Importing this module imports no torch, so that a list of data sets is quick.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bench.data import Dataset, flaws
from bench.protocol import Likelihood, Noise, Splits, Unit

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LEVELS", "Dequantised"]

LEVELS = 256  # of a pixel: 0 .. 255


class Dequantised(Dataset):
    """A data set of 8-bit images that the likelihood sees in logit space.

    A pixel k becomes v = k + u with u uniform in [0, 1), then y = logit(margin + (1 - 2 margin) v / 256). The mean over
    u of log p(v) is a lower bound on log P(k) (Theis et al., 2016), so that scores in bits per dimension compare with
    those of other work, whatever space a model lives in.

    Attributes:
        margin: lambda, how far the unit interval is kept from 0 and 1, where the logit is infinite.
    """

    likelihood: ClassVar[Likelihood] = "laplace"
    unit: ClassVar[Unit] = "bits/dim"
    margin: ClassVar[float] = 0.05

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Return y, `(B, D)` float32, of stored images `(B, ...)` uint8, with u drawn from `noise`."""
        import torch

        pixels = x.flatten(1)
        unit = (pixels + noise.uniform(*pixels.shape)) / LEVELS
        return torch.logit(self.margin + (1 - 2 * self.margin) * unit)

    def flaw(self, splits: Splits) -> str | None:
        """Refuse what is no image of whole numbers 0 .. 255, or is (almost) all equal before it is dequantised."""
        if reason := flaws.not_finite(splits):
            return reason
        for name, array in flaws.parts(splits).items():
            if reason := flaws.other_scale(name, array, LEVELS - 1):
                return reason
            if array.dtype.kind == "f" and bool((array != array.round()).any()):
                return f"the pixels of {name} are no whole numbers, and dequantisation is of 0, 1, .. {LEVELS - 1}"
        return flaws.sameness(splits, lambda x, noise: x.flatten(1).float())

    def log_jacobian(self, x: Tensor) -> Tensor:
        """Return log |det dy/dv|, `(N,)` float64, nats, at prepared images y `(N, D)`.

        It is what a log density of y lacks to be one of v:
        `D log(1 - 2 margin) - D log 256 - sum log( s(y) (1 - s(y)) )`, s the sigmoid.
        """
        import torch
        from torch.nn.functional import logsigmoid

        # by blocks: in float64 a whole test set would take half a gigabyte
        blocks = (block.double() for block in x.split(1024))
        sums = torch.cat([(logsigmoid(y) + logsigmoid(-y)).sum(1) for y in blocks])
        return x.shape[1] * (math.log(1 - 2 * self.margin) - math.log(LEVELS)) - sums

    def brightness(self, x: Tensor) -> Tensor:
        """Return the brightness, 0 .. 1, of prepared pixels y of any shape."""
        return ((x.sigmoid() - self.margin) / (1 - 2 * self.margin)).clamp(0, 1)
