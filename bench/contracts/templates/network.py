"""A perceptron with a linear way past each hidden layer: an example to change into your own network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.protocol import Network

# torch is imported for type checkers only, or inside a method, so that `bench list` stays quick
if TYPE_CHECKING:
    from torch import nn


class Example(Network):
    """A perceptron whose hidden layers keep a linear part; items of any shape."""

    name: ClassVar[str]  # set by bench, from the file

    # an option: its type, its default, its bounds and what it means
    hidden: list[Annotated[int, Field(ge=1, le=65536)]] = Field([64, 64], description="width of each hidden layer")

    # What it cannot do, a network refuses in words before anything runs; this one takes any items.
    def refuses(self, shape: Sequence[int]) -> str | None:
        """Return why items of `shape` cannot be done, as the end of "networks.encoder.kind = ...", or None."""
        return None

    def encoder(self, shape: Sequence[int], outputs: int) -> nn.Module:
        """Return a module from flat items `(..., D)` to `(..., outputs)`."""
        return self._chain(math.prod(shape), outputs)

    def decoder(self, inputs: int, shape: Sequence[int]) -> nn.Module:
        """Return a module from `(..., inputs)` to flat items `(..., D)`."""
        return self._chain(inputs, math.prod(shape))

    def _chain(self, inputs: int, outputs: int) -> nn.Module:
        from torch import Tensor, nn

        class Layer(nn.Module):
            """Ax + silu(Bx + c)."""

            def __init__(self, before: int, after: int) -> None:
                super().__init__()
                self.straight, self.bent = nn.Linear(before, after, bias=False), nn.Linear(before, after)

            def forward(self, x: Tensor) -> Tensor:
                """Return `(..., after)` for x `(..., before)`."""
                y: Tensor = self.straight(x) + nn.functional.silu(self.bent(x))
                return y

        widths = [inputs, *self.hidden]
        layers = [Layer(before, after) for before, after in itertools.pairwise(widths)]
        return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
