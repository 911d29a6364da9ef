"""Gated perceptrons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.networks import Width
from bench.protocol import Network

if TYPE_CHECKING:
    from torch import nn


class GatedMlp(Network):
    """A perceptron of gated layers, (Wx + b) * sigmoid(Vx + c), as in Tomczak & Welling (2018); items of any shape."""

    name: ClassVar[str] = "gated-mlp"
    capturable: ClassVar[bool] = True

    hidden: list[Width] = Field([300, 300], description="width of each hidden layer")

    def encoder(self, shape: Sequence[int], outputs: int) -> nn.Module:
        """Return a gated perceptron of flat items."""
        return self._chain(math.prod(shape), outputs)

    def decoder(self, inputs: int, shape: Sequence[int]) -> nn.Module:
        """Return a gated perceptron to flat items."""
        return self._chain(inputs, math.prod(shape))

    def _chain(self, inputs: int, outputs: int) -> nn.Module:
        from torch import nn

        from bench.networks import Chain, Gated

        widths = [inputs, *self.hidden]
        layers = [Gated(before, after) for before, after in itertools.pairwise(widths)]
        return Chain(*layers, nn.Linear(widths[-1], outputs))
