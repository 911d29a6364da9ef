"""log p(x) by quadrature over z, on models whose density is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from bench.energies import GRBM, Neural
from bench.energies.densities import whitened
from bench.estimators import quadrature
from bench.estimators.marginal import Marginal
from bench.networks import DenseNet
from bench.priors import Density, Flow, FullGaussian, StandardNormal, VampPrior
from bench.streams import stream
from bench.vae import VAE, Bernoulli, Decoder, Encoder, Gaussian

NOISE = 0.6


def linear_vae(latent: int, std: float = NOISE, scale: float = 1.0) -> VAE:
    """Return x|z ~ N(Az + c, std^2 I) in the plane."""
    layer = nn.Linear(latent, 2)
    layer.weight.data = scale * torch.tensor([[1.0, 0.4], [-0.3, 0.8]])[:, :latent]
    layer.bias.data = torch.tensor([0.5, -0.2])
    likelihood = Gaussian()
    likelihood.log_std.data.fill_(math.log(std))
    return VAE(Encoder(nn.Linear(2, 2 * latent)), Decoder(layer, likelihood))


def curved_vae(std: float = 0.1) -> VAE:
    """Return a VAE whose decoder is an untrained DenseNet, stretched so that it folds the plane."""
    torch.manual_seed(1)
    net = DenseNet(2, [16, 16, 16, 16], 2, "elu")
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("original0"):
                parameter.mul_(1.3)
    likelihood = Gaussian()
    likelihood.log_std.data.fill_(math.log(std))
    return VAE(Encoder(nn.Linear(2, 4)), Decoder(net, likelihood))


def grbm(latent: int) -> GRBM:
    torch.manual_seed(2)
    prior = GRBM(latent, 5)
    with torch.no_grad():
        prior.weight.mul_(4)
        prior.mu.normal_()
        prior.bias.normal_()
        prior.log_var.normal_(std=0.5)
    return prior


def noise_covariance(vae: VAE) -> Tensor:
    likelihood = vae.decoder.likelihood
    assert isinstance(likelihood, Gaussian)
    return torch.eye(2).double() * math.exp(2 * likelihood.log_std.item())


@torch.no_grad()
def mixture(vae: VAE, prior: GRBM, x: Tensor) -> Tensor:
    """Return log p(x) under a linear decoder and a GRBM: given h, x is Gaussian."""
    (layer,) = (module for module in vae.decoder.modules() if isinstance(module, nn.Linear))
    states = whitened.states(torch.arange(2 ** len(prior.bias)), len(prior.bias))
    log_mass = torch.log_softmax(whitened.log_masses(prior.whitened()), 0)
    A = layer.weight.double()
    covariance = A @ torch.diag(prior.var.double()) @ A.T + noise_covariance(vae)
    means = (prior.mu + states @ prior.weight.double().T) @ A.T + layer.bias
    return torch.logsumexp(log_mass + MultivariateNormal(means, covariance).log_prob(x[:, None].double()), 1)


def near(prior: Density, n: int = 1000) -> Tensor:
    with torch.no_grad():
        return prior.sample(n, stream(0, "near"))


def points(n: int = 300) -> Tensor:
    return 2 * stream(1, "points").normal(n, 2)


def agree(marginal: Marginal, x: Tensor, truth: Tensor, error: float = 1e-5) -> None:
    """Compare log p(x) to its closed form; 1e-5 is the error of float32 exponentials."""
    log_prob, changes = marginal.log_prob(x)
    assert float(changes.max()) < 1e-3
    torch.testing.assert_close(log_prob, truth, rtol=0, atol=error)


@pytest.mark.parametrize("latent", [1, 2])
def test_a_linear_gaussian_vae_has_its_closed_form(latent: int) -> None:
    vae, x = linear_vae(latent), points()
    layer = vae.decoder.net
    assert isinstance(layer, nn.Linear)
    A = layer.weight.detach().double()
    closed = MultivariateNormal(layer.bias.detach().double(), A @ A.T + noise_covariance(vae))
    marginal = Marginal(vae, StandardNormal(latent), 0.0, near(StandardNormal(latent)), x)
    assert marginal.settled
    agree(marginal, x, closed.log_prob(x.double()))


@pytest.mark.parametrize("latent", [1, 2])
def test_a_linear_vae_with_a_grbm_prior_is_a_mixture(latent: int) -> None:
    vae, prior, x = linear_vae(latent), grbm(latent), points()
    marginal = Marginal(vae, prior, whitened.log_z(prior.whitened()), near(prior), x)
    assert marginal.settled
    agree(marginal, x, mixture(vae, prior, x))


def priors(vae: VAE) -> list[Density]:
    torch.manual_seed(3)
    gaussian = FullGaussian(2)
    with torch.no_grad():
        gaussian.mean.normal_()
        gaussian.lower.normal_(std=0.5)
    return [
        StandardNormal(2),
        gaussian,
        grbm(2),
        Neural(2, 32, tilted=True),
        Flow(2, 2, [16]),
        VampPrior(vae.encoder, 2 * torch.randn(8, 2)),
    ]


@pytest.mark.parametrize("which", range(6))
def test_the_model_s_density_integrates_to_one(which: int) -> None:
    """Of any prior under a decoder that folds the plane: over x, by the midpoint rule at its noise's scale.

    A mixture of Gaussians that wide is integrated to within 2 exp(-2 pi^2) = 5e-9 an axis.
    """
    vae = curved_vae()
    prior = priors(vae)[which]
    anchors = near(prior)
    log_z = 0.0 if prior.normalised else quadrature.log_z(prior.double().energy, anchors.double())[0]
    prior.float()
    with torch.no_grad():
        means = vae.decoder.mean(torch.cat([anchors, 1.5 * anchors]))
    marginal = Marginal(vae, prior, log_z, anchors, means[:300])
    assert marginal.settled
    low, high = means.min(0).values.double() - 2, means.max(0).values.double() + 2
    axes = [torch.arange(float(a), float(b), 0.1, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    density = marginal.grid.log_prob(torch.cartesian_prod(*axes)).exp()
    # what may lie outside of the box of 1,500 draws and 20 noises is far below 1e-3
    assert density.sum().item() * 0.1**2 == pytest.approx(1, abs=2e-3)


def test_scoring_leaves_the_model_as_it_was() -> None:
    vae, prior = curved_vae(), grbm(2)
    Marginal(vae, prior, whitened.log_z(prior.whitened()), near(prior), points(20))
    assert {p.dtype for p in [*vae.parameters(), *prior.parameters()]} == {torch.float32}


def test_draws_follow_the_density() -> None:
    vae, prior, n = curved_vae(), grbm(2), 20_000
    marginal = Marginal(vae, prior, whitened.log_z(prior.whitened()), near(prior), points(20))
    x = marginal.sample(n, stream(0, "draws")).double().numpy()
    low, high = np.quantile(x, 0.02, axis=0), np.quantile(x, 0.98, axis=0)
    edges = np.linspace(low, high, 9)
    counts, *_ = np.histogram2d(x[:, 0], x[:, 1], bins=(edges[:, 0], edges[:, 1]))
    side = (high - low) / 32
    # where the density bends as its noise of 0.1 does, the midpoint rule is off by (side / 0.1)^2 / 24 < 0.7 % of it: a
    # ninth of a standard error of a count of 300
    assert side.max() < 0.04
    middles = torch.from_numpy(low + (np.arange(32)[:, None] + 0.5) * side)
    density = marginal.grid.log_prob(torch.cartesian_prod(middles[:, 0], middles[:, 1])).exp()
    expected = n * side.prod() * density.reshape(8, 4, 8, 4).sum((1, 3)).numpy()
    kept = expected >= 5
    # the last cell is all the rest
    counts = np.append(counts[kept], n - counts[kept].sum())
    expected = np.append(expected[kept], n - expected[kept].sum())
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.isf(1e-4, len(counts) - 1)


@pytest.mark.parametrize("std", [0.03, 1e-3, 1e-5])
@pytest.mark.parametrize("latent", [1, 2])
def test_a_likelihood_however_narrow_is_integrated(latent: int, std: float) -> None:
    """No common grid is fine enough then, and every item has its own."""
    vae, prior = linear_vae(latent, std), grbm(latent)
    marginal = Marginal(vae, prior, whitened.log_z(prior.whitened()), near(prior), points(20))
    # in one latent dimension the model is a line with a little noise: take items from it
    x = marginal.sample(200, stream(4, "items"))
    agree(Marginal(vae, prior, whitened.log_z(prior.whitened()), near(prior), x), x, mixture(vae, prior, x))


class Fold(nn.Module):
    """z -> (z1^2, z2): two z for every x."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.stack([z[..., 0].square(), z[..., 1]], -1)


