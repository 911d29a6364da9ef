"""What is trained, and what a step of training sees."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from bench.priors.density import Density
from bench.streams import Stream
from bench.vae.autoencoder import VAE


@dataclass(frozen=True)
class Model:
    """A VAE, its prior, and whatever else a strategy trains (an adversary, a critic), by name."""

    vae: VAE
    prior: Density
    others: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, nn.Module]:
        """The parameter groups: `encoder`, `decoder`, `prior` and the others."""
        return {"encoder": self.vae.encoder, "decoder": self.vae.decoder, "prior": self.prior, **self.others}


@dataclass(frozen=True)
class Batch:
    """One step's items, prepared `(B, D)`, and its noise: `posterior` is common to all strategies, `prior` is not."""

    x: Tensor
    posterior: Stream
    prior: Stream
