"""The learned Stein discrepancy."""

from __future__ import annotations

import torch

from bench.objectives import Critic, discrepancy, model_part
from bench.priors import FullGaussian
from bench.streams import stream


def test_the_critic_comes_to_half_the_difference_of_scores_over_the_penalty() -> None:
    """Between q = N(m, s^2) and p = N(0, 1) in each of two dimensions, f* = (s_p - s_q)/(2 lambda), linear in z."""
    torch.manual_seed(0)
    mean, std, penalty = torch.tensor([0.5, -0.3]), torch.tensor([0.8, 1.2]), 1.0
    critic, noise = Critic(2, [64, 64]), stream(0, "prior")
    adam = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for step in range(800):
        adam.param_groups[0]["lr"] = 3e-3 * min(1.0, 2 * (1 - step / 800))
        z = mean + std * noise.normal(512, 2)
        critic.follow(z)
        adam.zero_grad()
        (-discrepancy(critic, -z, z, penalty, noise.rademacher(4, *z.shape))).backward()
        adam.step()
    z = mean + std * noise.normal(5000, 2)
    optimum = (-z + (z - mean) / std**2) / (2 * penalty)
    with torch.no_grad():
        error = (critic(z) - optimum).square().mean() / optimum.square().mean()
    assert float(error) < 0.02  # of the optimum's own square: the network's shortfall, not noise
    # at the optimum the discrepancy is lambda E||f*||^2
    directions = noise.rademacher(8, *z.shape)
    value = float(discrepancy(critic, -z, z, penalty, directions).detach())
    expected = penalty * float(optimum.square().sum(-1).mean())
    terms = (-z * optimum).sum(-1)
    assert abs(value - expected) < 0.05 * expected + 4 * float(terms.std()) / 5000**0.5


def test_it_vanishes_between_a_density_and_itself() -> None:
    """Stein's identity: E_q[s_q'f + tr grad f] = 0 for any critic."""
    torch.manual_seed(0)
    critic, noise, n = Critic(3, [16]), stream(0, "prior"), 50_000
    z = noise.normal(n, 3)
    parts = torch.stack(
        [discrepancy(critic, -part, part, 0.0, noise.rademacher(4, *part.shape)).detach() for part in z.split(500)]
    )
    assert abs(float(parts.mean())) < 4 * float(parts.std()) / len(parts) ** 0.5


def test_its_part_that_the_prior_sees_has_the_priors_gradient_alone() -> None:
    torch.manual_seed(0)
    critic, prior = Critic(2, [8]), FullGaussian(2)
    z = torch.randn(10, 2)
    loss = model_part(prior, critic, z)
    assert all(
        g is None for g in torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True, retain_graph=True)
    )
    assert all(bool(g.abs().sum() > 0) for g in torch.autograd.grad(loss, list(prior.parameters())))


def test_the_critic_whitens_by_running_moments() -> None:
    critic, noise = Critic(2, [8]), stream(0, "prior")
    for _ in range(1500):
        critic.follow(3 + 2 * noise.normal(200, 2))
    # an exponential average with momentum .01 over batches of 200 has the error of about 200 * 199 draws
    assert bool(((critic.mean - 3).abs() < 4 * 2 / (200 * 199) ** 0.5).all())
    assert bool(((critic.var - 4).abs() < 4 * 4 * (2 / (200 * 199)) ** 0.5).all())
