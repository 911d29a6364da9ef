"""Networks by their description in a grid."""

from __future__ import annotations

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


def network(description: Network, inputs: int, outputs: int) -> nn.Module:
    """Return the network of `description` between `inputs` and `outputs` features."""
    if description.kind == "densenet":
        return DenseNet(inputs, description.hidden, outputs, description.activation)
    return mlp(inputs, description.hidden, outputs, description.activation)
