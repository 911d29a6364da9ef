"""Perceptrons alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.protocol import Energy

if TYPE_CHECKING:
    from bench.priors import Density


class UntiltedMlp(Energy):
    """exp(-f(z)) with a perceptron f: it need not have an integral, and the paper saw infinities and NaNs with it."""

    name: ClassVar[str] = "untilted-mlp"
    capturable: ClassVar[bool] = True
    proper: ClassVar[bool] = False

    hidden: Annotated[int, Field(ge=1, le=65536)] = Field(64, description="width of the perceptron's two hidden layers")

    def build(self, latent: int) -> Density:
        """Return a fresh perceptron."""
        from bench.energies import Neural

        return Neural(latent, self.hidden, tilted=False)
