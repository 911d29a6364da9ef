"""The figures of the end of an epoch, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from bench.energies import GRBM
from bench.priors import StandardNormal
from bench.streams import stream
from bench.training.stability import energy_gap, measure
from bench.vae import Posterior


def test_residuals_and_energies_of_a_sample_under_a_normal_prior() -> None:
    """The energy of N(0, I) in two dimensions is |z|^2 / 2 + log 2 pi, and its gradient z."""
    z = torch.tensor([[3.0, 4.0], [0.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    figures = {name: float(figure.value) for name, figure in measure(StandardNormal(2), posterior(), z).items()}
    squares = [25.0, 1.0, 2.0, 0.0]
    assert figures["energy_posterior"] == pytest.approx(sum(squares) / 8 + math.log(2 * math.pi))
    assert figures["energy_abs_max"] == pytest.approx(12.5 + math.log(2 * math.pi))
    assert figures["energy_gradient_max"] == pytest.approx(5.0)
    assert figures["stein_mean"] == pytest.approx(math.hypot(1, 1) / math.sqrt(2))  # of the mean (1, 1)
    assert figures["stein_scale"] == pytest.approx(sum(squares) / 4 / 2 - 1)


def posterior() -> Posterior:
    """Four posteriors: means of variance .02 in one dimension and .005 in the other, log deviations of -2 to .5."""
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0]) * math.sqrt(0.75)  # of variance 1, n - 1 in the denominator
    mean = torch.stack([signs * math.sqrt(0.02), signs * math.sqrt(0.005)], -1)
    return Posterior(mean, torch.tensor([[-2.0, 0.0], [0.5, 0.0], [-1.0, 0.0], [0.0, 0.0]]))


def test_units_are_active_whose_mean_varies_by_more_than_a_hundredth() -> None:
    """As Burda et al. (2016) count them."""
    figures = measure(StandardNormal(2), posterior(), torch.zeros(4, 2))
    assert int(figures["active_units"].value) == 1
    assert float(figures["posterior_log_std_min"].value) == -2.0
    assert float(figures["posterior_log_std_max"].value) == 0.5


def test_the_energy_gap_is_that_to_the_priors_own_samples() -> None:
    """A GRBM without coupling is N(0, I): E = |z|^2 / 2, of mean d / 2 and variance d / 2 under it."""
    d, n = 3, 20_000
    prior = GRBM(d, 2)
    with torch.no_grad():
        prior.weight.zero_()
        prior.bias.fill_(-30)
    found = energy_gap(prior, 4.0, stream(0, "gap"), n)
    assert found["energy_prior"] == pytest.approx(d / 2, abs=4 * math.sqrt(d / 2 / n))  # four standard errors
    assert found["energy_gap"] == 4.0 - found["energy_prior"]
