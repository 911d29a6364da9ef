"""Eight Gaussians on a circle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bench.data.points import Points

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

MODES = 8
RADIUS = 4 / 1.414
STD = 0.5 / 1.414


class EightGaussians(Points):
    """Eight equal Gaussians on a circle in the plane (as in De Cao et al., 2019): 40,000 train, 5,000 test.

    Centres at multiples of 45 degrees, 2.83 from the origin; standard deviation .354.
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    def draw(self, n: int, random: np.random.RandomState) -> np.ndarray:
        """Return points `(n, 2)`."""
        import numpy as np

        angle = 2 * math.pi / MODES * random.randint(MODES, size=n)
        return RADIUS * np.stack([np.cos(angle), np.sin(angle)], 1) + STD * random.standard_normal((n, 2))

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x), `(N,)`: the mixture's, exact to rounding."""
        import torch

        angle = 2 * math.pi / MODES * torch.arange(MODES, dtype=torch.float64, device=x.device)
        centres = RADIUS * torch.stack([angle.cos(), angle.sin()], 1)
        squares = ((x.double()[:, None] - centres) / STD).square().sum(-1)
        return torch.logsumexp(-0.5 * squares, 1) - math.log(MODES * 2 * math.pi * STD**2)
