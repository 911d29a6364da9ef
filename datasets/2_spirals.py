"""Two spirals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bench.data.points import Points, legendre

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

TURN = 3 * math.pi  # angle at the outer end
SCALE = 3.0
SHIFT = 0.5 / SCALE  # a point is moved by U[0, SHIFT] in each coordinate, away from one arm's origin
STD = 0.1  # and by N(0, STD^2)
NODES = 400  # 300 differ from 800 by 1e-8 at most, 400 by 3e-11
BLOCK = 2**12


class TwoSpirals(Points):
    """Two arms of a noisy spiral in the plane (as in De Cao et al., 2019): 40,000 train, 5,000 test.

    x = +-(c(t) + u) + e with c(t) = t (-cos t, sin t)/3, t = 3 pi sqrt(U[0, 1]), u ~ U[0, 1/6]^2, e ~ N(0, .1^2 I) and
    an equal chance of either sign.
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    def draw(self, n: int, random: np.random.RandomState) -> np.ndarray:
        """Return points `(n, 2)`."""
        import numpy as np

        t = TURN * np.sqrt(random.random_sample(n))
        arm = np.stack([-t * np.cos(t), t * np.sin(t)], 1) / SCALE + SHIFT * random.random_sample((n, 2))
        sign = 2 * random.randint(2, size=(n, 1)) - 1
        return sign * arm + STD * random.standard_normal((n, 2))

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x), `(N,)`.

        Given t and the arm, each coordinate is a uniform plus a normal, whose density is a difference of normal
        distribution functions; over t, whose density is 2t/(3 pi)^2, by Gauss-Legendre quadrature, exact to 1e-10.
        """
        import torch

        t, weights = (part.to(x.device) for part in legendre(NODES, 0.0, TURN))
        arm = torch.stack([-t * t.cos(), t * t.sin()], 1) / SCALE
        log_weights = (weights * 2 * t / TURN**2).log()

        def log_arm(points: Tensor) -> Tensor:
            """Return the log density of the arm with the positive sign, `(B,)`."""
            return torch.logsumexp(_log_smeared(points[:, None] - arm).sum(-1) + log_weights, 1)

        blocks = x.double().split(BLOCK)
        both = torch.cat([torch.logaddexp(log_arm(block), log_arm(-block)) for block in blocks])
        return both - math.log(2)


def _log_smeared(y: Tensor) -> Tensor:
    """Return the log density at y of U[0, SHIFT] + N(0, STD^2), also far from where it lies."""
    import torch

    low, high = (y - SHIFT) / STD, y / STD
    upper = low > 0  # a difference of two tails that are nearly 1 would lose its digits: mirror it
    low, high = torch.where(upper, -high, low), torch.where(upper, -low, high)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    log_mass: Tensor = log_high + torch.log1p(-torch.exp(log_low - log_high))
    return log_mass - math.log(SHIFT)
