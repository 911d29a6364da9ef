"""Maximum likelihood of an energy, with negative samples from Markov chains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench import objectives, training
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

    reach: ClassVar = {
        "encoder": frozenset({"bound"}),
        "decoder": frozenset({"bound"}),
        "prior": frozenset({"contrast"}),
    }

    start: Literal["posterior", "noise", "persistent"] = Field(
        "posterior", description="chains start at the step's z, at N(0, I), or where those of the last step ended"
    )
    negatives: Sampler = Field(Sampler(kind="gibbs", steps=1), description="the chains of a training step")

    def others(self, task: Task) -> dict[str, nn.Module]:
        """Return the persistent chains, if any: no parameters, but a state that a checkpoint keeps."""
        if self.start != "persistent":
            return {}
        return {"chains": training.Buffer(task.budget.batch_size, task.networks.latent)}

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield Eq. 8."""
        if self.start == "persistent":
            chains = model.others["chains"]
            assert isinstance(chains, training.Buffer)
            end, _ = self.negatives.run(model.prior, chains.values(noise), noise)
            chains.keep(end)
        else:
            begin = z if self.start == "posterior" else noise.normal(*z.shape)
            end, _ = self.negatives.run(model.prior, begin, noise)
        yield "contrast", objectives.contrast(model.prior, z, end)
