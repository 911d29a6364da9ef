"""Residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.networks import Activation, Width, halved
from bench.protocol import Network

if TYPE_CHECKING:
    from torch import nn


class Resnet(Network):
    """A residual network of 3x3 convolutions, without batch normalisation, for images (28x28, 32x32, ...)."""

    name: ClassVar[str] = "resnet"
    capturable: ClassVar[bool] = True

    channels: list[Width] = Field(
        [32, 64], min_length=1, description="of each stage; a stage halves (doubles) the image's sides"
    )
    blocks: int = Field(1, ge=1, le=64, description="residual blocks of a stage")
    activation: Activation = Field("elu", description="within blocks")

    def refuses(self, shape: Sequence[int]) -> str | None:
        """Refuse what is no image, or cannot be halved so often."""
        return halved(shape, len(self.channels))

    def encoder(self, shape: Sequence[int], outputs: int) -> nn.Module:
        """Return stages of blocks, then a linear layer."""
        from bench.networks import ResidualEncoder

        return ResidualEncoder(shape, self.channels, self.blocks, outputs, self.activation)

    def decoder(self, inputs: int, shape: Sequence[int]) -> nn.Module:
        """Return a linear layer, then stages of blocks."""
        from bench.networks import ResidualDecoder

        channels = self.channels[::-1]
        return ResidualDecoder(inputs, channels, self.blocks, shape, self.activation)
