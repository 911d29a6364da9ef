"""Energies that are neural networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.networks import perceptron
from bench.priors.density import Density
from bench.protocol import Noise
from bench.samplers.chains import langevin

SAMPLE_STEPS = 1000
STEP_SIZE = 0.05


class Neural(Density):
    """E(z) = f(z), or tilted E(z) = f(z) - log N(z; 0, I), for a perceptron f with smooth activations.

    f grows at most linearly, so a tilted energy is always normalisable. An untilted one need not be: the paper saw
    infinite energies and NaNs with it (section 2.3). It is here so that what happens can be recorded.

    References:
        Pang et al. (2020), Learning latent space energy-based prior model.

    Args:
        latent: d.
        hidden: width of f's two hidden layers.
        tilted: whether N(0, I) is tilted.
    """

    def __init__(self, latent: int, hidden: int, tilted: bool) -> None:
        super().__init__()
        self.latent, self.tilted = latent, tilted
        self.net = perceptron(latent, [hidden, hidden], 1, "silu")

    def energy(self, z: Tensor) -> Tensor:
        """Return E(z), `(...)`, for z `(..., d)`."""
        f: Tensor = self.net(z).squeeze(-1)
        return f + 0.5 * z.square().sum(-1) + 0.5 * self.latent * math.log(2 * math.pi) if self.tilted else f

    def tilt(self, z: Tensor) -> Tensor:
        """Return E(z) + log N(z; 0, I), `(...)`, for z `(..., d)`: f(z) itself where it tilts N(0, I)."""
        f: Tensor = self.net(z).squeeze(-1) if self.tilted else super().tilt(z)
        return f

    @torch.no_grad()
    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`: `SAMPLE_STEPS` Metropolis-adjusted Langevin steps from N(0, I)."""
        return langevin(self, noise.normal(n, self.latent), SAMPLE_STEPS, STEP_SIZE, noise, adjust=True)[0]
