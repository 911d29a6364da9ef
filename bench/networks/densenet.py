"""Densely connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.networks import Activation, Width
from bench.protocol import Network

if TYPE_CHECKING:
    from torch import nn


class Densenet(Network):
    """Each layer sees the input and all layers before it, weight-normalised (Huang et al., 2017); any items."""

    name: ClassVar[str] = "densenet"
    capturable: ClassVar[bool] = True

    hidden: list[Width] = Field([16, 16, 16, 16], description="features that each layer adds")
    activation: Activation = Field("elu", description="after each layer but the last")

    def encoder(self, shape: Sequence[int], outputs: int) -> nn.Module:
        """Return a densely connected network of flat items."""
        from bench.networks import DenseNet

        return DenseNet(math.prod(shape), self.hidden, outputs, self.activation)

    def decoder(self, inputs: int, shape: Sequence[int]) -> nn.Module:
        """Return a densely connected network to flat items."""
        from bench.networks import DenseNet

        return DenseNet(inputs, self.hidden, math.prod(shape), self.activation)
