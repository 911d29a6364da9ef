"""Sliced score matching with several projections a point: an example to change into your own strategy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench import objectives
from bench.protocol import Noise, Search
from bench.strategy import EnergyStrategy

# torch is imported for type checkers only, or inside a method, so that `bench list` stays quick
if TYPE_CHECKING:
    from torch import Tensor

    from bench.training import Model
    from bench.vae import Posterior


# EnergyStrategy brings an energy-based prior (a GRBM by default), its learning rate `lr` and its samplers. For another
# density override `prior` (and `others` for an adversary or a critic), or extend `bench.strategy.Strategy`.
class Example(EnergyStrategy):
    """Sliced score matching, averaged over several projections a point."""

    # parameter group -> the losses that may move it; the loop keeps every other loss away from it
    reach: ClassVar = {
        "encoder": frozenset({"bound"}),
        "decoder": frozenset({"bound"}),
        "prior": frozenset({"score-matching"}),
    }

    # a hyper-parameter: its type, the range in which it is tuned, its default, its bounds and what it means
    projections: Annotated[int, Search(low=1, high=16, log=True)] = Field(
        4, ge=1, le=1024, description="projections a point"
    )

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield the prior's losses of a step, after encoder and decoder took theirs on the bound.

        z `(B, d)` and the posterior it was drawn from are detached. Random numbers come from `noise` alone.
        """
        losses = [objectives.sliced(model.prior, z, noise.rademacher(*z.shape)) for _ in range(self.projections)]
        yield "score-matching", sum(losses[1:], losses[0]) / len(losses)
