"""A GRBM in coordinates in which every conditional is simple, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.priors.grbm import GRBM
from bench.protocol import Noise


@dataclass(frozen=True)
class Whitened:
    """A GRBM in y = (z - mu)/sigma: E(y) = 1/2 ||y||^2 - sum softplus(A'y + c), and log Z = log Z_y + sum log sigma.

    Given h, y ~ N(Ah, I); so the model's covariance of y is I + A Cov(h) A', nowhere below I.

    Attributes:
        coupling: A = W/sigma, `(d, H)`.
        offset: c = b + W'mu/sigma^2, `(H,)`.
        mu: `(d,)`.
        sigma: `(d,)`.
    """

    coupling: Tensor
    offset: Tensor
    mu: Tensor
    sigma: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, grbm: GRBM) -> Whitened:
        """Return `grbm` whitened.

        Raises:
            ArithmeticError: a parameter is not finite.
        """
        weight, mu, bias, var = (part.detach().double() for part in (grbm.weight, grbm.mu, grbm.bias, grbm.var))
        if not all(bool(part.isfinite().all()) for part in (weight, mu, bias, var)):
            raise ArithmeticError("log Z cannot be estimated: the GRBM has parameters that are not finite")
        sigma = var.sqrt()
        return cls(weight / sigma[:, None], bias + weight.T @ (mu / var), mu, sigma)

    @property
    def visible(self) -> int:
        """d."""
        return self.coupling.shape[0]

    @property
    def hidden(self) -> int:
        """H."""
        return self.coupling.shape[1]

    @property
    def log_scale(self) -> float:
        """Return sum log sigma: what log Z gains on the way back to z."""
        return float(self.sigma.log().sum())

    def whiten(self, z: Tensor) -> Tensor:
        """Return y `(..., d)` for z `(..., d)`."""
        return (z.double() - self.mu) / self.sigma

    def colour(self, y: Tensor) -> Tensor:
        """Return z `(..., d)` for y `(..., d)`."""
        return self.mu + self.sigma * y

    def log_mass(self, h: Tensor) -> Tensor:
        """Return log of the integral of exp(-E(z, h)) over z, `(n,)`, for h `(n, H)`: the unnormalised log p(h).

        It is (d/2) log 2 pi + sum log sigma + c'h + 1/2 ||Ah||^2, and log Z is its logsumexp over all 2^H h.
        """
        gram = self.coupling.T @ self.coupling  # H x H, so that no (n, d) array is made
        quadratic = 0.5 * ((h @ gram) * h).sum(-1)
        return 0.5 * self.visible * math.log(2 * math.pi) + self.log_scale + h @ self.offset + quadratic

    def draw_hidden(self, y: Tensor, noise: Noise) -> Tensor:
        """Return h ~ p(h|y), `(n, H)` zeros and ones, for y `(n, d)`."""
        return bernoulli(torch.sigmoid(y @ self.coupling + self.offset), noise)

    def draw_visible(self, h: Tensor, noise: Noise) -> Tensor:
        """Return y ~ N(Ah, I), `(n, d)`, for h `(n, H)`."""
        return h @ self.coupling.T + noise.normal(len(h), self.visible)


def bernoulli(probability: Tensor, noise: Noise) -> Tensor:
    """Return zeros and ones, float64, that are one with `probability` `(n, H)`."""
    # a float32 uniform is exactly 0 once in 2^24 draws; half a step up, it never turns on a unit of probability 1e-20
    return (noise.uniform(*probability.shape) + 2.0**-25 < probability).double()
