"""Maximum likelihood of an energy, with negative samples from Markov chains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench import objectives
from bench.protocol import Noise, Task
from bench.strategy import EnergyStrategy, Sampler

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.training import Model
    from bench.vae import Posterior


class ContrastiveDivergence(EnergyStrategy):
    """Contrastive divergence (paper Eq. 8): the energy goes down on q(z) and up on short chains' ends.

    Chains that start at the posterior do not see how much mass each mode has; nor does anything else here but chains
    long enough to travel.
    """

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"contrast"})}

    start: Literal["posterior", "noise", "persistent"] = Field(
        "posterior", description="chains start at the step's z, at N(0, I), or where those of the last step ended"
    )
    negatives: Sampler = Field(Sampler(kind="gibbs", steps=1), description="the chains of a training step")

    def others(self, task: Task) -> dict[str, nn.Module]:
        """Return the persistent chains, if any: no parameters, but a state that a checkpoint keeps."""
        import torch

        if self.start != "persistent":
            return {}
        chains = torch.nn.Module()
        chains.register_buffer("positions", torch.zeros(task.budget.batch_size, task.networks.latent))
        chains.register_buffer("started", torch.zeros((), dtype=torch.bool))
        return {"chains": chains}

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield Eq. 8."""
        begin = z if self.start == "posterior" else noise.normal(*z.shape)
        if self.start == "persistent":
            positions, started = (model.others["chains"].get_buffer(name) for name in ("positions", "started"))
            begin = positions.where(started, begin)
        end, _ = self.negatives.run(model.prior, begin, noise)
        if self.start == "persistent":
            positions.copy_(end)
            started.fill_(True)
        yield "contrast", objectives.contrast(model.prior, z, end)
