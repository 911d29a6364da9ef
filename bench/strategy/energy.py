"""Strategies whose prior is an energy, and the Markov chains that sample it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bench.energies.grbm import Grbm
from bench.protocol import HIDDEN, Budget, Energy, Metric, Noise, Optimiser, Schedule, Score, Search, Settings, Task
from bench.strategy.general import Strategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.priors import Density
    from bench.training import Model
    from bench.vae import VAE

WATCHED_CHAINS, RECORDED = 64, 50  # of the sampler, for its diagnostics: so many chains, each recorded so often
ACCEPTANCE = Metric("sampler_acceptance", "1", "neither")
R_HAT = Metric("sampler_r_hat", "1", "neither")
CHAIN_ESS = Metric("sampler_ess", "1", "neither")


class Sampler(Settings):
    """A Markov chain."""

    kind: Literal["gibbs", "langevin", "gibbs-langevin"] = Field("langevin", description="the chain's transitions")
    steps: int = Field(100, ge=1, description="how many transitions")
    step_size: float = Field(
        0.1, gt=0, lt=2, description="of a Langevin step, in units of the smallest variance (1 for a perceptron)"
    )
    inner: int = Field(5, ge=1, description="Langevin steps a sweep of gibbs-langevin")
    adjust: bool = Field(False, description="accept or reject Langevin steps by Metropolis and Hastings")

    def run(self, prior: Density, z: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return where chains that start at z `(n, d)` end, and the share of accepted steps."""
        import torch

        from bench import samplers
        from bench.priors import Restricted

        if self.kind == "langevin" or not isinstance(prior, Restricted):
            return samplers.langevin(prior, z, self.steps, self.step_size * prior.step_unit, noise, self.adjust)
        if self.kind == "gibbs":
            return samplers.gibbs(prior, z, self.steps, noise), torch.ones((), device=z.device)
        return samplers.gibbs_langevin(prior, z, self.steps, self.inner, self.step_size, noise, self.adjust)

    def diagnostics(self, prior: Density, d: int, noise: Noise) -> Sequence[Score]:
        """Return how well chains from N(0, I) mix that run for `steps` and then, recorded, for as many again.

        `sampler_r_hat` is the greatest split R-hat, `sampler_ess` the least effective sample size, of E and each
        coordinate of z. `sampler_acceptance` is there where steps can be rejected.
        """
        import torch

        from bench import samplers

        z, _ = self.run(prior, noise.normal(WATCHED_CHAINS, d), noise)
        stride = self.model_copy(update={"steps": -(-self.steps // RECORDED)})
        trace, accepted = [], []
        for _ in range(RECORDED):
            z, share = stride.run(prior, z, noise)
            trace.append(torch.cat([z, prior.energy(z).detach()[:, None]], 1))
            accepted.append(share)
        chains = torch.stack(trace)
        values = {
            R_HAT: float(samplers.split_r_hat(chains).max()),
            CHAIN_ESS: float(samplers.effective_size(chains).min()),
        }
        if self.adjust:
            values[ACCEPTANCE] = float(torch.stack(accepted).mean())
        n = WATCHED_CHAINS * RECORDED
        return [Score(metric, value, n, "monte-carlo", 0.0, 0.0, value, value) for metric, value in values.items()]


class EnergyStrategy(Strategy):
    """A strategy whose prior is an energy that has its own objective on detached z.

    A subclass brings `objective` and names its losses in `reach`.

    Attributes:
        needs: what its energy must offer (`protocol.Energy.offers`).
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    energy: Energy = Field(Grbm(), description="the energy-based prior")
    lr: Annotated[float, Search(low=5e-5, high=2e-3, log=True)] = Field(
        2e-4, gt=0, le=1, description="learning rate of the prior"
    )
    lr_schedule: Schedule = Field(
        Schedule(), description="of the prior's learning rate", exclude_if=lambda schedule: schedule.off
    )
    sampler: Sampler = Field(Sampler(), description="draws the samples shown, from N(0, I)")

    @model_validator(mode="after")
    def _the_energy_can_be_used(self) -> Self:
        lacking = sorted(self.needs - self.energy.offers)
        if lacking:
            raise ValueError(
                f"energy.kind = {self.energy.name!r} cannot be used by this strategy, which needs a {lacking[0]}; "
                "'mlp' has one"
            )
        return self

    @model_validator(mode="after")
    def _chains_run_on_the_energy(self) -> Self:
        for name in type(self).model_fields:
            chain = getattr(self, name)
            if isinstance(chain, Sampler) and HIDDEN not in self.energy.offers and chain.kind != "langevin":
                raise ValueError(
                    f"{name}.kind = {chain.kind!r} needs hidden units, and energy.kind = {self.energy.name!r} has "
                    "none; 'langevin' is allowed, or energy.kind = 'grbm'"
                )
        return self

    def prior(self, task: Task, vae: VAE, noise: Noise) -> Density:
        """Return a fresh energy."""
        return self.energy.build(task.networks.latent)

    def optimiser(self, group: str, budget: Budget) -> Optimiser:
        """Return the budget's optimiser; for the prior, with its own learning rate."""
        return Optimiser(lr=self.lr) if group == "prior" else budget.optimiser

    def schedule(self, group: str, budget: Budget) -> Schedule:
        """Return the budget's schedule; for the prior, its own."""
        return self.lr_schedule if group == "prior" else super().schedule(group, budget)

    def diagnostics(self, model: Model, latents: Tensor, scores: Sequence[Score], noise: Noise) -> Sequence[Score]:
        """Return how well the sampler of the samples shown mixes."""
        return self.sampler.diagnostics(model.prior, latents.shape[-1], noise)

    def draws(self, model: Model, n: int, noise: Noise) -> dict[str, Tensor]:
        """Return long-run samples and those of the chosen sampler from N(0, I), `(n, d)` each."""
        long_run = model.prior.sample(n, noise)
        shown, _ = self.sampler.run(model.prior, noise.normal(*long_run.shape), noise)
        return {"prior": long_run, f"{self.sampler.kind}-{self.sampler.steps}": shown}
