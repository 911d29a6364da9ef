"""The third of four potentials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bench.data.points import Potential

if TYPE_CHECKING:
    from torch import Tensor


class PotentialThree(Potential):
    """A wave that splits for a while, in the plane (U3 of Rezende & Mohamed, 2015): 40,000 train, 5,000 test.

    U = -log(exp(-1/2 ((x2 - w1)/.35)^2) + exp(-1/2 ((x2 - w1 + w2)/.35)^2)) with w1 = sin(2 pi x1/4) and
    w2 = 3 exp(-1/2 ((x1 - 1)/.6)^2).
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    def energy(self, x: Tensor) -> Tensor:
        """Return U(x), `(N,)` for x `(N, 2)`."""
        import torch

        above = x[..., 1] - torch.sin(math.pi / 2 * x[..., 0])
        gap = 3 * torch.exp(-0.5 * ((x[..., 0] - 1) / 0.6).square())
        upper, lower = 0.5 * (above / 0.35).square(), 0.5 * ((above + gap) / 0.35).square()
        return -torch.logaddexp(-upper, -lower)
