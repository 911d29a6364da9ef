"""Priors that can be sampled and have no density."""

from __future__ import annotations

from torch import Tensor

from bench.priors.density import Density
from bench.protocol import UserError


class Samples(Density):
    """A prior of which there are samples alone; subclasses give `sample`.

    Its model gets the scores that need no density. It cannot enter the bound: a strategy that extends `StagedStrategy`
    trains encoder and decoder under N(0, I) and then the sampler.
    """

    has_density = False

    def energy(self, z: Tensor) -> Tensor:
        """Refuse, in words."""
        raise UserError(
            f"{type(self).__name__} can be sampled and has no density, so no bound can be trained under it; extend "
            "bench.strategy.StagedStrategy, or give the strategy losses of its own"
        )
