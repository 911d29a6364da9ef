"""The adversary with two restraints on its energy that the strategy itself does without."""

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


class RestrainedAdversarial(Adversarial):
    """`adversarial` whose energy is kept small, or whose own gradient is clipped."""

    capturable: ClassVar = True
    reach: ClassVar = Adversarial.reach

    penalty: float = Field(0.0, ge=0, le=1, description="of E(z)², averaged over q(z) and the adversary's z (1/nats)")
    prior_clip: float | None = Field(None, gt=0, description="norm to which the prior's gradient is clipped")

    def clip(self, group: str) -> float | None:
        """Return also the prior's own norm."""
        return self.prior_clip if group == "prior" else super().clip(group)

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield Algorithm 2's lines 3 and 4; the second with the penalty of Du & Mordatch (2019)."""
        import torch

        for name, loss in super().objective(model, z, posterior, noise):
            if name != "contrast" or not self.penalty:
                yield name, loss
                continue
            with torch.no_grad():
                negative, _ = self._drawn(model.others["adversary"], len(z), noise)
            square = model.prior.energy(torch.cat([z, negative])).square().mean()
            yield name, loss + self.penalty * square
