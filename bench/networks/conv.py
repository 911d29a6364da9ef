"""Convolutional networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.networks import Activation, Width, halved
from bench.protocol import Network

if TYPE_CHECKING:
    from torch import nn


class Conv(Network):
    """Convolutions of 4x4 pixels and stride 2; for images whose sides can be halved once a layer."""

    name: ClassVar[str] = "conv"
    capturable: ClassVar[bool] = True

    hidden: list[Width] = Field(
        [32, 64, 128, 256], min_length=1, description="channels of each layer; each halves (doubles) the image's sides"
    )
    activation: Activation = Field("elu", description="after each layer, but for a decoder's last")

    def refuses(self, shape: Sequence[int]) -> str | None:
        """Refuse what is no image, or cannot be halved so often."""
        return halved(shape, len(self.hidden))

    def encoder(self, shape: Sequence[int], outputs: int) -> nn.Module:
        """Return convolutions, then a linear layer."""
        from bench.networks import Convolutions

        return Convolutions(shape, self.hidden, outputs, self.activation)

    def decoder(self, inputs: int, shape: Sequence[int]) -> nn.Module:
        """Return a linear layer, then transposed convolutions."""
        from bench.networks import Transposed

        return Transposed(inputs, self.hidden, shape, self.activation)
