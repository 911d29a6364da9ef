"""An energy trained to give a critic nothing to see."""

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

BATCHES = 10  # of the latents that the critic is asked about
DISCREPANCY = Metric("critic_discrepancy", "1", "neither")


class Stein(EnergyStrategy):
    """The learned Stein discrepancy between the aggregate posterior and the prior (Grathwohl et al., 2020).

    The critic compares scores, which do not tell how the mass is shared among modes far apart: each keeps the share
    that it began with.
    """

    capturable: ClassVar = True
    reach: ClassVar = {"critic": frozenset({"critic"}), "prior": frozenset({"discrepancy"})}

    penalty: Annotated[float, Search(choices=[0.1, 1.0, 10.0])] = Field(
        1.0, gt=0, le=1000, description="lambda, the weight of the critic's squared norm"
    )
    critic_hidden: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        [256, 256], min_length=1, description="widths of the critic's hidden layers"
    )
    critic_lr: Annotated[float, Search(low=1e-4, high=3e-3, log=True)] = Field(
        1e-3, gt=0, le=1, description="learning rate of the critic"
    )
    critic_lr_schedule: Schedule = Field(
        Schedule(), description="of the critic's learning rate", exclude_if=lambda schedule: schedule.off
    )
    critic_steps: int = Field(5, ge=1, le=100, description="critic steps for each of the prior")
    directions: int = Field(4, ge=1, le=256, description="Rademacher vectors that estimate the critic's divergence")

    def others(self, task: Task) -> dict[str, nn.Module]:
        """Return the critic."""
        return {"critic": objectives.Critic(task.networks.latent, self.critic_hidden)}

    def optimiser(self, group: str, budget: Budget) -> Optimiser:
        """Return Adam without momentum for critic and prior, whose targets move."""
        if group == "critic":
            return Optimiser(lr=self.critic_lr, betas=[0.0, 0.9])
        return Optimiser(lr=self.lr, betas=[0.0, 0.9]) if group == "prior" else budget.optimiser

    def schedule(self, group: str, budget: Budget) -> Schedule:
        """Return also the critic's own schedule."""
        return self.critic_lr_schedule if group == "critic" else super().schedule(group, budget)

    def clip(self, group: str) -> float | None:
        """Return 10 for critic and prior."""
        return 10.0 if group in ("critic", "prior") else None

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield the critic's steps, then the prior's."""
        critic = model.others["critic"]
        assert isinstance(critic, objectives.Critic)
        critic.follow(z)
        score = -model.prior.gradient(z)
        for _ in range(self.critic_steps):
            directions = noise.rademacher(self.directions, *z.shape)
            yield "critic", -objectives.discrepancy(critic, score, z, self.penalty, directions)
        yield "discrepancy", objectives.model_part(model.prior, critic, z)

    def diagnostics(self, model: Model, latents: Tensor, scores: Sequence[Score], noise: Noise) -> Sequence[Score]:
        """Return also the discrepancy that the critic sees; the best critic's is E_q||s - s_q||^2/4 lambda."""
        import torch

        critic = model.others["critic"]
        assert isinstance(critic, objectives.Critic)
        parts = []
        with torch.enable_grad():
            for z in latents.chunk(BATCHES):
                directions = noise.rademacher(self.directions, *z.shape)
                score = -model.prior.gradient(z)
                parts.append(objectives.discrepancy(critic, score, z, self.penalty, directions).detach())
        values = torch.stack(parts)
        mean, error = float(values.mean()), float(values.std()) / len(values) ** 0.5
        own = Score(DISCREPANCY, mean, len(latents), "monte-carlo", error, 0.0, mean, mean)
        return (*super().diagnostics(model, latents, scores, noise), own)
