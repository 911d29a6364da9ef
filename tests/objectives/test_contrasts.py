"""The adversary's bound, the regression on posterior scores, and the classifier's optimum."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.networks.mlp import Mlp
from bench.objectives import adversary_bound, classification, contrast, denoising
from bench.plugins import Registry
from bench.priors import StandardNormal
from bench.protocol import Evaluation, Networks, Task
from bench.streams import seed_globals, stream


def exact_log_z(prior: GRBM) -> float:
    """log Z by enumeration (paper-independent: the sum over all hidden states of Gaussian integrals)."""
    with torch.no_grad():
        h = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(prior.bias))))
        shift = h @ prior.weight.T
        exponent = h @ prior.bias + ((shift * prior.mu + 0.5 * shift.square()) / prior.var).sum(-1)
        half = 0.5 * (math.log(2 * math.pi) + prior.var.log()).sum()
        return float(half + torch.logsumexp(exponent, 0))


def a_grbm(scale: float, hidden: int = 8) -> GRBM:
    torch.manual_seed(0)
    prior = GRBM(4, hidden)
    with torch.no_grad():
        prior.weight.normal_(0, scale)
        prior.mu.normal_()
    return prior


def follow(prior: GRBM, steps: int) -> list[tuple[float, float]]:
    """Train the adversary of the built-in strategy on a fixed prior; return (bound, its standard error) on the way."""
    strategy: Any = Registry().find("strategy", "adversarial").load()
    plugin = strategy(hidden=[32, 32])
    nothing: Any = None
    seed_globals(0, "prior", -1)
    adversary = plugin.others(
        Task(nothing, nothing, Networks(encoder=Mlp(), decoder=Mlp(), latent=4), nothing, Evaluation())
    )["adversary"]
    adam = torch.optim.Adam(adversary.parameters(), lr=2e-3, betas=(0.0, 0.9))
    bounds = []
    for step in range(steps + 1):
        if step % (steps // 4) == 0:
            with torch.no_grad():
                z, log_prob = adversary().rsample_and_log_prob((4000,))
                terms = -prior.energy(z) - log_prob
                bounds.append((float(terms.mean()), float(terms.std()) / 4000**0.5))
        adam.zero_grad()
        (-adversary_bound(prior, *adversary().rsample_and_log_prob((256,)))).backward()
        adam.step()
    return bounds


def test_the_adversarys_bound_stays_below_log_z_and_rises_to_it_when_the_coupling_is_weak() -> None:
    prior = a_grbm(0.3, hidden=16)
    log_z = exact_log_z(prior)
    bounds = follow(prior, 600)
    assert all(bound < log_z + 3 * error for bound, error in bounds)
    assert log_z - bounds[-1][0] < 0.1
    assert log_z - bounds[0][0] > 1, "untrained, it is far below"


@pytest.mark.slow
def test_the_adversarys_gap_grows_with_the_coupling() -> None:
    """Of 16 hidden units with W ~ N(0, scale^2): .01 nat up to a scale of .5, a tenth at 1.2, never below 0."""
    gaps = {}
    for scale in (0.1, 0.3, 0.5, 0.8, 1.2):
        prior = a_grbm(scale, hidden=16)
        log_z = exact_log_z(prior)
        bounds = follow(prior, 1500)
        assert all(bound < log_z + 3 * error for bound, error in bounds)
        gaps[scale] = log_z - bounds[-1][0], bounds[-1][1]
    assert all(gap < 0.1 for scale, (gap, _) in gaps.items() if scale <= 0.5)
    (weak, weak_error), (strong, strong_error) = gaps[0.1], gaps[1.2]
    assert strong - weak > 3 * math.hypot(weak_error, strong_error)


def test_with_the_printed_sign_the_adversary_collapses() -> None:
    """Paper Algorithm 2, line 3, has -H: maximising E[-E] - H drives the spread of a Gaussian adversary to nothing."""
    mean, log_std = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    adam, noise = torch.optim.Adam([mean, log_std], lr=0.05), stream(0, "prior")
    prior = a_grbm(0.3)
    for _ in range(200):
        z = mean + log_std.exp() * noise.normal(256, 4)
        entropy = log_std.sum()
        adam.zero_grad()
        (prior.energy(z).mean() + entropy).backward()
        adam.step()
    assert float(log_std.detach().max()) < -3


def test_the_contrast_has_the_gradient_of_the_likelihood_when_its_samples_are_the_priors() -> None:
    """Eq. 8: for b it is E_q[g] - E_p[g] with a minus; checked against the exact derivative of log Z."""
    prior = a_grbm(0.8, hidden=4)
    noise, n = stream(0, "prior"), 20_000
    own = prior.sample(n, noise)
    data = noise.normal(n, 4)
    with torch.no_grad():
        gradient_of_terms = torch.sigmoid(prior.hidden(own)) - torch.sigmoid(prior.hidden(data))
    (gradient,) = torch.autograd.grad(contrast(prior, data, own), prior.bias)
    torch.testing.assert_close(gradient, gradient_of_terms.mean(0), rtol=1e-4, atol=1e-5)
    exact = torch.tensor([finite_difference(prior, j) for j in range(4)])
    with torch.no_grad():
        estimate = torch.sigmoid(prior.hidden(own))
    assert bool(((estimate.mean(0) - exact).abs() < 4 * estimate.std(0) / n**0.5 + 1e-3).all())


def finite_difference(prior: GRBM, unit: int) -> float:
    """The derivative of log Z by one bias, in float64."""
    ends = []
    for step in (-1e-4, 1e-4):
        moved = GRBM(4, 4).double()
        moved.load_state_dict(prior.state_dict())
        with torch.no_grad():
            moved.bias[unit] += step
        ends.append(double_log_z(moved))
    return (ends[1] - ends[0]) / 2e-4


def double_log_z(prior: GRBM) -> float:
    h = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    with torch.no_grad():
        shift = h @ prior.weight.T
        exponent = h @ prior.bias + ((shift * prior.mu + 0.5 * shift.square()) / prior.var).sum(-1)
        return float(torch.logsumexp(exponent, 0))


def test_posterior_scores_average_to_the_score_of_the_aggregate() -> None:
    """With x ~ N(0, 1 - s^2) and z = x + s eps the aggregate is N(0, 1), whose gradient z is the optimum."""
    noise, n, s = stream(0, "posterior"), 40_000, 0.6
    mean = (1 - s**2) ** 0.5 * noise.normal(n, 1)
    z = mean + s * noise.normal(n, 1)
    target = (z - mean) / s**2
    slope, residual = float((target * z).mean() / z.square().mean()), (target - z) * z
    assert slope == pytest.approx(1, abs=4 * float(residual.std()) / n**0.5)
    at_optimum = float(denoising(StandardNormal(1), z, mean, torch.full_like(mean, math.log(s))).detach())
    # what is left is the variance of the posterior scores around the aggregate's: (1/s^2 - 1)/2
    spread = 0.5 * (target - z).square()
    assert at_optimum == pytest.approx((1 / s**2 - 1) / 2, abs=4 * float(spread.std()) / n**0.5)


def test_the_classifiers_optimum_is_the_log_ratio() -> None:
    """Of N(1, 1) against N(0, 1), where it is z - 1/2: any other line does worse."""
    noise, n = stream(0, "prior"), 50_000
    real, fake = 1 + noise.normal(n), noise.normal(n)

    def loss(a: float, b: float) -> Tensor:
        return classification(a * real + b, a * fake + b)

    best = float(loss(1.0, -0.5))
    for a, b in [(1.2, -0.5), (0.8, -0.5), (1.0, -0.3), (1.0, -0.7)]:
        assert float(loss(a, b)) > best
