"""Where the chains of a strategy start, where they go on, and how long their steps are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.energies.grbm import Grbm
from bench.samplers import gibbs
from bench.strategy import Sampler
from bench.streams import stream
from bench.training import Model
from tests.strategies.test_recovery import build

D, N = 3, 32
Z = [shift + stream(0, "posterior").normal(N, D) for shift in (2.0, -1.0)]


def contrastive(start: str) -> tuple[Any, Model]:
    """Return contrastive divergence with one sweep a step, and its model."""
    return build("contrastive-divergence", D, N, start=start, energy=Grbm(hidden=4))


def step(plugin: Any, model: Model, z: Tensor, number: int = 0) -> float:
    """Return the loss of one step."""
    ((name, loss),) = plugin.objective(model, z, None, stream(0, "prior", number))
    assert name == "contrast"
    return float(loss.detach())


@pytest.mark.parametrize("start", ["posterior", "noise", "persistent"])
@pytest.mark.parametrize("z", Z, ids=["above", "below"])
def test_first_chains_start_at_the_latents_or_at_noise_that_knows_nothing_of_them(start: str, z: Tensor) -> None:
    plugin, model = contrastive(start)
    prior: Any = model.prior
    noise = stream(0, "prior")
    end = gibbs(prior, z if start == "posterior" else noise.normal(N, D), 1, noise)
    expected = prior.energy(z).mean() - prior.energy(end).mean()
    # two means of energies of float32
    assert step(plugin, model, z) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_persistent_chains_go_on_where_those_of_the_last_step_ended() -> None:
    plugin, model = contrastive("persistent")
    prior: Any = model.prior
    positions = model.others["chains"].get_buffer("positions")
    ends = []
    for number, z in enumerate(Z):
        step(plugin, model, z, number)
        ends.append(positions.clone())
    for number, end in enumerate(ends):
        noise = stream(0, "prior", number)
        start = noise.normal(N, D)  # drawn at every step, and used at the first
        assert torch.equal(end, gibbs(prior, ends[0] if number else start, 1, noise))


def test_a_langevin_step_is_in_units_of_the_smallest_variance() -> None:
    """A step s on a variance v multiplies z by 1 - s/v and adds 2s: stationary at 2s/(1 - (1 - s/v)^2) = v/(1 - s/2v).

    With s half of the smallest v that is 4/3 v there. The slower direction forgets its start by a factor of 7/8 a step.
    """
    n, share, variances = 20_000, 0.5, torch.tensor([0.04, 0.16])
    prior = GRBM(2, 1)
    with torch.no_grad():
        prior.weight.zero_()
        prior.log_var.copy_(variances.log())
    noise = stream(0, "prior")
    z, _ = Sampler(kind="langevin", steps=100, step_size=share).run(prior, noise.normal(n, 2), noise)
    expected = variances / (1 - share * variances.min() / (2 * variances))
    assert float(expected[0]) == pytest.approx(0.04 * 4 / 3)
    # a variance of n normal draws has the relative standard error sqrt(2/n)
    assert z.var(0).tolist() == pytest.approx(expected.tolist(), rel=4 * (2 / n) ** 0.5)
