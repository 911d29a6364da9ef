"""Perceptrons that tilt a normal distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.protocol import TILT, Energy

if TYPE_CHECKING:
    from bench.priors import Density


class Mlp(Energy):
    """N(0, I) times exp(-f(z)) with a perceptron f (Pang et al., 2020): it always has an integral."""

    name: ClassVar[str] = "mlp"
    capturable: ClassVar[bool] = True
    offers: ClassVar[frozenset[str]] = frozenset({TILT})

    hidden: Annotated[int, Field(ge=1, le=65536)] = Field(64, description="width of the perceptron's two hidden layers")

    def build(self, latent: int) -> Density:
        """Return N(0, I) tilted by a fresh perceptron."""
        from bench.energies import Neural

        return Neural(latent, self.hidden, tilted=True)
