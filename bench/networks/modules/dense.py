"""Networks of vectors: perceptrons, gated perceptrons, and densely connected ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class Elu(nn.ELU):
    """x where it is above 0, else e^x - 1; where no gradient is recorded, in a third of torch's time.

    There e^x - 1 is that difference, which is off by about a rounding of 1, and not `expm1`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations, the shape of x."""
        if torch.is_grad_enabled() and x.requires_grad:
            return super().forward(x)
        below = x.clamp(max=0).exp_().sub_(1)
        return torch.maximum(x, below, out=below)


ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": Elu, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Headed(ABC):
    """A network that ends in a linear layer, its head. What reads its outputs may use that layer in a quicker way."""

    @abstractmethod
    def last(self) -> nn.Linear:
        """Return the head."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return the features `(..., F)` that enter the head, for x `(..., inputs)`."""


class Chain(nn.Sequential, Headed):
    """Layers in a chain, the last of which is linear."""

    def last(self) -> nn.Linear:
        """Return the last layer."""
        layer = self[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def features(self, x: Tensor) -> Tensor:
        """Return the features that enter the last layer."""
        for layer in list(self)[:-1]:
            x = layer(x)
        return x


def perceptron(inputs: int, hidden: Sequence[int], outputs: int, activation: str) -> Chain:
    """Return a perceptron `(..., inputs) -> (..., outputs)` with `activation` after each hidden layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        inputs = width
    return Chain(*layers, nn.Linear(inputs, outputs))


class Gated(nn.Module):
    """A gated layer `(..., inputs) -> (..., outputs)`: (Wx + b) * sigmoid(Vx + c).

    References:
        Tomczak & Welling (2018), VAE with a VampPrior, section 4.1; https://arxiv.org/abs/1705.07120.
        Dauphin et al. (2017), Language modeling with gated convolutional networks; https://arxiv.org/abs/1612.08083.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs `(..., outputs)` for x `(..., inputs)`."""
        outputs: Tensor = self.value(x) * torch.sigmoid(self.gate(x))
        return outputs


class DenseNet(nn.Module, Headed):
    """A densely connected network `(..., inputs) -> (..., outputs)`: every layer sees the input and all before it.

    The paper's toy experiments have growths of 16 in four layers (section 4.1): 2 inputs become 18, 34, 50 and 66
    features, on which the linear head stands. All layers, the head too, are weight-normalised.

    References:
        Huang et al. (2017), Densely connected convolutional networks; https://arxiv.org/abs/1608.06993.
        Salimans & Kingma (2016), Weight normalization; https://arxiv.org/abs/1602.07868.

    Args:
        inputs: number of input features.
        growths: features that each layer adds.
        outputs: number of output features.
        activation: after each layer but the head.
    """

    def __init__(self, inputs: int, growths: Sequence[int], outputs: int, activation: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for growth in growths:
            self.layers.append(weight_norm(nn.Linear(inputs, growth)))
            inputs += growth
        self.head: nn.Linear = weight_norm(nn.Linear(inputs, outputs))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs `(..., outputs)` for x `(..., inputs)`."""
        outputs: Tensor = self.head(self.features(x))
        return outputs

    def last(self) -> nn.Linear:
        """Return the head."""
        return self.head

    def features(self, x: Tensor) -> Tensor:
        """Return the features that enter the head."""
        for layer in self.layers:
            x = torch.cat([x, self.activation(layer(x))], dim=-1)
        return x
