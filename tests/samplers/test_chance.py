"""What has no chance does not happen, also when a uniform draw is 0: of 24 bits, it is so once in 17 million."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.energies.densities import whitened
from bench.estimators import hmc, partition
from bench.priors import StandardNormal
from bench.samplers import gibbs_langevin, langevin
from bench.samplers.chains import accepted
from bench.streams import Stream

LAST = 1 - 2.0**-24  # the greatest uniform draw


class Constant(Stream):
    """A stream whose uniform draws are one number."""

    def __init__(self, value: float) -> None:
        super().__init__(0, "prior")
        self.value = value

    def uniform(self, *shape: int) -> Tensor:
        return torch.full(shape, self.value)


def grbm() -> GRBM:
    prior = GRBM(3, 2)
    with torch.no_grad():
        prior.weight.zero_()
        prior.bias.fill_(-40)  # a hidden unit is on once in 10^17 times
    return prior


def by_langevin(z: Tensor, noise: Stream) -> Tensor:
    return langevin(StandardNormal(3), z, 1, 100.0, noise, adjust=True)[0]


def by_gibbs_langevin(z: Tensor, noise: Stream) -> Tensor:
    return gibbs_langevin(grbm(), z, 1, 1, 100.0, noise, adjust=True)[0]


def by_hamiltonian(z: Tensor, noise: Stream) -> Tensor:
    def energy(z: Tensor) -> Tensor:
        return 0.5 * z.square().sum(-1)

    eye = torch.eye(3).double()
    zero, one = torch.zeros(3).double(), torch.ones(3).double()
    bridge = hmc.Bridge(eye, zero, one, one, energy, hmc.untuned(zero))
    state, _ = bridge.trajectory(bridge.at(z.double()), 1.0, torch.tensor(100.0).double(), noise)
    return bridge.ends(state)


@pytest.mark.parametrize("move", [by_langevin, by_gibbs_langevin, by_hamiltonian])
@pytest.mark.parametrize("value", [0.0, 0.5, LAST])
def test_no_chain_goes_where_its_ratio_is_nothing(move: Callable[[Tensor, Stream], Tensor], value: float) -> None:
    """Steps a hundred times too long end where the density is e^-1000 of what it was."""
    z = torch.zeros(50, 3)
    assert torch.equal(move(z, Constant(value)).float(), z)


@pytest.mark.parametrize("value", [0.0, 0.5, LAST])
def test_a_proposal_that_is_no_worse_is_taken(value: float) -> None:
    noise = Constant(value)
    assert accepted(torch.tensor([0.0, 1.0, math.inf]), noise).all()
    assert not accepted(torch.tensor([-40.0, -math.inf, math.nan]), noise).any()


def test_a_proposal_is_taken_with_the_probability_of_its_ratio() -> None:
    noise, n = Stream(0, "prior"), 400_000
    for ratio in (0.02, 0.5, 0.9):
        share = float(accepted(torch.full((n,), math.log(ratio)), noise).float().mean())
        assert share == pytest.approx(ratio, abs=4 * (ratio * (1 - ratio) / n) ** 0.5)


@pytest.mark.parametrize("value", [0.0, 0.5, LAST])
def test_a_hidden_unit_without_a_chance_stays_off_and_one_without_another_is_on(value: float) -> None:
    z, noise = torch.zeros(10, 3), Constant(value)
    assert not grbm().draw_hidden(z, noise).any()
    prior = grbm()
    with torch.no_grad():
        prior.bias.fill_(40)
    assert prior.draw_hidden(z, noise).all()
    for probability in (torch.zeros(4, 2), torch.ones(4, 2)):
        assert torch.equal(whitened.bernoulli(probability, noise).float(), probability)
        assert torch.equal(whitened.bernoulli(probability.double(), noise), probability.double())


@pytest.mark.parametrize("value", [0.0, 0.5, LAST])
@pytest.mark.parametrize("n", [1, 3, 1000])
def test_no_chain_without_weight_is_resampled(value: float, n: int) -> None:
    log_weights = torch.tensor([-math.inf, 0.0, -math.inf, 1.0, -math.inf]).double()
    drawn = partition._resample(log_weights, torch.arange(5.0)[:, None], n, Constant(value))
    assert set(drawn.flatten().tolist()) <= {1.0, 3.0}


@pytest.mark.parametrize("value", [0.0, 0.5, LAST])
@pytest.mark.parametrize("n", [1, 7, 999])
def test_a_chain_is_resampled_as_often_as_its_weight_says(value: float, n: int) -> None:
    """Of n draws a share of w are n w of them, rounded up or down; no n w here is near a whole number."""
    weights = torch.tensor([0.0513, 0.4991, 0.1507, 0.2989]).double()
    drawn = partition._resample(weights.log() + 700, torch.arange(4.0)[:, None], n, Constant(value))
    counts = drawn.flatten().long().bincount(minlength=4)
    assert int(counts.sum()) == n
    assert ((counts == (n * weights).floor()) | (counts == (n * weights).ceil())).all()
