"""Energies of which an estimator sees nothing but the energy, and whose log Z is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.energies import GRBM
from bench.priors import Density
from bench.protocol import Noise


class Opaque(Density):
    """A GRBM whose hidden units are not to be seen."""

    def __init__(self, grbm: GRBM) -> None:
        super().__init__()
        self.grbm = grbm

    def energy(self, z: Tensor) -> Tensor:
        return self.grbm.energy(z)


class Normal(Density):
    """A normal distribution without its constant, of standard deviations from .4 to 2 in random directions."""

    def __init__(self, d: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(d)
        self.scales = torch.logspace(math.log10(0.4), math.log10(2), d).double()
        self.axes = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
        self.mean = 0.5 * torch.randn(d, generator=generator, dtype=torch.float64)

    def energy(self, z: Tensor) -> Tensor:
        white: Tensor = ((z - self.mean) @ self.axes) / self.scales
        return 0.5 * white.square().sum(-1)

    def sample(self, n: int, noise: Noise) -> Tensor:
        z: Tensor = self.mean + (self.scales * noise.normal(n, len(self.mean))) @ self.axes.T
        return z

    @property
    def log_z(self) -> float:
        return float(self.scales.log().sum()) + 0.5 * len(self.mean) * math.log(2 * math.pi)


class Mixture(Density):
    """A mixture of normal distributions N(centre, spread^2 I), unnormalised: its log Z is the `log_masses` together.

    Args:
        centres: `(K, d)`.
        spread: standard deviation of each part.
        log_masses: logarithm of each part's integral, `(K,)`.
    """

    def __init__(self, centres: Tensor, spread: float, log_masses: Tensor) -> None:
        super().__init__()
        self.centres, self.spread, self.log_masses = centres.double(), spread, log_masses.double()

    def energy(self, z: Tensor) -> Tensor:
        squares = (z[..., None, :] - self.centres).square().sum(-1) / self.spread**2
        constant = 0.5 * self.centres.shape[1] * math.log(2 * math.pi * self.spread**2)
        return constant - torch.logsumexp(self.log_masses - 0.5 * squares, -1)

    def sample(self, n: int, noise: Noise) -> Tensor:
        cumulative = torch.softmax(self.log_masses, 0).cumsum(0)
        chosen = torch.searchsorted(cumulative, noise.uniform(n) * cumulative[-1]).clamp(max=len(cumulative) - 1)
        return self.centres[chosen] + self.spread * noise.normal(n, self.centres.shape[1])

    @property
    def log_z(self) -> float:
        return float(torch.logsumexp(self.log_masses, 0))


class Cone(Density):
    """exp(-slope ||z||), whose mass lies about d/slope from the origin."""

    def __init__(self, d: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.log_z = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2) + math.lgamma(d) - d * math.log(slope)

    def energy(self, z: Tensor) -> Tensor:
        return self.slope * (1e-30 + z.square().sum(-1)).sqrt()
