"""Networks of images: 4x4 convolutions of stride 2, and their mirror image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.networks.modules.dense import ACTIVATIONS


def image(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return planes, height and width of `(H, W)` or `(planes, H, W)`."""
    planes, height, width = (1, *shape) if len(shape) == 2 else shape
    return planes, height, width


def images(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return x `(..., D)` as images `(n, planes, H, W)`, planes innermost in memory: convolutions are quicker so."""
    return x.reshape(-1, *shape).contiguous(memory_format=torch.channels_last)


def planes_last(net: nn.Sequential) -> nn.Sequential:
    """Return a network of images, its weights in memory as `images` are."""
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net


class Convolutions(nn.Module):
    """An image `(..., D)` -> `(..., outputs)`: 4x4 convolutions of stride 2, then a linear layer.

    The encoder of the paper's section 4.3 has the channels 32, 64, 128 and 256.

    Args:
        shape: of an image, `(H, W)` or `(planes, H, W)`; D is its size.
        channels: after each convolution, which halves height and width.
        outputs: number of output features.
        activation: after each convolution.
    """

    def __init__(self, shape: Sequence[int], channels: Sequence[int], outputs: int, activation: str) -> None:
        super().__init__()
        self.image = image(shape)
        planes, height, width = self.image
        layers: list[nn.Module] = []
        for wider in channels:
            layers += [nn.Conv2d(planes, wider, kernel_size=4, stride=2, padding=1), ACTIVATIONS[activation]()]
            planes = wider
        self.convolutions = planes_last(nn.Sequential(*layers))
        shrunk = 2 ** len(channels)
        self.head = nn.Linear(planes * (height // shrunk) * (width // shrunk), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs `(..., outputs)` for x `(..., D)`."""
        features = self.convolutions(images(x, self.image)).flatten(1)
        outputs: Tensor = self.head(features)
        return outputs.reshape(*x.shape[:-1], -1)


class Transposed(nn.Module):
    """`(..., inputs)` -> an image `(..., D)`: a linear layer, then 4x4 transposed convolutions of stride 2.

    The decoder of the paper's section 4.3 has the channels 256 (of 2x2 pixels, our choice), 128, 64 and 32 and ends in
    the image's three planes.

    Args:
        inputs: number of input features.
        channels: before each transposed convolution, which doubles height and width.
        shape: of an image, `(H, W)` or `(planes, H, W)`; D is its size.
        activation: after each transposed convolution but the last.
    """

    def __init__(self, inputs: int, channels: Sequence[int], shape: Sequence[int], activation: str) -> None:
        super().__init__()
        planes, height, width = image(shape)
        shrunk = 2 ** len(channels)
        self.start = (channels[0], height // shrunk, width // shrunk)
        self.tail = nn.Linear(inputs, math.prod(self.start))
        layers: list[nn.Module] = []
        for wider, narrower in zip(channels, [*channels[1:], planes], strict=True):
            layers += [
                nn.ConvTranspose2d(wider, narrower, kernel_size=4, stride=2, padding=1),
                ACTIVATIONS[activation](),
            ]
        self.convolutions = planes_last(nn.Sequential(*layers[:-1]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the images `(..., D)` for x `(..., inputs)`."""
        made: Tensor = self.convolutions(images(self.tail(x), self.start))
        return made.reshape(*x.shape[:-1], -1)
