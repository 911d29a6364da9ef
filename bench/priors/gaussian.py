"""Gaussian priors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

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


class FullGaussian(Density):
    """N(m, LL') with a learned mean and a learned triangular L of positive diagonal; it starts at N(0, I).

    A control: what it gains over N(0, I) is no evidence of a prior that is not Gaussian.

    Attributes:
        mean: m, `(d,)`.
        lower: below its diagonal that of L; on it the logarithm of L's, `(d, d)`.
    """

    normalised = True

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(latent))
        self.lower = nn.Parameter(torch.zeros(latent, latent))

    @property
    def factor(self) -> Tensor:
        """L, `(d, d)`."""
        return self.lower.tril(-1) + torch.diag(self.lower.diagonal().exp())

    def energy(self, z: Tensor) -> Tensor:
        """Return -log N(z; m, LL'), `(...)`, for z `(..., d)`."""
        white: Tensor = torch.linalg.solve_triangular(self.factor, (z - self.mean).flatten(0, -2).T, upper=False)
        log_scale = self.lower.diagonal().sum() + 0.5 * len(self.mean) * math.log(2 * math.pi)
        return 0.5 * white.square().sum(0).reshape(z.shape[:-1]) + log_scale

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`."""
        return self.mean + noise.normal(n, len(self.mean)) @ self.factor.T
