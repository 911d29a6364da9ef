"""The baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bench import priors
from bench.protocol import Noise, Task
from bench.strategy import Strategy

if TYPE_CHECKING:
    from bench.vae import VAE


class Normal(Strategy):
    """The standard VAE: a fixed N(0, I) prior (paper Eq. 3)."""

    capturable: ClassVar = True

    def prior(self, task: Task, vae: VAE, noise: Noise) -> priors.Density:
        """Return N(0, I)."""
        return priors.StandardNormal(task.networks.latent)
