"""Networks of vectors: perceptrons, gated perceptrons, and densely connected ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def perceptron(inputs: int, hidden: Sequence[int], outputs: int, activation: str) -> nn.Sequential:
    """Return a perceptron `(..., inputs) -> (..., outputs)` with `activation` after each hidden layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


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


class DenseNet(nn.Module):
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
        self.head = weight_norm(nn.Linear(inputs, outputs))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs `(..., outputs)` for x `(..., inputs)`."""
        for layer in self.layers:
            x = torch.cat([x, self.activation(layer(x))], dim=-1)
        outputs: Tensor = self.head(x)
        return outputs
