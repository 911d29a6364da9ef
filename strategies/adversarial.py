"""An energy trained against a flow that follows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench import objectives
from bench.protocol import Budget, Metric, Noise, Optimiser, Schedule, Score, Search, Task
from bench.strategy import EnergyStrategy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.training import Model
    from bench.vae import Posterior

DRAWS = 10_000
BOUND = Metric("adversary_bound", "nats", "neither")
LAG = Metric("adversary_lag", "nats", version=2)  # version 1 counted log Z's error in both parts


class Adversarial(EnergyStrategy):
    """Adversarial contrastive divergence with an autoregressive flow (paper Algorithm 2, its sign corrected)."""

    capturable: ClassVar = True
    reach: ClassVar = {"adversary": frozenset({"adversary"}), "prior": frozenset({"contrast"})}

    transforms: int = Field(4, ge=1, le=32, description="the flow's autoregressive steps")
    hidden: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        [256, 256], min_length=1, description="widths of each step's masked network"
    )
    adversary_lr: Annotated[float, Search(low=1e-4, high=2e-3, log=True)] = Field(
        4e-4, gt=0, le=1, description="learning rate of the adversary"
    )
    adversary_lr_schedule: Schedule = Field(
        Schedule(), description="of the adversary's learning rate", exclude_if=lambda schedule: schedule.off
    )
    adversary_steps: int = Field(1, ge=1, le=100, description="adversary steps for each of the prior")

    def others(self, task: Task) -> dict[str, nn.Module]:
        """Return the adversary: a masked autoregressive flow turned round, so that it samples in one pass."""
        import zuko

        from bench.priors.flow import quick

        forward = zuko.flows.MAF(task.networks.latent, transforms=self.transforms, hidden_features=self.hidden)
        return {"adversary": quick(zuko.flows.Flow(forward.transform.inv, forward.base))}

    def optimiser(self, group: str, budget: Budget) -> Optimiser:
        """Return Adam without momentum for the adversary, whose target moves."""
        return (
            Optimiser(lr=self.adversary_lr, betas=[0.0, 0.9])
            if group == "adversary"
            else super().optimiser(group, budget)
        )

    def schedule(self, group: str, budget: Budget) -> Schedule:
        """Return also the adversary's own schedule."""
        return self.adversary_lr_schedule if group == "adversary" else super().schedule(group, budget)

    def _drawn(self, adversary: nn.Module, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return samples of the adversary `(n, d)` and their log densities `(n,)`, drawn from `noise` alone.

        The library's own `rsample_and_log_prob` takes its N(0, I) from torch's global generator.
        """
        flow = adversary()
        white = noise.normal(n, *flow.base.event_shape)
        z, log_scale = flow.transform.inv.call_and_ladj(white)
        return z, flow.base.log_prob(white) - log_scale

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield Algorithm 2's lines 3 and 4."""
        import torch

        from bench.training.model import held

        adversary = model.others["adversary"]
        for _ in range(self.adversary_steps):
            with held(model.prior):
                bound = objectives.adversary_bound(model.prior, *self._drawn(adversary, len(z), noise))
            yield "adversary", -bound
        with torch.no_grad():
            flow = adversary()
            negative = flow.transform.inv(noise.normal(len(z), *flow.base.event_shape))
        yield "contrast", objectives.contrast(model.prior, z, negative)

    def diagnostics(self, model: Model, latents: Tensor, scores: Sequence[Score], noise: Noise) -> Sequence[Score]:
        """Return also the adversary's bound on log Z, and how far it lags behind."""
        z, log_prob = self._drawn(model.others["adversary"], DRAWS, noise)
        terms = -model.prior.energy(z) - log_prob
        bound, error = float(terms.mean()), float(terms.std()) / DRAWS**0.5
        log_z = next(score for score in scores if score.metric.name == "log_z")
        return (
            *super().diagnostics(model, latents, scores, noise),
            Score(BOUND, bound, DRAWS, "monte-carlo", error, 0.0, bound, bound),
            Score(
                LAG,
                log_z.value - bound,
                DRAWS,
                "monte-carlo",
                error,  # log Z's own is its interval
                0.0,
                log_z.sys_lower - bound,
                log_z.sys_upper - bound,
                log_z.unreliable,
            ),
        )
