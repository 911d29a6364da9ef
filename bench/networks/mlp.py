"""Perceptrons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.networks import Activation, Width
from bench.protocol import Network

if TYPE_CHECKING:
    from torch import nn


class Mlp(Network):
    """A perceptron: layers in a chain; takes items of any shape."""

    name: ClassVar[str] = "mlp"
    capturable: ClassVar[bool] = True

    hidden: list[Width] = Field([256, 256], description="width of each hidden layer")
    activation: Activation = Field("elu", description="after each hidden layer")

    def encoder(self, shape: Sequence[int], outputs: int) -> nn.Module:
        """Return a perceptron of flat items."""
        from bench.networks import perceptron

        return perceptron(math.prod(shape), self.hidden, outputs, self.activation)

    def decoder(self, inputs: int, shape: Sequence[int]) -> nn.Module:
        """Return a perceptron to flat items."""
        from bench.networks import perceptron

        return perceptron(inputs, self.hidden, math.prod(shape), self.activation)
