"""An energy fitted to the aggregate posterior by the scores of the posteriors it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from bench import objectives
from bench.protocol import Noise
from bench.strategy import EnergyStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training import Model
    from bench.vae import Posterior


class DenoisingScoreMatching(EnergyStrategy):
    """Denoising score matching: -grad E is regressed on the score of q(z|x), whose mean is that of q(z).

    Scores do not tell how the mass is shared among modes far apart: each keeps the share that it began with.
    """

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"score-matching"})}

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield the regression."""
        yield "score-matching", objectives.denoising(model.prior, z, posterior.mean, posterior.log_std)
