"""The partition function inside the bound, estimated from posterior samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench import objectives
from bench.strategy import EnergyStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.priors import Density
    from bench.training import Batch, Model


class ImportanceWeighted(EnergyStrategy):
    """Importance-weighted log Z in one loss with the VAE (paper Eq. 5, whose gradient is Eq. 7; or Eq. 6).

    It is expected to fail with a learned variance (the paper's EVAE): the posterior matches the true posterior and not
    the prior, and -ln Z rewards shrinking it. With the variance fixed at 1 (ECVAE) it does reasonably.
    """

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"bound"})}

    variance: Literal["learned", "fixed"] = Field("learned", description="of the posterior: the paper's EVAE or ECVAE")
    form: Literal["bound", "likelihood"] = Field("bound", description="Eq. 5, or Eq. 6 trained directly")
    samples: int = Field(64, ge=2, le=4096, description="posterior samples K an item")
    pool: Literal["item", "batch"] = Field("item", description="one ln Z for each item's samples, or one a batch")
    stop_gradient: bool = Field(False, description="keep the gradient of ln Z from the encoder")

    def called(self, loss: str, prior: Density) -> str:
        """Say that the loss has a log Z of its own, which is biased and rewards a narrow posterior."""
        return f"{self.form} with log Z from the posterior"

    def posterior_std(self) -> float | None:
        """Return 1 for ECVAE."""
        return 1.0 if self.variance == "fixed" else None

    def losses(self, model: Model, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        """Yield the one loss that all share."""
        posterior = model.vae.encoder(batch.x)
        z = posterior.sample(batch.posterior.normal(self.samples, *posterior.mean.shape))
        log_ratio = -model.prior.energy(z) - posterior.log_prob(z)
        weights = log_ratio
        if self.stop_gradient:
            weights = -model.prior.energy(z.detach()) - posterior.detach().log_prob(z.detach())
        log_z = objectives.log_mean_exp(weights if self.pool == "item" else weights.flatten())
        objective = objectives.importance_bound if self.form == "bound" else objectives.importance_likelihood
        log_likelihood = model.vae.log_likelihood(batch.x, z)
        yield "bound", batch.weighted("bound", lambda w: -objective(log_likelihood, w * log_ratio, w * log_z))
