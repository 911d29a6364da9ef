"""Score matching with two settings that the strategy itself leaves as the paper has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator

from bench.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from bench.protocol import Density, Noise, Task
    from bench.training import Model
    from bench.vae import VAE, Posterior

SlicedScoreMatching: Any = Registry().find("strategy", "sliced-score-matching").load()


class AblatedScoreMatching(SlicedScoreMatching):
    """`sliced-score-matching` with several steps of the prior a batch, or with other first weights of a GRBM."""

    capturable: ClassVar = True
    reach: ClassVar = SlicedScoreMatching.reach

    steps: int = Field(1, ge=1, le=100, description="steps of the prior for each of the VAE, on the same z")
    scale: float = Field(1.0, gt=0, le=100, description="of the GRBM's first weights W, times those of the strategy")

    @model_validator(mode="after")
    def _weights_can_be_scaled(self) -> Self:
        if self.scale != 1 and self.energy.name != "grbm":
            raise ValueError(f"scale = {self.scale:g} needs energy.kind = 'grbm', and it is {self.energy.name!r}")
        return self

    def prior(self, task: Task, vae: VAE, noise: Noise) -> Density:
        """Return a fresh energy, its weights scaled."""
        prior = super().prior(task, vae, noise)
        if self.scale != 1:
            with torch.no_grad():
                prior.weight.mul_(self.scale)
        return prior

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield Algorithm 1's line 5 so many times, with new directions each time."""
        for _ in range(self.steps):
            yield from super().objective(model, z, posterior, noise)
