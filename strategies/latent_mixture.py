"""A mixture of Gaussians, fitted to the latents of a VAE that was trained before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench import priors
from bench.protocol import Noise, Search, Task
from bench.strategy import StagedStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training import Model
    from bench.vae import VAE


class LatentMixture(StagedStrategy):
    """A Gaussian mixture with full covariances, fitted by EM to the latents of a finished VAE (Ghosh et al., 2020)."""

    capturable: ClassVar = True

    components: Annotated[int, Search(low=2, high=100, log=True)] = Field(
        10, ge=1, le=10_000, description="Gaussians in the mixture"
    )

    def skip(self, task: Task) -> str | None:
        """Say so where there are fewer training items than components."""
        if (items := len(task.splits.train)) >= self.components:
            return None
        return f"{self.components} components need as many training items; there are {items}"

    def prior(self, task: Task, vae: VAE, noise: Noise) -> priors.Density:
        """Return a mixture that is N(0, I) until it is fitted."""
        return priors.GaussianMixture(self.components, task.networks.latent)

    def fit_latents(self, model: Model, latents: Tensor, noise: Noise) -> None:
        """Fit the mixture by EM from centres of k-means."""
        from sklearn.mixture import GaussianMixture

        seed = int(noise.integers(2**31, 1))
        fitted = GaussianMixture(self.components, random_state=seed).fit(latents.double().cpu().numpy())
        assert isinstance(model.prior, priors.GaussianMixture)
        model.prior.set(fitted.weights_, fitted.means_, fitted.covariances_)
