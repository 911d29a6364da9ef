"""Networks have the layers that a grid asks for."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench.networks import DenseNet, Gated, Headed
from bench.networks.conv import Conv
from bench.networks.densenet import Densenet
from bench.networks.gated_mlp import GatedMlp
from bench.networks.mlp import Mlp
from bench.networks.modules.dense import Elu
from bench.networks.modules.residual import Block
from bench.networks.resnet import Resnet
from bench.plugins import Registry, build
from bench.protocol import Network, Networks, UserError
from bench.vae import decoder, encoder

DENSE = Densenet(hidden=[16, 16, 16, 16])
PAPER = Networks(
    encoder=Conv(hidden=[32, 64, 128, 256], activation="relu"),
    decoder=Conv(hidden=[256, 128, 64, 32], activation="relu"),
    latent=512,
)
KINDS = [
    Mlp(hidden=[5, 4]),
    GatedMlp(hidden=[5, 4]),
    Densenet(hidden=[5, 4]),
    Conv(hidden=[4, 8]),
    Resnet(channels=[4, 8]),
]


def linears(net: nn.Module) -> list[nn.Linear]:
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


# ---------------------------------------------------------------- what all kinds promise


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("leading", [(), (7,), (2, 7)])
def test_a_network_takes_samples_and_items_alike(kind: Network, leading: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    down, up = kind.encoder((8, 8), 6), kind.decoder(6, (8, 8))
    x, z = torch.randn(*leading, 64), torch.randn(*leading, 6)
    assert down(x).shape == (*leading, 6)
    assert up(z).shape == (*leading, 64)
    torch.testing.assert_close(down(x).reshape(-1, 6), down(x.reshape(-1, 64)))
    torch.testing.assert_close(up(z).reshape(-1, 64), up(z.reshape(-1, 6)))


@pytest.mark.parametrize("kind", [Conv(hidden=[4, 8]), Resnet(channels=[4, 8])], ids=lambda kind: kind.name)
def test_convolutions_are_the_same_however_images_lie_in_memory(kind: Network) -> None:
    torch.manual_seed(0)
    net, x = kind.encoder((3, 8, 8), 6).double(), torch.randn(5, 192, dtype=torch.float64)
    plain = copy.deepcopy(net)
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()
    stages, head = (
        plain.get_submodule("convolutions" if isinstance(kind, Conv) else "stages"),
        plain.get_submodule("head"),
    )
    torch.testing.assert_close(net(x), head(stages(x.reshape(5, 3, 8, 8)).flatten(1)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_item_s_outputs_are_its_own(kind: Network) -> None:
    """No batch statistics: a score may not depend on the items beside it."""
    torch.manual_seed(0)
    down, up = kind.encoder((3, 8, 8), 6), kind.decoder(6, (3, 8, 8))
    for net, items in ((down, torch.randn(5, 192)), (up, torch.randn(5, 6))):
        torch.testing.assert_close(torch.cat([net(item[None]) for item in items]), net(items))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_parameter_gets_a_gradient(kind: Network) -> None:
    torch.manual_seed(0)
    for net, width in ((kind.encoder((3, 8, 8), 6), 192), (kind.decoder(6, (3, 8, 8)), 6)):
        for module in net.modules():  # the last convolution of a block starts at 0, where what is before it has none
            if isinstance(module, Block):
                for parameter in module.parameters():
                    nn.init.normal_(parameter)
        net(torch.randn(9, width)).square().sum().backward()
        assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_elu_without_a_gradient_is_torch_s_to_a_rounding_of_one(dtype: torch.dtype) -> None:
    x = torch.cat([torch.linspace(-8, 8, 10_001, dtype=dtype), torch.tensor([-math.inf, -1e-30, 0, 1e30, math.inf])])
    x = x.to(dtype)
    # e^x and the difference are each off by at most a unit in the last place of 1
    torch.testing.assert_close(Elu()(x), nn.functional.elu(x), rtol=0, atol=2 * torch.finfo(dtype).eps)
    assert math.isnan(Elu()(torch.tensor(math.nan)))
    recorded = x.clone().requires_grad_()
    assert torch.equal(Elu()(recorded), nn.functional.elu(recorded))


@pytest.mark.parametrize("kind", [Mlp(hidden=[5, 4]), GatedMlp(hidden=[5, 4]), DENSE])
def test_a_network_of_vectors_ends_in_a_linear_layer_of_its_features(kind: Network) -> None:
    net, z = kind.decoder(3, (2, 2)), torch.randn(7, 2, 3)
    assert isinstance(net, Headed)
    assert isinstance(net, nn.Module)
    assert torch.equal(net.last()(net.features(z)), net(z))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_network_is_restored_from_its_state(kind: Network) -> None:
    torch.manual_seed(0)
    net, other = kind.encoder((8, 8), 4), kind.encoder((8, 8), 4)
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    x = torch.randn(5, 64)
    assert torch.equal(net(x), other(x))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_network_s_settings_survive_their_own_json(kind: Network) -> None:
    plugin = Registry().find("network", kind.name)
    assert build(plugin, json.loads(kind.model_dump_json()), "check") == kind


def test_what_a_grid_said_before_it_still_says() -> None:
    """Cells are known by a hash of this."""
    assert Mlp().model_dump() == {"kind": "mlp", "hidden": [256, 256], "activation": "elu"}
    assert list(Conv().model_dump()) == list(Densenet().model_dump()) == ["kind", "hidden", "activation"]


# ---------------------------------------------------------------- dense


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


def test_a_gated_layer_is_a_linear_one_times_its_gate() -> None:
    torch.manual_seed(0)
    layer = Gated(3, 2).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    value = x @ layer.value.weight.T + layer.value.bias
    gate = 1 / (1 + torch.exp(-(x @ layer.gate.weight.T + layer.gate.bias)))
    torch.testing.assert_close(layer(x), value * gate)


def test_the_vampprior_paper_s_networks_have_two_gated_layers_of_300() -> None:
    for net, inputs, outputs in (
        (GatedMlp().encoder((28, 28), 80), 784, 80),
        (GatedMlp().decoder(40, (28, 28)), 40, 784),
    ):
        shapes = [(layer.in_features, layer.out_features) for layer in linears(net)]
        assert shapes == [(inputs, 300)] * 2 + [(300, 300)] * 2 + [(300, outputs)]


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
    net = Conv(hidden=[2], activation="relu").encoder((3, 4, 4), 5).double()
    x = torch.randn(6, 48, dtype=torch.float64)
    weight, bias = next(module for module in net.modules() if isinstance(module, nn.Conv2d)).parameters()
    padded = nn.functional.pad(x.reshape(6, 3, 4, 4), (1, 1, 1, 1))
    windows = torch.stack([padded[:, :, i : i + 4, j : j + 4] for i in (0, 2) for j in (0, 2)], 1)
    hidden = torch.einsum("npchw,kchw->nkp", windows, weight) + bias[:, None]
    head = linears(net)[0]
    torch.testing.assert_close(net(x), hidden.relu().flatten(1) @ head.weight.T + head.bias)


@pytest.mark.parametrize(
    ("shape", "part", "reason"),
    [
        ((2,), "encoder", "needs images whose sides are multiples of 2, and an item here is 2"),
        ((28, 28), "decoder", "needs images whose sides are multiples of 8, and an item here is 28x28"),
        ((3, 32, 36), "decoder", "needs images whose sides are multiples of 8, and an item here is 3x32x36"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "one", "three"),
    [
        ("conv", Conv(hidden=[4]), Conv(hidden=[4, 4, 4])),
        ("resnet", Resnet(channels=[4]), Resnet(channels=[4, 4, 4])),
    ],
)
def test_what_is_no_such_image_is_refused(
    shape: tuple[int, ...], part: str, reason: str, kind: str, one: Network, three: Network
) -> None:
    networks = Networks(encoder=one, decoder=three)
    layers = "1 layer" if part == "encoder" else "3 layers"
    for make in (lambda: encoder(networks, shape), lambda: decoder(networks, shape, "laplace")):
        with pytest.raises(UserError) as caught:
            make()
        assert str(caught.value) == f"networks.{part}.kind = '{kind}' with {layers} {reason}; 'mlp' takes any"


@pytest.mark.parametrize("make", [lambda: Conv(hidden=[]), lambda: Resnet(channels=[])])
def test_images_need_a_layer(make: object) -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        make()  # type: ignore[operator]


# ---------------------------------------------------------------- residual


@pytest.mark.parametrize(("shape", "sides"), [((28, 28), [14, 7]), ((3, 32, 32), [16, 8])])
def test_residual_stages_halve_and_double_the_sides(shape: tuple[int, ...], sides: list[int]) -> None:
    kind, size = Resnet(channels=[4, 8], blocks=2), math.prod(shape)
    planes = shape[0] if len(shape) == 3 else 1
    big, small = sides
    down = [(4, big, big)] * 5 + [(8, small, small)] * 5 + [(6,)]
    up = [(8 * small**2,), *[(8, small, small)] * 4, *[(4, big, big)] * 5, (planes, *shape[-2:])]
    assert outputs(kind.encoder(shape, 6), torch.randn(2, size)) == down
    assert outputs(kind.decoder(6, shape), torch.randn(2, 6)) == up


def test_a_residual_block_starts_as_the_identity_and_adds_what_it_learns() -> None:
    torch.manual_seed(0)
    block = Block(3, "elu").double()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    first, last = (module for module in block.modules() if isinstance(module, nn.Conv2d))
    assert torch.equal(block(x), x)
    for parameter in last.parameters():
        nn.init.normal_(parameter)
    elu, conv = nn.functional.elu, nn.functional.conv2d
    inner = conv(elu(x), first.weight, first.bias, padding=1)
    torch.testing.assert_close(block(x), x + conv(elu(inner), last.weight, last.bias, padding=1))
