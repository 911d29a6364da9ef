"""A flow on the latents of a finished VAE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from bench.plugins import Registry
from bench.protocol import Noise
from bench.strategy import StagedStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training import Model
    from bench.vae import Posterior

Flow: Any = Registry().find("strategy", "flow").load()


class FrozenFlow(StagedStrategy, Flow):
    """`flow` in two stages: a VAE with a N(0, I) prior, then the prior, on frozen latents."""

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"cross-entropy"})}

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield -E_q[log p(z)]: all of the bound that depends on the prior."""
        yield "cross-entropy", model.prior.energy(z).mean()
