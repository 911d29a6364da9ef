"""Gaussian-Bernoulli restricted Boltzmann machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.protocol import HIDDEN, Energy

if TYPE_CHECKING:
    from bench.priors import Density


class Grbm(Energy):
    """A Gaussian-Bernoulli RBM (paper Eq. 12): a mixture of 2^H Gaussians; log Z is exact up to H = 20."""

    name: ClassVar[str] = "grbm"
    capturable: ClassVar[bool] = True
    offers: ClassVar[frozenset[str]] = frozenset({HIDDEN})

    hidden: Annotated[int, Field(ge=1, le=65536)] = Field(64, description="number H of hidden units")

    def build(self, latent: int) -> Density:
        """Return a machine of small random weights."""
        from bench.energies import GRBM

        return GRBM(latent, self.hidden)
