"""The first of four potentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bench.data.points import Potential

if TYPE_CHECKING:
    from torch import Tensor


class PotentialOne(Potential):
    """Two facing arcs of a ring in the plane (U1 of Rezende & Mohamed, 2015): 40,000 train, 5,000 test.

    U = 1/2 ((|x| - 2)/.4)^2 - log(exp(-1/2 ((x1 - 2)/.6)^2) + exp(-1/2 ((x1 + 2)/.6)^2)).
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    def energy(self, x: Tensor) -> Tensor:
        """Return U(x), `(N,)` for x `(N, 2)`."""
        import torch

        ring = 0.5 * ((x.norm(dim=-1) - 2) / 0.4).square()
        right, left = (0.5 * ((x[..., 0] + centre) / 0.6).square() for centre in (-2, 2))
        energy: Tensor = ring - torch.logaddexp(-right, -left)
        return energy
