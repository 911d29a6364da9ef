"""Score matching recovers what its theory says, with the Hessian's sign that belongs to an energy."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.objectives import exact, sliced, sliced_variance_reduced
from bench.streams import stream

Objective = Callable[[GRBM, Tensor, Tensor], Tensor]
VARIANTS: dict[str, Objective] = {
    "sliced": sliced,
    "variance-reduced": sliced_variance_reduced,
    "exact": lambda prior, z, v: exact(prior, z),
}


def signs(n: int, d: int) -> Tensor:
    """All 2^d sign vectors for each of n items, `(2^d, n, d)`."""
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=d)), dtype=torch.float64)
    return corners[:, None, :].expand(-1, n, d)


@pytest.mark.parametrize("objective", [sliced, sliced_variance_reduced])
def test_the_mean_over_all_sign_vectors_is_the_exact_objective(objective: Objective) -> None:
    torch.manual_seed(0)
    prior, z = GRBM(3, 4).double(), torch.randn(5, 3, dtype=torch.float64)
    mean = torch.stack([objective(prior, z, v) for v in signs(5, 3)]).mean()
    torch.testing.assert_close(mean, exact(prior, z))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_gaussian_is_recovered_from_its_samples(variant: str) -> None:
    """Without hidden units' help (W = 0) the exact optimum is the sample mean and variance; sliced, in expectation."""
    prior = GRBM(2, 1)
    prior.weight.data.zero_()
    noise = stream(0, "prior")
    target_mean, target_std = torch.tensor([0.7, -0.4]), torch.tensor([0.5, 1.6])
    z = target_mean + target_std * noise.normal(2000, 2)
    optimiser = torch.optim.Adam([prior.mu, prior.log_var], lr=0.02)
    kept: list[tuple[Tensor, Tensor]] = []
    for step in range(1200):
        optimiser.zero_grad()
        VARIANTS[variant](prior, z, noise.rademacher(2000, 2)).backward()
        for group in optimiser.param_groups:
            group["lr"] = 0.02 * min(1.0, 2 * (1 - step / 1200))
        optimiser.step()
        if step >= 1000:
            kept.append((prior.mu.detach().clone(), prior.var.detach().clone()))
    mean, var = (torch.stack(values).mean(0) for values in zip(*kept, strict=True))
    # distance to the distribution, in the standard errors of 2,000 samples: mean s/sqrt(n), variance s^2 sqrt(2/n)
    n = 2000
    assert bool(((mean - target_mean).abs() < 4 * target_std / n**0.5).all())
    assert bool(((var - target_std**2).abs() < 4 * target_std**2 * (2 / n) ** 0.5).all())
    if variant == "exact":
        torch.testing.assert_close(mean, z.mean(0), rtol=0, atol=1e-3)
        torch.testing.assert_close(var, z.var(0, correction=0), rtol=1e-3, atol=0)


def test_with_the_printed_sign_the_same_fit_runs_away() -> None:
    """Paper Algorithm 1, line 5 as printed has + v'(Hessian)v: its optimum is infinite variance."""
    prior = GRBM(1, 1).double()
    prior.weight.data.zero_()
    z = stream(0, "prior").normal(500, 1).double()
    v = torch.ones_like(z)
    optimiser = torch.optim.Adam([prior.log_var], lr=0.1)
    for _ in range(500):
        optimiser.zero_grad()
        as_printed = prior.curvature(z, v).mean() + 0.5 * (prior.gradient(z, create_graph=True) * v).square().mean()
        as_printed.backward()
        optimiser.step()
    assert float(prior.log_var.detach()) > 5


def test_the_gradient_vanishes_at_the_distribution_that_gave_the_samples() -> None:
    torch.manual_seed(3)
    prior = GRBM(3, 3)
    n = 40_000
    z = prior.sample(n, stream(1, "prior"))
    per_item = []
    for chunk in z.split(400):
        gradients = torch.autograd.grad(exact(prior, chunk), list(prior.parameters()))
        per_item.append(torch.cat([g.flatten() for g in gradients]))
    stacked = torch.stack(per_item)
    stderr = stacked.std(0) / len(stacked) ** 0.5
    # 4.5 standard errors for 24 parameters and Student's t with 99 degrees of freedom: 1 in 2,000 by chance
    assert bool((stacked.mean(0).abs() < 4.5 * stderr).all())
