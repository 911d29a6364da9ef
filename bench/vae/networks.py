"""Networks by their description in a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from bench.protocol import Network

ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def mlp(inputs: int, hidden: list[int], outputs: int, activation: str) -> nn.Sequential:
    """Return a perceptron `(..., inputs) -> (..., outputs)` with `activation` after each hidden layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class DenseNet(nn.Module):
    """A densely connected network `(..., inputs) -> (..., outputs)`: every layer sees the input and all before it.

    The paper's toy experiments have growths of 16 in four layers (section 4.1): 2 inputs become 18, 34, 50 and 66
    features, on which the linear head stands. All layers, the head too, are weight-normalised.

    References:
        Huang et al. (2017), Densely connected convolutional networks.
        Salimans & Kingma (2016), Weight normalization.

    Args:
        inputs: number of input features.
        growths: features that each layer adds.
        outputs: number of output features.
        activation: after each layer but the head.
    """

    def __init__(self, inputs: int, growths: list[int], outputs: int, activation: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for growth in growths:
            self.layers.append(weight_norm(nn.Linear(inputs, growth)))
            inputs += growth
        self.head = weight_norm(nn.Linear(inputs, outputs))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs `(..., outputs)` for x `(..., inputs)`."""
        for layer in self.layers:
            x = torch.cat([x, self.activation(layer(x))], dim=-1)
        outputs: Tensor = self.head(x)
        return outputs


class Convolutions(nn.Module):
    """An image `(..., D)` -> `(..., outputs)`: 4x4 convolutions of stride 2, then a linear layer.

    The encoder of the paper's section 4.3 has the channels 32, 64, 128 and 256.

    Args:
        image: planes, height and width; D is their product.
        channels: after each convolution, which halves height and width.
        outputs: number of output features.
        activation: after each convolution.
    """

    def __init__(self, image: tuple[int, int, int], channels: Sequence[int], outputs: int, activation: str) -> None:
        super().__init__()
        self.image = image
        planes, height, width = image
        layers: list[nn.Module] = []
        for wider in channels:
            layers += [nn.Conv2d(planes, wider, kernel_size=4, stride=2, padding=1), ACTIVATIONS[activation]()]
            planes = wider
        self.convolutions = nn.Sequential(*layers)
        shrunk = 2 ** len(channels)
        self.head = nn.Linear(planes * (height // shrunk) * (width // shrunk), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs `(..., outputs)` for x `(..., D)`."""
        features = self.convolutions(x.reshape(-1, *self.image)).flatten(1)
        outputs: Tensor = self.head(features)
        return outputs.reshape(*x.shape[:-1], -1)


class Transposed(nn.Module):
    """`(..., inputs)` -> an image `(..., D)`: a linear layer, then 4x4 transposed convolutions of stride 2.

    The decoder of the paper's section 4.3 has the channels 256 (of 2x2 pixels, our choice), 128, 64 and 32 and ends in
    the image's three planes.

    Args:
        inputs: number of input features.
        channels: before each transposed convolution, which doubles height and width.
        image: planes, height and width; D is their product.
        activation: after each transposed convolution but the last.
    """

    def __init__(self, inputs: int, channels: Sequence[int], image: tuple[int, int, int], activation: str) -> None:
        super().__init__()
        planes, height, width = image
        shrunk = 2 ** len(channels)
        self.start = (channels[0], height // shrunk, width // shrunk)
        self.tail = nn.Linear(inputs, math.prod(self.start))
        layers: list[nn.Module] = []
        for wider, narrower in zip(channels, [*channels[1:], planes], strict=True):
            layers += [
                nn.ConvTranspose2d(wider, narrower, kernel_size=4, stride=2, padding=1),
                ACTIVATIONS[activation](),
            ]
        self.convolutions = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the images `(..., D)` for x `(..., inputs)`."""
        images: Tensor = self.convolutions(self.tail(x).reshape(-1, *self.start))
        return images.reshape(*x.shape[:-1], -1)


def encoding(description: Network, shape: Sequence[int], outputs: int) -> nn.Module:
    """Return the network of `description` from items of `shape`, `(..., D)` when flat, to `outputs` features."""
    if description.kind == "conv":
        return Convolutions(_image(shape), description.hidden, outputs, description.activation)
    return network(description, math.prod(shape), outputs)


def decoding(description: Network, inputs: int, shape: Sequence[int]) -> nn.Module:
    """Return the network of `description` from `inputs` features to items of `shape`, `(..., D)` when flat."""
    if description.kind == "conv":
        return Transposed(inputs, description.hidden, _image(shape), description.activation)
    return network(description, inputs, math.prod(shape))


def network(description: Network, inputs: int, outputs: int) -> nn.Module:
    """Return the network of `description`, which is not of convolutions, between `inputs` and `outputs` features."""
    if description.kind == "densenet":
        return DenseNet(inputs, description.hidden, outputs, description.activation)
    return mlp(inputs, description.hidden, outputs, description.activation)


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return planes, height and width of `(H, W)` or `(planes, H, W)`."""
    planes, height, width = (1, *shape) if len(shape) == 2 else shape
    return planes, height, width
