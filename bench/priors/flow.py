"""A normalising flow as a prior."""

from __future__ import annotations

from typing import TypeVar

import torch
import zuko
from torch import Tensor, nn

from bench.priors.density import Density
from bench.protocol import Noise

Module = TypeVar("Module", bound=nn.Module)


def quick(flow: Module) -> Module:
    """Return an autoregressive flow with its masks as numbers: products with truth values take several times longer."""
    for module in flow.modules():
        if isinstance(module, zuko.nn.MaskedLinear):
            module.mask = module.mask.to(module.weight.dtype)
    return flow


class Flow(Density):
    """A neural spline flow: normalised, and as flexible as its networks. A reference for energies.

    References:
        Durkan et al. (2019), Neural spline flows.

    Args:
        latent: d.
        transforms: autoregressive steps, whose order is reversed from one to the next.
        hidden: widths of each step's masked network.
    """

    normalised = True

    def __init__(self, latent: int, transforms: int, hidden: list[int]) -> None:
        super().__init__()
        self.latent = latent
        self.flow = quick(zuko.flows.NSF(latent, transforms=transforms, hidden_features=hidden))

    def energy(self, z: Tensor) -> Tensor:
        """Return -log p(z), `(...)`, for z `(..., d)`."""
        log_prob: Tensor = self.flow().log_prob(z)
        return -log_prob

    @torch.no_grad()
    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`: one pass of every step for each dimension."""
        z: Tensor = self.flow().transform.inv(noise.normal(n, self.latent))
        return z
