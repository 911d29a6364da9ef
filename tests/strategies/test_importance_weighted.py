"""What the variants of the importance-weighted strategy change."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bench.energies import GRBM
from bench.networks.mlp import Mlp
from bench.objectives import importance_likelihood, log_mean_exp, negative_bound
from bench.plugins import Registry
from bench.protocol import Networks
from bench.streams import Stream, stream
from bench.training import Batch, Model
from bench.vae import VAE, decoder, encoder

SAMPLES = 7
NETWORKS = Networks(encoder=Mlp(), decoder=Mlp(), latent=2)
X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def a_model(std: float | None = None) -> Model:
    torch.manual_seed(0)
    return Model(VAE(encoder(NETWORKS, (3,), std), decoder(NETWORKS, (3,), "gaussian")), GRBM(2, 4))


def a_batch() -> Batch:
    return Batch(X, Stream(0, "posterior"), Stream(0, "prior"))


def loss(model: Model, **hyper: Any) -> Tensor:
    plugin: Any = Registry().find("strategy", "importance-weighted").load()
    ((name, found),) = plugin(samples=SAMPLES, **hyper).losses(model, a_batch())
    assert name == "bound"
    value: Tensor = found
    return value


def parts(model: Model) -> tuple[Tensor, Tensor, Tensor]:
    """Return z `(K, B, d)`, log p(x|z) and -E(z) - log q(z|x), `(K, B)`, of the same draws."""
    posterior = model.vae.encoder(X)
    z = posterior.sample(stream(0, "posterior").normal(SAMPLES, *posterior.mean.shape))
    return z, model.vae.log_likelihood(X, z), -model.prior.energy(z) - posterior.log_prob(z)


def gradients(value: Tensor, module: torch.nn.Module) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, list(module.parameters()), retain_graph=True)


def test_a_log_z_can_be_kept_from_the_encoder_and_not_from_the_prior() -> None:
    """The encoder then follows the bound without it, and the prior what it always follows."""
    model = a_model()
    stopped, shared = loss(model, stop_gradient=True), loss(model)
    torch.testing.assert_close(stopped, shared)
    posterior, (z, _, _) = model.vae.encoder(X), parts(model)
    # the mean over K samples of the bound, each with gradients of its own
    alone = torch.stack([negative_bound(model.vae, model.prior, X, posterior, each) for each in z]).mean()
    torch.testing.assert_close(gradients(stopped, model.vae.encoder), gradients(alone, model.vae.encoder))
    torch.testing.assert_close(gradients(stopped, model.prior), gradients(shared, model.prior))
    first, second = (gradients(each, model.vae.encoder)[0] for each in (stopped, shared))
    assert not torch.allclose(first, second)


def test_log_z_is_an_items_own_or_the_batchs() -> None:
    model = a_model()
    _, likelihood, ratio = parts(model)
    bound = (likelihood + ratio).mean()
    torch.testing.assert_close(loss(model), -(bound - (ratio.exp().mean(0)).log().mean()))
    torch.testing.assert_close(loss(model, pool="batch"), -(bound - ratio.exp().mean().log()))


def test_the_other_form_is_equation_6() -> None:
    model = a_model()
    _, likelihood, ratio = parts(model)
    expected = -importance_likelihood(likelihood, ratio, log_mean_exp(ratio))
    torch.testing.assert_close(loss(model, form="likelihood"), expected)


def test_a_fixed_variance_is_one() -> None:
    plugin: Any = Registry().find("strategy", "importance-weighted").load()
    assert plugin(variance="learned").posterior_std() is None
    posterior = a_model(plugin(variance="fixed").posterior_std()).vae.encoder(X)
    assert posterior.log_std.tolist() == [[math.log(1.0)] * 2] * len(X)
