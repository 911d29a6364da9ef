"""An energy fitted to the aggregate posterior by its score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench import objectives
from bench.protocol import Noise
from bench.strategy import EnergyStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training import Model
    from bench.vae import Posterior


class SlicedScoreMatching(EnergyStrategy):
    """Sliced score matching of a GRBM to the aggregate posterior (paper Algorithm 1, its Hessian's sign corrected).

    Scores do not tell how the mass is shared among modes far apart: each keeps the share that it began with.
    """

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"score-matching"})}

    variant: Literal["sliced", "variance-reduced", "exact"] = Field(
        "sliced", description="one projection; the same with its square in closed form; no projection"
    )

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield Algorithm 1's line 5."""
        if self.variant == "exact":
            yield "score-matching", objectives.exact(model.prior, z)
            return
        matching = objectives.sliced if self.variant == "sliced" else objectives.sliced_variance_reduced
        yield "score-matching", matching(model.prior, z, noise.rademacher(*z.shape))
