"""A Gaussian with the moments of frozen latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench import priors
from bench.protocol import Noise, Task
from bench.strategy import StagedStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training import Model
    from bench.vae import VAE


class FrozenGaussian(StagedStrategy):
    """The Gaussian with the mean and covariance, or variances, of the latents of a finished VAE."""

    capturable: ClassVar = True

    covariance: Literal["diagonal", "full"] = Field("full", description="whether dimensions are correlated")

    def prior(self, task: Task, vae: VAE, noise: Noise) -> priors.Density:
        """Return N(0, I) until it is fitted."""
        return priors.GaussianMixture(1, task.networks.latent)

    def fit_latents(self, model: Model, latents: Tensor, noise: Noise) -> None:
        """Set the moments."""
        import torch

        z = latents.double()
        covariance = torch.cov(z.T)
        if self.covariance == "diagonal":
            covariance = covariance.diagonal().diag()
        assert isinstance(model.prior, priors.GaussianMixture)
        parts = torch.ones(1), z.mean(0)[None], covariance[None]
        model.prior.set(*(part.cpu().numpy() for part in parts))
