"""The adversary with what might keep its energy from running away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bench.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from bench.protocol import Noise
    from bench.training import Model
    from bench.vae import Posterior

Adversarial: Any = Registry().find("strategy", "adversarial").load()


class AblatedAdversarial(Adversarial):
    """`adversarial` with a penalty on the energy's size (after Du & Mordatch, 2019) or a clip on the prior."""

    capturable: ClassVar = True
    reach: ClassVar = Adversarial.reach

    penalty: float = Field(0.0, ge=0, description="weight of the mean of E(z)^2 on q(z)")
    prior_clip: float | None = Field(None, gt=0, description="norm to which the prior's gradient is clipped")

    def clip(self, group: str) -> float | None:
        """Return the prior's own clip."""
        return self.prior_clip if group == "prior" else super().clip(group)

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield Algorithm 2's lines 3 and 4, the energy's with its penalty."""
        for name, loss in super().objective(model, z, posterior, noise):
            if name == "contrast" and self.penalty:
                yield name, loss + self.penalty * model.prior.energy(z).square().mean()
            else:
                yield name, loss
