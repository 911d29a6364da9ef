"""A sampler leaves its prior invariant, or is off by as much as theory says."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.priors import StandardNormal
from bench.samplers import gibbs, gibbs_langevin, langevin
from bench.streams import Stream, stream

N = 20_000


def a_grbm() -> GRBM:
    torch.manual_seed(0)
    grbm = GRBM(2, 3)
    with torch.no_grad():
        grbm.weight.normal_(0, 1.2)
        grbm.bias.normal_(0, 0.5)
        grbm.mu.normal_()
        grbm.log_var.uniform_(-0.7, 0.7)
    return grbm


def probability(grbm: GRBM) -> tuple[Tensor, Tensor]:
    """Every state h `(8, 3)` and its exact probability `(8,)`."""
    with torch.no_grad():
        h = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
        shift = h @ grbm.weight.T
        linear = h @ grbm.bias + (shift * grbm.mu / grbm.var).sum(-1)
        return h, torch.softmax(linear + 0.5 * (shift.square() / grbm.var).sum(-1), 0)


def exact_draws(grbm: GRBM, n: int, noise: Stream) -> Tensor:
    h, p = probability(grbm)
    chosen = torch.searchsorted(p.cumsum(0), noise.uniform(n)).clamp(max=7)
    with torch.no_grad():
        return grbm.draw_visible(h[chosen], noise)


SAMPLERS: dict[str, Callable[[GRBM, Tensor, Stream], Tensor]] = {
    "gibbs": lambda p, z, noise: gibbs(p, z, 20, noise),
    "adjusted Langevin": lambda p, z, noise: langevin(p, z, 50, 0.3, noise, adjust=True)[0],
    "adjusted Gibbs-Langevin": lambda p, z, noise: gibbs_langevin(p, z, 20, 3, 0.5, noise, adjust=True)[0],
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_exact_draws_stay_exact(name: str) -> None:
    grbm, noise = a_grbm(), stream(0, "prior")
    z = SAMPLERS[name](grbm, exact_draws(grbm, N, noise), noise)
    h, p = probability(grbm)
    with torch.no_grad():
        centres = grbm.centre(h)
        first = p @ centres
        second = p @ (centres.square() + grbm.var)
        third = p @ (centres**3 + 3 * centres * grbm.var)
    for power, expected in enumerate((first, second, third), start=1):
        stderr = (z**power).std(0) / N**0.5
        assert bool((((z**power).mean(0) - expected).abs() < 4 * stderr).all()), f"moment {power}"


@pytest.mark.parametrize("name", SAMPLERS)
def test_chains_reach_the_prior_from_elsewhere(name: str) -> None:
    """Of a prior whose modes overlap; started at N(0, I)."""
    grbm, noise = a_grbm(), stream(1, "prior")
    z = noise.normal(N, 2)
    for _ in range(10):
        z = SAMPLERS[name](grbm, z, noise)
    h, p = probability(grbm)
    with torch.no_grad():
        expected = p @ grbm.centre(h)
    assert bool(((z.mean(0) - expected).abs() < 4 * z.std(0) / N**0.5).all())


@pytest.mark.parametrize("step_size", [0.1, 0.5])
def test_unadjusted_langevin_inflates_a_gaussians_variance_by_the_known_factor(step_size: float) -> None:
    noise = stream(0, "prior")
    z, accepted = langevin(StandardNormal(2), noise.normal(N, 2), 80, step_size, noise, adjust=False)
    expected = 1 / (1 - step_size / 2)
    # 2 N draws; the relative standard error of a variance is sqrt(2/n)
    assert float(z.var()) == pytest.approx(expected, rel=4 * math.sqrt(2 / (2 * N)))
    assert float(accepted) == 1


@pytest.mark.parametrize("step_size", [0.1, 0.5])
def test_unadjusted_gibbs_langevin_inflates_each_variance_given_h_by_the_known_factor(step_size: float) -> None:
    """Of a GRBM whose only hidden unit is always on: it is N(mu + W, diag sigma^2)."""
    grbm, noise = GRBM(2, 1), stream(0, "prior")
    with torch.no_grad():
        grbm.weight.copy_(torch.tensor([[0.5], [-0.5]]))
        grbm.bias.fill_(40)  # the unit is off once in 10^15 times
        grbm.mu.copy_(torch.tensor([1.0, -2.0]))
        grbm.log_var.copy_(torch.tensor([-1.0, 1.0]))
    # 160 steps leave (1 - s)^160 < 1e-7 of where the chains began
    z, accepted = gibbs_langevin(grbm, noise.normal(N, 2), 4, 40, step_size, noise, adjust=False)
    variance = torch.tensor([-1.0, 1.0]).exp() / (1 - step_size / 2)
    # the relative standard error of a variance is sqrt(2/n)
    torch.testing.assert_close(z.var(0), variance, rtol=4 * math.sqrt(2 / N), atol=0)
    assert bool(((z.mean(0) - torch.tensor([1.5, -2.5])).abs() < 4 * variance.sqrt() / N**0.5).all())
    assert float(accepted) == 1


def test_a_small_step_is_nearly_always_accepted_and_a_large_one_is_not() -> None:
    noise = stream(0, "prior")
    shares = [
        float(langevin(a_grbm(), noise.normal(500, 2), 20, step, noise, adjust=True)[1]) for step in (1e-3, 0.3, 3.0)
    ]
    assert shares[0] > 0.99 > shares[1] > shares[2]


def test_the_share_of_accepted_steps_is_that_of_all_of_them() -> None:
    """At a step of 1e-8 the log ratio is of the order of its 3/2th power, and no uniform draw is so close to 1."""
    grbm, noise = a_grbm().double(), stream(0, "prior")
    z = noise.normal(500, 2).double()
    assert float(langevin(grbm, z, 20, 1e-8, noise, adjust=True)[1]) == 1
    for steps, inner in ((1, 1), (20, 1), (1, 5), (4, 5)):
        assert float(gibbs_langevin(grbm, z, steps, inner, 1e-8, noise, adjust=True)[1]) == 1


def test_the_share_of_accepted_steps_is_the_same_however_sweeps_divide_them() -> None:
    """Without weights the hidden units play no part."""
    grbm = a_grbm()
    with torch.no_grad():
        grbm.weight.zero_()
    n, noise = 1000, stream(0, "prior")
    z = exact_draws(grbm, n, noise)
    shares = [float(gibbs_langevin(grbm, z, steps, 20 // steps, 0.5, noise, adjust=True)[1]) for steps in (1, 4, 20)]
    assert 0.5 < min(shares) < max(shares) < 1
    # the error of a difference, even if a chain took all of its 20 steps or none
    assert max(shares) - min(shares) < 4 * (2 * shares[0] * (1 - shares[0]) / n) ** 0.5
