"""The VAE's densities are those of the textbook, with every constant."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.networks.conv import Conv
from bench.networks.densenet import Densenet
from bench.networks.gated_mlp import GatedMlp
from bench.networks.mlp import Mlp
from bench.objectives import negative_bound
from bench.priors import StandardNormal
from bench.protocol import Likelihood, Network, Networks
from bench.streams import Stream, stream
from bench.vae import VAE, Bernoulli, Gaussian, Posterior, decoder, encoder


def a_vae(likelihood: Likelihood = "bernoulli") -> VAE:
    torch.manual_seed(0)
    networks = Networks(encoder=Mlp(hidden=[7]), decoder=Mlp(hidden=[7]), latent=3)
    return VAE(encoder(networks, (5,)), decoder(networks, (5,), likelihood))


def test_the_networks_of_the_paper_have_its_sizes() -> None:
    """Section 4.2: 784-256-256-128 and 64-256-256-784."""
    networks = Networks(encoder=Mlp(), decoder=Mlp())
    shapes = [tuple(p.shape) for p in encoder(networks, (28, 28)).parameters() if p.dim() == 2]
    assert shapes == [(256, 784), (256, 256), (128, 256)]
    shapes = [tuple(p.shape) for p in decoder(networks, (28, 28), "bernoulli").parameters() if p.dim() == 2]
    assert shapes == [(256, 64), (256, 256), (784, 256)]


def test_a_posterior_is_a_normal_distribution() -> None:
    torch.manual_seed(0)
    posterior = Posterior(torch.randn(4, 3), torch.randn(4, 3))
    reference = Independent(Normal(posterior.mean, posterior.log_std.exp()), 1)
    z = torch.randn(2, 4, 3)
    torch.testing.assert_close(posterior.log_prob(z), reference.log_prob(z))
    torch.testing.assert_close(posterior.sample(torch.zeros(4, 3)), posterior.mean)


def test_the_encoders_second_half_is_the_log_variance() -> None:
    vae, x = a_vae(), torch.rand(4, 5)
    torch.testing.assert_close(vae.encoder(x).log_std, 0.5 * vae.encoder.net(x)[:, 3:])


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_bernoulli_pixels_score_as_binary_cross_entropy(leading: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, logits = (torch.rand(4, 5) < 0.5).float(), 3 * torch.randn(*leading, 4, 5)
    reference = -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
    torch.testing.assert_close(Bernoulli().log_prob(x, logits), reference)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
@pytest.mark.parametrize("pixels", [1, 3, 4, 29])
@pytest.mark.parametrize("bias", [True, False])
def test_pixels_score_the_same_by_what_the_last_layer_reads(leading: tuple[int, ...], pixels: int, bias: bool) -> None:
    torch.manual_seed(0)
    head = nn.Linear(6, pixels, bias).double()
    x, features = (torch.rand(4, pixels) < 0.5).double(), 10 * torch.randn(*leading, 4, 6).double()
    before = x.clone(), features.clone()
    with torch.no_grad():
        found = Bernoulli().reader(x, head)(features)
        logits = head(features)
    plain = (x * logits - torch.logaddexp(torch.zeros(()).double(), logits)).sum(-1)
    # a term is of 1e-16 of 1 and of its logit, which is below 100
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-12)
    assert torch.equal(before[0], x)
    assert torch.equal(before[1], features)


def test_in_single_precision_the_last_layer_costs_pixels_no_more_than_its_rounding() -> None:
    torch.manual_seed(0)
    head, x, features = nn.Linear(256, 784), (torch.rand(5, 784) < 0.5).float(), 4 * torch.randn(200, 5, 256)
    with torch.no_grad():
        found = Bernoulli().reader(x, head)(features)
        weight, bias, h = head.weight.double(), head.bias.double(), features.double()
        logits = h @ weight.T + bias
        exact = (x * logits - torch.logaddexp(torch.zeros(()).double(), logits)).sum(-1)
        # u = 2^-24. A sum of n terms is off by n u of its terms' sizes at most; a logit is such a sum, of 257, and
        # moves its softplus by no more; so is the sum with x W. 1 + e^a and three products: 8 u a term. Sums of 784.
        sizes = (h.abs() @ weight.abs().T + bias.abs()).sum(-1)
        bound = 2.0**-24 * ((257 + 257 + 784) * sizes + 8 * 784 + 784 * logits.clamp(min=0.7).sum(-1))
    assert ((found - exact).abs() <= bound).all()
    assert float((found - exact).square().mean().sqrt()) < 1e-3  # roundings are of either sign


@pytest.mark.parametrize("size", [30.0, 90.0, 1e4])
def test_logits_whose_exponentials_overflow_score_as_others(size: float) -> None:
    head = nn.Linear(1, 8)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [1], [-1], [1], [1], [-1], [1], [1]]))
        head.bias.zero_()
        x, features = torch.tensor([[1.0, 0, 0, 0, 1, 1, 1, 1]]), torch.tensor([[[size]], [[0.0]], [[-size]]])
        found = Bernoulli().reader(x, head)(features)
    expected = torch.tensor([[-3 * size], [-8 * math.log(2)], [-5 * size]])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [Mlp(hidden=[7]), GatedMlp(hidden=[7]), Densenet(hidden=[7]), Conv(hidden=[4])])
@pytest.mark.parametrize("of", ["bernoulli", "gaussian", "laplace"])
@pytest.mark.parametrize("spread", [1.0, 3000.0])
def test_many_z_of_an_item_have_the_likelihood_of_one_and_its_gradient(
    kind: Network, of: Likelihood, spread: float
) -> None:
    torch.manual_seed(0)
    networks = Networks(encoder=kind, decoder=kind, latent=3)
    vae = VAE(encoder(networks, (4, 4)), decoder(networks, (4, 4), of)).double().eval()
    x, z = (torch.rand(5, 16) < 0.5).double(), spread * torch.randn(2, 5, 3).double()
    z.requires_grad_()
    plain = vae.log_likelihood(x, z)
    (gradient,) = torch.autograd.grad(plain.sum(), z)
    read = vae.decoder.reader(x)
    recorded = read(z)
    torch.testing.assert_close(recorded, plain, rtol=1e-12, atol=1e-12)
    # softplus of torch is x from 20 on, and its slope 1: off by 2e-9
    torch.testing.assert_close(torch.autograd.grad(recorded.sum(), z)[0], gradient, rtol=1e-12, atol=1e-8)
    with torch.no_grad():
        torch.testing.assert_close(read(z), plain.detach(), rtol=1e-12, atol=1e-12)


def test_a_gaussian_likelihood_is_a_normal_density() -> None:
    torch.manual_seed(0)
    likelihood = Gaussian()
    with torch.no_grad():
        likelihood.log_std.fill_(-0.3)
    x, mean = torch.randn(4, 5), torch.randn(2, 4, 5)
    reference = Independent(Normal(mean, likelihood.log_std.exp()), 1)
    torch.testing.assert_close(likelihood.log_prob(x, mean), reference.log_prob(x))


def test_a_likelihoods_own_parameters_belong_to_the_decoder() -> None:
    assert "likelihood.log_std" in dict(a_vae("gaussian").decoder.named_parameters())


def test_the_bound_is_reconstruction_minus_the_divergence_of_posterior_and_prior() -> None:
    """With N(0, I) as prior, the mean over many z is the textbook's closed-form KL divergence."""
    vae, n = a_vae(), 20_000
    x = (torch.rand(1, 5) < 0.5).float().expand(n, 5)
    with torch.no_grad():
        posterior = vae.encoder(x)
        z = posterior.sample(torch.randn(n, 3))
        bound = -negative_bound(vae, StandardNormal(3), x, posterior, z)
        mean, log_std = posterior.mean[0], posterior.log_std[0]
        divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum()
        terms = vae.log_likelihood(x, z)
        spread = terms - StandardNormal(3).energy(z) - posterior.log_prob(z) - (terms.mean() - divergence)
    assert abs(float(bound - (terms.mean() - divergence))) < 4 * float(spread.std()) / n**0.5


