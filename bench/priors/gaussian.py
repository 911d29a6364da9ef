"""Gaussian priors."""

from __future__ import annotations

import math

from torch import Tensor

from bench.priors.density import Density
from bench.protocol import Noise


class StandardNormal(Density):
    """N(0, I) in `latent` dimensions."""

    normalised = True

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def energy(self, z: Tensor) -> Tensor:
        """Return -log N(z; 0, I), `(...)`, for z `(..., d)`."""
        return 0.5 * z.square().sum(-1) + 0.5 * self.latent * math.log(2 * math.pi)

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`."""
        return noise.normal(n, self.latent)
