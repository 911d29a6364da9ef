"""Residual networks of images.

They have no batch normalisation: it would make an item's score depend on the items beside it. Each block starts as the
identity instead, since its last convolution starts at 0 (Zhang et al., 2019).

References:
    He et al. (2016), Identity mappings in deep residual networks; https://arxiv.org/abs/1603.05027.
    Zhang, Dauphin & Ma (2019), Fixup initialization; https://arxiv.org/abs/1901.09321.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from bench.networks.modules.convolutions import image, images, planes_last
from bench.networks.modules.dense import ACTIVATIONS


class Block(nn.Module):
    """x + conv(a(conv(a(x)))) with 3x3 convolutions, on images `(n, channels, H, W)`."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        first, last = (nn.Conv2d(channels, channels, kernel_size=3, padding=1) for _ in range(2))
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.branch = nn.Sequential(ACTIVATIONS[activation](), first, ACTIVATIONS[activation](), last)

    def forward(self, x: Tensor) -> Tensor:
        """Return images of the same shape."""
        made: Tensor = x + self.branch(x)
        return made


class ResidualEncoder(nn.Module):
    """An image `(..., D)` -> `(..., outputs)`: stages that halve the sides and end in blocks, then a linear layer.

    Args:
        shape: of an image, `(H, W)` or `(planes, H, W)`; D is its size.
        channels: of each stage.
        blocks: of a stage.
        outputs: number of output features.
        activation: within blocks, and before the linear layer.
    """

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], blocks: int, outputs: int, activation: str
    ) -> None:
        super().__init__()
        self.image = image(shape)
        planes, height, width = self.image
        layers: list[nn.Module] = []
        for wider in channels:
            layers.append(nn.Conv2d(planes, wider, kernel_size=4, stride=2, padding=1))
            layers += [Block(wider, activation) for _ in range(blocks)]
            planes = wider
        self.stages = planes_last(nn.Sequential(*layers, ACTIVATIONS[activation]()))
        shrunk = 2 ** len(channels)
        self.head = nn.Linear(planes * (height // shrunk) * (width // shrunk), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs `(..., outputs)` for x `(..., D)`."""
        outputs: Tensor = self.head(self.stages(images(x, self.image)).flatten(1))
        return outputs.reshape(*x.shape[:-1], -1)


class ResidualDecoder(nn.Module):
    """`(..., inputs)` -> an image `(..., D)`: a linear layer, then stages that begin with blocks and double the sides.

    Args:
        inputs: number of input features.
        channels: of each stage.
        blocks: of a stage.
        shape: of an image, `(H, W)` or `(planes, H, W)`; D is its size.
        activation: within blocks, and before each transposed convolution.
    """

    def __init__(
        self, inputs: int, channels: Sequence[int], blocks: int, shape: Sequence[int], activation: str
    ) -> None:
        super().__init__()
        planes, height, width = image(shape)
        shrunk = 2 ** len(channels)
        self.start = (channels[0], height // shrunk, width // shrunk)
        self.tail = nn.Linear(inputs, math.prod(self.start))
        layers: list[nn.Module] = []
        for wider, narrower in zip(channels, [*channels[1:], planes], strict=True):
            layers += [Block(wider, activation) for _ in range(blocks)]
            layers.append(ACTIVATIONS[activation]())
            layers.append(nn.ConvTranspose2d(wider, narrower, kernel_size=4, stride=2, padding=1))
        self.stages = planes_last(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        """Return the images `(..., D)` for x `(..., inputs)`."""
        made: Tensor = self.stages(images(self.tail(x), self.start))
        return made.reshape(*x.shape[:-1], -1)
