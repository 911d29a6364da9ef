"""Importance-weighted partition functions in the bound."""

from __future__ import annotations

import torch

from bench.energies import GRBM
from bench.objectives import importance_bound, importance_likelihood, log_mean_exp
from bench.streams import stream
from bench.vae import Posterior


def test_the_gradient_of_equation_5_is_equation_7() -> None:
    """By autograd against the formula, for every parameter of the prior, to rounding."""
    torch.manual_seed(0)
    prior = GRBM(3, 4).double()
    posterior = Posterior(torch.randn(5, 3).double(), torch.randn(5, 3).double() - 1)
    z = posterior.sample(stream(0, "posterior").normal(64, 5, 3).double())
    log_ratio = -prior.energy(z) - posterior.log_prob(z)
    constant = torch.randn(64, 5).double()  # log p(x|z) knows nothing of the prior
    bound = importance_bound(constant, log_ratio, log_mean_exp(log_ratio))
    by_autograd = torch.autograd.grad(bound, list(prior.parameters()))

    weights = torch.softmax((-prior.energy(z) - posterior.log_prob(z)).detach(), 0)
    energy = prior.energy(z)
    equation_7 = (-energy.mean(0) + (weights * energy).sum(0)).mean()
    by_formula = torch.autograd.grad(equation_7, list(prior.parameters()))
    for a, b in zip(by_autograd, by_formula, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_equation_6_is_the_ratio_of_two_means() -> None:
    torch.manual_seed(0)
    likelihood, ratio = torch.randn(2, 64, 5).double()
    expected = ((likelihood + ratio).exp().mean(0) / ratio.exp().mean(0)).log().mean()
    torch.testing.assert_close(importance_likelihood(likelihood, ratio, log_mean_exp(ratio)), expected)


def test_the_estimate_of_log_z_is_far_too_low_where_the_posterior_is_narrow() -> None:
    """Why it must never score: with the true prior N(0, I_64) and 5,000 samples it misses by tens of nats."""
    from bench.priors import StandardNormal

    posterior = Posterior(torch.zeros(1, 64), torch.full((1, 64), -1.0))
    z = posterior.sample(stream(0, "posterior").normal(5000, 1, 64))
    log_z = log_mean_exp(-StandardNormal(64).energy(z) - posterior.log_prob(z))
    assert float(log_z) < -20
