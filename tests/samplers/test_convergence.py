"""R-hat and effective sample sizes of chains whose autocorrelation is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.priors import StandardNormal
from bench.samplers import effective_size, split_r_hat
from bench.samplers.convergence import R_HAT_MOST
from bench.strategy import Sampler
from bench.streams import stream

STEPS, CHAINS = 400, 64


def autoregressive(correlation: float, quantities: int = 8) -> Tensor:
    """Stationary chains with the given correlation of neighbours, `(T, n, k)`."""
    noise = stream(0, "prior")
    z = noise.normal(CHAINS, quantities)
    trace = []
    for _ in range(STEPS):
        z = correlation * z + math.sqrt(1 - correlation**2) * noise.normal(CHAINS, quantities)
        trace.append(z)
    return torch.stack(trace)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_effective_size_is_that_of_an_autoregression(correlation: float) -> None:
    """Tn (1 - rho)/(1 + rho)."""
    sizes = effective_size(autoregressive(correlation)) / (STEPS * CHAINS)
    truth = (1 - correlation) / (1 + correlation)
    error = float(sizes.std()) / len(sizes) ** 0.5
    # the variance of n means of T steps tells the truth to within 1 in sqrt(n/2), whatever the estimator
    assert float(sizes.mean()) == pytest.approx(truth, abs=4 * error + truth * (2 / CHAINS / len(sizes)) ** 0.5)


def test_chains_that_turn_back_are_worth_no_more_than_their_number() -> None:
    """By its autocorrelations, an autoregression of -1/2 is worth 3 Tn."""
    assert effective_size(autoregressive(-0.5)).tolist() == [STEPS * CHAINS] * 8


def test_r_hat_is_one_for_independent_draws() -> None:
    """Its square is 1 - 2/T + (variance of 2n half-chain means)/W, and the mean of the last part is 2/T as well."""
    r_hat = split_r_hat(autoregressive(0.0))
    error = 2 / STEPS * (2 / (2 * CHAINS - 1)) ** 0.5 / 2
    assert float((r_hat - 1).abs().max()) < 5 * error


def test_r_hat_sees_chains_in_different_places() -> None:
    """Two modes at +-a, unit variance within: V/W = 1 + a^2 n/(n - 1)."""
    chains = autoregressive(0.0)
    chains[:, ::2] += 3.0
    chains[:, 1::2] -= 3.0
    halves = 2 * CHAINS
    truth = math.sqrt(1 + 9 * halves / (halves - 1))
    assert split_r_hat(chains).mean().item() == pytest.approx(truth, rel=0.01)


def test_r_hat_sees_a_drift_that_all_chains_share() -> None:
    assert float(split_r_hat(autoregressive(0.0) + torch.linspace(0, 6, STEPS)[:, None, None]).min()) > 1.5


def test_chains_that_do_not_move_are_worth_nothing() -> None:
    """Each is one draw at most."""
    still = stream(0, "prior").normal(CHAINS, 3).expand(STEPS, CHAINS, 3)
    assert split_r_hat(still).tolist() == [R_HAT_MOST] * 3
    assert float(effective_size(still).max()) <= 2 * CHAINS


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_chains_that_leave_the_finite_numbers_have_not_mixed(value: float) -> None:
    chains = autoregressive(0.0)
    chains[-1, 0] = value
    assert split_r_hat(chains).tolist() == [R_HAT_MOST] * 8
    assert effective_size(chains).tolist() == [0.0] * 8


def figures(sampler: Sampler, prior: StandardNormal | GRBM, d: int) -> dict[str, float]:
    return {score.metric.name: score.value for score in sampler.diagnostics(prior, d, stream(1, "prior"))}


def test_a_sampler_that_mixes_says_so_and_one_that_is_stuck_too() -> None:
    """The second has two modes 16 standard deviations apart, and N(0, I) between them reaches both."""
    well = figures(Sampler(step_size=0.5, adjust=True), StandardNormal(4), 4)
    assert well["sampler_r_hat"] < 1.05
    assert well["sampler_ess"] > 500
    assert 0.3 < well["sampler_acceptance"] < 1

    prior = GRBM(2, 1)
    with torch.no_grad():
        prior.weight.copy_(torch.tensor([[16.0], [0.0]]))
        prior.mu.copy_(torch.tensor([-8.0, 0.0]))
        prior.bias.zero_()
    stuck = figures(Sampler(kind="gibbs"), prior, 2)
    assert stuck["sampler_r_hat"] > 2
    assert stuck["sampler_ess"] < 200
    assert "sampler_acceptance" not in stuck, "a Gibbs sweep rejects nothing"
