"""The fourth of four potentials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bench.data.points import Potential

if TYPE_CHECKING:
    from torch import Tensor


class PotentialFour(Potential):
    """A wave that forks, in the plane (U4 of Rezende & Mohamed, 2015): 40,000 train, 5,000 test.

    U = -log(exp(-1/2 ((x2 - w1)/.4)^2) + exp(-1/2 ((x2 - w1 + w3)/.35)^2)) with w1 = sin(2 pi x1/4) and
    w3 = 3 sigmoid((x1 - 1)/.3).
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    def energy(self, x: Tensor) -> Tensor:
        """Return U(x), `(N,)` for x `(N, 2)`."""
        import torch

        above = x[..., 1] - torch.sin(math.pi / 2 * x[..., 0])
        gap = 3 * torch.sigmoid((x[..., 0] - 1) / 0.3)
        upper, lower = 0.5 * (above / 0.4).square(), 0.5 * ((above + gap) / 0.35).square()
        return -torch.logaddexp(-upper, -lower)
