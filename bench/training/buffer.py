"""Chains that live on from step to step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.protocol import Noise


class Buffer(nn.Module):
    """Where persistent chains stand; a part of the state, so that a checkpoint keeps it.

    Args:
        chains: how many.
        latent: d.
    """

    positions: Tensor
    started: Tensor

    def __init__(self, chains: int, latent: int) -> None:
        super().__init__()
        self.register_buffer("positions", torch.zeros(chains, latent))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def values(self, noise: Noise) -> Tensor:
        """Return the positions `(chains, d)`; draws of N(0, I) before the first step."""
        return torch.where(self.started, self.positions, noise.normal(*self.positions.shape))

    def keep(self, z: Tensor) -> None:
        """Move the chains to z `(chains, d)`."""
        self.positions.copy_(z)
        self.started.fill_(True)
