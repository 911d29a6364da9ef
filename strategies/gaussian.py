"""A control: a learned Gaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bench import priors
from bench.protocol import Noise, Task
from bench.strategy import Strategy

if TYPE_CHECKING:
    from bench.vae import VAE


class Gaussian(Strategy):
    """A learned full-covariance Gaussian: what it gains too is no evidence of a non-Gaussian prior."""

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"bound"})}

    def prior(self, task: Task, vae: VAE, noise: Noise) -> priors.Density:
        """Return N(0, I), to be trained."""
        return priors.FullGaussian(task.networks.latent)