def test_every_z_that_an_item_may_come_from_counts() -> None:
    likelihood = Gaussian()
    likelihood.log_std.data.fill_(math.log(1e-4))
    vae = VAE(Encoder(nn.Linear(2, 4)), Decoder(Fold(), likelihood))
    prior = FullGaussian(2)
    prior.mean.data = torch.tensor([0.7, -0.2])
    x = torch.tensor([0.2, -1.0]) + torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) * 2
    log_prob, changes = Marginal(vae, prior, 0.0, near(prior), x).log_prob(x)
    with torch.no_grad():
        roots = torch.stack([torch.stack([sign * x[:, 0].sqrt(), x[:, 1]], 1) for sign in (1, -1)])
        # without noise the density is that of both z over the Jacobian; noise of 1e-4 changes it by less than 1e-6
        truth = torch.logsumexp(-prior.double().energy(roots.double()), 0) - (2 * x[:, 0].double().sqrt()).log()
    assert float(changes.max()) < 1e-3
    torch.testing.assert_close(log_prob, truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cells", [2**20, 2**14])
def test_a_latent_that_the_decoder_ignores_costs_no_accuracy(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every item has a whole strip of cells; if those of all are too many together, each is refined alone."""
    monkeypatch.setattr("bench.estimators.marginal.CELLS", cells)
    monkeypatch.setattr("bench.estimators.marginal.MOST", {2: 257})
    vae, prior = linear_vae(2, std=0.01), grbm(2)
    layer = vae.decoder.net
    assert isinstance(layer, nn.Linear)
    layer.weight.data[:, 1] = 0
    x = Marginal(vae, prior, whitened.log_z(prior.whitened()), near(prior), points(20)).sample(30, stream(4, "items"))
    agree(Marginal(vae, prior, whitened.log_z(prior.whitened()), near(prior), x), x, mixture(vae, prior, x))


@pytest.mark.parametrize("limit", ["CELLS", "NODES"])
def test_a_refinement_that_is_given_up_is_seen(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"bench.estimators.marginal.{limit}", 0)
    vae, prior = linear_vae(2, std=1e-4), StandardNormal(2)
    _, changes = Marginal(vae, prior, 0.0, near(prior), points(20)).log_prob(points(20))
    assert bool((changes == math.inf).all())


def test_a_mode_too_narrow_for_the_grid_is_seen() -> None:
    """Two components, one of them 1e-4 wide and between two nodes, hold half the mass each."""
    vae = linear_vae(2)
    layer = vae.encoder.net
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 9.0], [0.0, 9.0]]))
        layer.bias.zero_()
    prior = VampPrior(vae.encoder, torch.tensor([[0.0, 0.0], [0.7123, -2.0456]]))
    marginal = Marginal(vae, prior, 0.0, near(prior), points(20))
    assert marginal.imbalance > 0.3  # half the mass is missing, or counted too often


@pytest.mark.parametrize("distance", [8.0, 15.0, 30.0])
def test_items_far_from_the_model_are_reached(distance: float) -> None:
    """At 15 standard deviations of z, the prior is 113 nats below its peak."""
    vae, prior = linear_vae(2, std=0.05), grbm(2)
    angle = torch.linspace(0, 6, 20)
    x = distance * torch.stack([angle.cos(), angle.sin()], 1)
    marginal = Marginal(vae, prior, whitened.log_z(prior.whitened()), near(prior), x)
    agree(marginal, x, mixture(vae, prior, x), error=1e-3)  # by how much the last refinement may have changed it


def test_items_out_of_reach_are_seen() -> None:
    vae, prior = linear_vae(2, std=0.05), StandardNormal(2)
    x = torch.tensor([[0.0, 0.0], [300.0, 0.0]])
    _, changes = Marginal(vae, prior, 0.0, near(prior), points(20)).log_prob(x)
    assert float(changes[0]) < 1e-3
    assert float(changes[1]) == math.inf


def test_three_latent_dimensions_are_too_many() -> None:
    prior = StandardNormal(3)
    with pytest.raises(ValueError, match="quadrature is for at most 2 dimensions, not 3"):
        Marginal(linear_vae(3), prior, 0.0, near(prior), points(20))


def test_only_a_gaussian_likelihood_will_do() -> None:
    vae, prior = linear_vae(2), StandardNormal(2)
    vae.decoder.likelihood = Bernoulli()
    with pytest.raises(ValueError, match="needs a Gaussian likelihood"):
        Marginal(vae, prior, 0.0, near(prior), points(20))
