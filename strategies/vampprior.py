"""A mixture of posteriors at learned pseudo-inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench import priors
from bench.protocol import Noise, Search, Task
from bench.strategy import Strategy

if TYPE_CHECKING:
    from bench.vae import VAE

JITTER = 0.01  # standard deviation of the noise on the training items that pseudo-inputs start from


class VampPrior(Strategy):
    """VampPrior: a mixture of the encoder's posteriors at learned pseudo-inputs (Tomczak & Welling, 2018)."""

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"bound"})}

    components: Annotated[int, Search(choices=[16, 128, 500])] = Field(
        16, ge=1, le=65536, description="number K of pseudo-inputs"
    )

    def skip(self, task: Task) -> str | None:
        """Say so where there are fewer training items than pseudo-inputs to start from them."""
        items = len(task.splits.train)
        if items < self.components:
            return f"{self.components} pseudo-inputs start from as many training items, and there are {items}"
        return None

    def prior(self, task: Task, vae: VAE, noise: Noise) -> priors.VampPrior:
        """Return the mixture at training items drawn at random, a little noise on them."""
        import torch

        chosen = noise.permutation(len(task.splits.train))[: self.components]
        items = task.dataset.prepare(torch.from_numpy(task.splits.train)[chosen], noise)
        inputs = items + JITTER * noise.normal(*items.shape)
        return priors.VampPrior(vae.encoder, inputs, vae.decoder.likelihood.bounds)
