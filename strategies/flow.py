"""A normalising flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench import priors
from bench.protocol import Noise, Search, Task
from bench.strategy import Strategy

if TYPE_CHECKING:
    from bench.vae import VAE


class Flow(Strategy):
    """A neural spline flow trained with the bound: a flexible prior that is normalised, for reference."""

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"bound"})}

    transforms: Annotated[int, Search(low=1, high=6)] = Field(3, ge=1, le=32, description="autoregressive steps")
    hidden: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        [64, 64], min_length=1, description="widths of each step's masked network"
    )

    def prior(self, task: Task, vae: VAE, noise: Noise) -> priors.Density:
        """Return the flow."""
        return priors.Flow(task.networks.latent, self.transforms, self.hidden)
