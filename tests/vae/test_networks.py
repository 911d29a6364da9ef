"""Networks have the layers that a grid asks for."""

from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench.protocol import Network, Networks
from bench.vae import decoder, encoder
from bench.vae.networks import DenseNet, network

DENSE = Network(kind="densenet", hidden=[16, 16, 16, 16])


def linears(net: nn.Module) -> list[nn.Linear]:
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def test_the_paper_s_toy_networks_grow_from_2_to_66_features() -> None:
    """Section 4.1: hidden size 16, depth 4, in the encoder and in the decoder."""
    networks = Networks(encoder=DENSE, decoder=DENSE, latent=2)
    for net, outputs in ((encoder(networks, 2), 4), (decoder(networks, 2, "gaussian"), 2)):
        shapes = [(layer.in_features, layer.out_features) for layer in linears(net)]
        assert shapes == [(2, 16), (18, 16), (34, 16), (50, 16), (66, outputs)]


def test_a_dense_layer_sees_the_input_and_every_layer_before_it() -> None:
    torch.manual_seed(0)
    net = DenseNet(2, [3, 4], 5, "elu").double()
    x = torch.randn(7, 2, dtype=torch.float64)
    first, second, head = linears(net)
    one = torch.cat([x, nn.functional.elu(x @ first.weight.T + first.bias)], 1)
    two = torch.cat([one, nn.functional.elu(one @ second.weight.T + second.bias)], 1)
    torch.testing.assert_close(net(x), two @ head.weight.T + head.bias)


def test_every_dense_layer_is_a_direction_times_a_norm() -> None:
    """Weight normalisation: the norm of each unit's weights is a parameter, the length of its direction is not."""
    torch.manual_seed(0)
    net = DenseNet(2, [3, 4], 5, "elu")
    for layer in linears(net):
        parameters = dict(layer.named_parameters())
        norm, direction = (parameters[f"parametrizations.weight.original{part}"] for part in (0, 1))
        torch.testing.assert_close(layer.weight.norm(dim=1, keepdim=True), norm)
        before = layer.weight.detach().clone()
        with torch.no_grad():
            direction.mul_(3)
        torch.testing.assert_close(layer.weight, before)


def test_every_parameter_of_a_densenet_gets_a_gradient() -> None:
    torch.manual_seed(0)
    net = network(DENSE, 2, 4)
    net(torch.randn(9, 2)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def test_a_densenet_is_restored_from_its_state() -> None:
    torch.manual_seed(0)
    net, other = network(DENSE, 2, 4), network(DENSE, 2, 4)
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    x = torch.randn(5, 2)
    assert torch.equal(net(x), other(x))


def test_an_unknown_kind_of_network_is_refused() -> None:
    with pytest.raises(ValidationError, match="'mlp' or 'densenet'"):
        Network.model_validate({"kind": "resnet"})


def test_what_a_grid_said_before_it_still_says() -> None:
    """Cells are known by a hash of this."""
    assert Network().model_dump() == {"kind": "mlp", "hidden": [256, 256], "activation": "elu"}