def test_the_likelihood_of_pixels_has_the_derivatives_of_its_formula() -> None:
    torch.manual_seed(0)
    x, slope = (torch.rand(4, 5) < 0.5).double(), torch.randn(2, 4, dtype=torch.float64)
    logits = (5 * torch.randn(2, 4, 5, dtype=torch.float64)).requires_grad_()
    seen = []
    for value in (Bernoulli().log_prob(x, logits), -binary_cross_entropy_with_logits(
        logits, x.expand(2, 4, 5), reduction="none").sum(-1)):  # fmt: skip
        (first,) = torch.autograd.grad((slope * value).sum(), logits, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), logits)
        seen.append((value, first, second))
    for closed, plain in zip(*seen, strict=True):
        torch.testing.assert_close(closed, plain, rtol=1e-12, atol=1e-12)


def test_the_bound_moves_the_encoder_as_with_a_sampled_entropy() -> None:
    """E_q[log q] in closed form has the gradient of log q(z|x) at z = mean + std * noise, to the last sample."""
    vae = a_vae().double()
    x, noise = (torch.rand(6, 5) < 0.5).double(), torch.randn(6, 3, dtype=torch.float64)
    prior, seen = StandardNormal(3), []
    for sampled in (False, True):
        posterior = vae.encoder(x)
        z = posterior.sample(noise)
        loss = negative_bound(vae, prior, x, posterior, z)
        if sampled:
            loss = (prior.energy(z) + posterior.log_prob(z) - vae.log_likelihood(x, z)).mean()
        seen.append(torch.autograd.grad(loss, list(vae.parameters())))
    for closed, plain in zip(*seen, strict=True):
        torch.testing.assert_close(closed, plain, rtol=1e-10, atol=1e-12)


def test_pixels_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([-2.0, 0.0, 3.0]).expand(10_000, 3)
    x = Bernoulli().sample(logits, stream(0, "pixels"))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    p = torch.sigmoid(logits[0])
    assert ((x.mean(0) - p).abs() < 4 * (p * (1 - p) / len(x)).sqrt()).all()


def test_a_pixel_that_is_certain_is_never_drawn_otherwise() -> None:
    """One in 2^24 of the generator's numbers is exactly 0."""

    class Zero(Stream):
        def uniform(self, *shape: int) -> torch.Tensor:
            return torch.zeros(shape)

    class One(Stream):
        def uniform(self, *shape: int) -> torch.Tensor:
            return torch.full(shape, 1 - 2.0**-24)

    assert Bernoulli().sample(torch.tensor([-50.0]), Zero(0, "")).item() == 0
    assert Bernoulli().sample(torch.tensor([50.0]), One(0, "")).item() == 1


def test_coordinates_are_drawn_around_the_decoder_s_output() -> None:
    vae = a_vae("gaussian")
    likelihood = vae.decoder.likelihood
    assert isinstance(likelihood, Gaussian)
    with torch.no_grad():
        likelihood.log_std.fill_(-0.3)
        z = torch.randn(1, 3)
        x = vae.sample(z.expand(10_000, 3), stream(0, "coordinates"))
        white = (x - vae.decoder(z)) / likelihood.log_std.exp()
    assert (white.mean(0).abs() < 4 / 100).all()
    assert ((white.square().mean(0) - 1).abs() < 4 * 2**0.5 / 100).all()
