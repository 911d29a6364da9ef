"""A neural energy that tilts N(0, I)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench import objectives
from bench.energies.mlp import Mlp
from bench.protocol import TILT, Energy, Noise
from bench.strategy import EnergyStrategy, Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training import Model
    from bench.vae import Posterior


class Tilted(EnergyStrategy):
    """p(z) = exp(-f(z)) N(z; 0, I)/Z, trained on short Langevin runs from N(0, I) (Pang et al., 2020).

    Their step z - s^2/2 grad E + s eps with s = .4 is `step_size` s^2/2 = .08 here. The posterior is amortised.
    """

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"contrast"})}

    needs: ClassVar = frozenset({TILT})

    energy: Energy = Field(Mlp(hidden=200), description="the energy-based prior")
    negatives: Sampler = Field(
        Sampler(kind="langevin", steps=60, step_size=0.08), description="the chains of a training step, from N(0, I)"
    )

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield Eq. 8 with the short runs' ends."""
        end, _ = self.negatives.run(model.prior, noise.normal(*z.shape), noise)
        yield "contrast", objectives.contrast(model.prior, z, end)
