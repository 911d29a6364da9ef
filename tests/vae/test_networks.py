"""Networks have the layers that a grid asks for."""

from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench.protocol import Network, Networks, UserError
from bench.vae import decoder, encoder
from bench.vae.networks import DenseNet, decoding, encoding, network

DENSE = Network(kind="densenet", hidden=[16, 16, 16, 16])
PAPER = Networks(
    encoder=Network(kind="conv", hidden=[32, 64, 128, 256], activation="relu"),
    decoder=Network(kind="conv", hidden=[256, 128, 64, 32], activation="relu"),
    latent=512,
)


def linears(net: nn.Module) -> list[nn.Linear]:
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def test_the_paper_s_toy_networks_grow_from_2_to_66_features() -> None:
    """Section 4.1: hidden size 16, depth 4, in the encoder and in the decoder."""
    networks = Networks(encoder=DENSE, decoder=DENSE, latent=2)
    for net, outputs in ((encoder(networks, (2,)), 4), (decoder(networks, (2,), "gaussian"), 2)):
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
    with pytest.raises(ValidationError, match="'mlp', 'densenet' or 'conv'"):
        Network.model_validate({"kind": "resnet"})


def test_what_a_grid_said_before_it_still_says() -> None:
    """Cells are known by a hash of this."""
    assert Network().model_dump() == {"kind": "mlp", "hidden": [256, 256], "activation": "elu"}


# ---------------------------------------------------------------- convolutions


def outputs(net: nn.Module, x: torch.Tensor) -> list[tuple[int, ...]]:
    """Return the shape of an item after each layer."""
    shapes: list[tuple[int, ...]] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    net(x)
    return shapes


def test_the_paper_s_convolutions_have_its_sizes() -> None:
    """Section 4.3: four 4x4 convolutions of stride 2 each way, ReLU after all but the last, 512 latent units."""
    down, up = encoder(PAPER, (3, 32, 32)), decoder(PAPER, (3, 32, 32), "laplace")
    assert outputs(down, torch.randn(2, 3072)) == [(32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2), (1024,)]
    assert outputs(up, torch.randn(2, 512)) == [(1024,), (128, 4, 4), (64, 8, 8), (32, 16, 16), (3, 32, 32)]
    assert [sum(isinstance(module, nn.ReLU) for module in net.modules()) for net in (down, up)] == [4, 3]


def test_convolutions_are_those_of_the_textbook() -> None:
    """Against an image padded and multiplied out by hand."""
    torch.manual_seed(0)
    net = encoding(Network(kind="conv", hidden=[2], activation="relu"), (3, 4, 4), 5).double()
    x = torch.randn(6, 48, dtype=torch.float64)
    weight, bias = next(module for module in net.modules() if isinstance(module, nn.Conv2d)).parameters()
    padded = nn.functional.pad(x.reshape(6, 3, 4, 4), (1, 1, 1, 1))
    windows = torch.stack([padded[:, :, i : i + 4, j : j + 4] for i in (0, 2) for j in (0, 2)], 1)
    hidden = torch.einsum("npchw,kchw->nkp", windows, weight) + bias[:, None]
    head = linears(net)[0]
    torch.testing.assert_close(net(x), hidden.relu().flatten(1) @ head.weight.T + head.bias)


@pytest.mark.parametrize("leading", [(), (7,), (2, 7)])
def test_convolutions_take_samples_and_items_alike(leading: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    down = encoding(Network(kind="conv", hidden=[4, 8]), (8, 8), 6)
    up = decoding(Network(kind="conv", hidden=[8, 4]), 6, (8, 8))
    x, z = torch.randn(*leading, 64), torch.randn(*leading, 6)
    assert down(x).shape == (*leading, 6)
    assert up(z).shape == (*leading, 64)
    torch.testing.assert_close(down(x).reshape(-1, 6), down(x.reshape(-1, 64)))
    torch.testing.assert_close(up(z).reshape(-1, 64), up(z.reshape(-1, 6)))


def test_every_parameter_of_convolutions_gets_a_gradient() -> None:
    torch.manual_seed(0)
    for net, width in (
        (encoding(Network(kind="conv", hidden=[4, 8]), (3, 8, 8), 6), 192),
        (decoding(Network(kind="conv", hidden=[8, 4]), 6, (3, 8, 8)), 6),
    ):
        net(torch.randn(9, width)).square().sum().backward()
        assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


@pytest.mark.parametrize(
    ("shape", "part", "reason"),
    [
        ((2,), "encoder", "with 1 layer needs images whose sides are multiples of 2, and an item here is 2;"),
        ((28, 28), "decoder", "with 3 layers needs images whose sides are multiples of 8, and an item here is 28x28;"),
        (
            (3, 32, 36),
            "decoder",
            "with 3 layers needs images whose sides are multiples of 8, and an item here is 3x32x36;",
        ),
    ],
)
def test_convolutions_on_what_is_no_such_image_are_refused(shape: tuple[int, ...], part: str, reason: str) -> None:
    networks = Networks(encoder=Network(kind="conv", hidden=[4]), decoder=Network(kind="conv", hidden=[4, 4, 4]))
    for make in (lambda: encoder(networks, shape), lambda: decoder(networks, shape, "laplace")):
        with pytest.raises(UserError) as caught:
            make()
        message = str(caught.value)
        assert message.startswith(f"networks.{part}.kind = 'conv' {reason}")
        assert message.endswith("'mlp' and 'densenet' take any")


def test_convolutions_need_a_layer() -> None:
    networks = Networks(decoder=Network(kind="conv", hidden=[]))
    with pytest.raises(UserError, match=r"^networks.decoder.kind = 'conv' needs the channels of one or more layers in"):
        encoder(networks, (8, 8))
