"""The second of four potentials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bench.data.points import Potential

if TYPE_CHECKING:
    from torch import Tensor


class PotentialTwo(Potential):
    """A wave in the plane (U2 of Rezende & Mohamed, 2015): 40,000 train, 5,000 test.

    U = 1/2 ((x2 - w1)/.4)^2 with w1 = sin(2 pi x1/4).
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    def energy(self, x: Tensor) -> Tensor:
        """Return U(x), `(N,)` for x `(N, 2)`."""
        import torch

        wave = torch.sin(math.pi / 2 * x[..., 0])
        return 0.5 * ((x[..., 1] - wave) / 0.4).square()
