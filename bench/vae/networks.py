"""Networks by their description in a grid."""

from __future__ import annotations

from torch import nn

from bench.protocol import Network

ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def mlp(inputs: int, hidden: list[int], outputs: int, activation: str) -> nn.Sequential:
    """Return a perceptron `(..., inputs) -> (..., outputs)` with `activation` after each hidden layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def network(description: Network, inputs: int, outputs: int) -> nn.Module:
    """Return the network of `description` between `inputs` and `outputs` features."""
    return mlp(inputs, description.hidden, outputs, description.activation)
