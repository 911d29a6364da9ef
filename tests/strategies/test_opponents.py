"""An adversary's densities, a critic's moments and a classifier's ratio, by value."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from bench.energies.grbm import Grbm
from bench.energies.mlp import Mlp
from bench.protocol import Metric, Score
from bench.streams import stream
from bench.training import Model
from tests.strategies.test_recovery import build

D = 3


def by_name(plugin: Any, model: Model, *scores: Score) -> dict[str, Score]:
    """Return what a strategy tells of itself, by name, with draws of the stream of step 0."""
    with torch.no_grad():
        found = plugin.diagnostics(model, torch.zeros(1, D), scores, stream(0, "prior"))
    return {score.metric.name: score for score in found}


def adversarial() -> tuple[Any, Model]:
    """Return the strategy with a small adversary, and its model."""
    return build("adversarial", D, transforms=2, hidden=[8], energy=Grbm(hidden=4))


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_the_log_density_of_an_adversarys_draws_is_that_of_its_flow(scale: float) -> None:
    plugin, model = adversarial()
    adversary = model.others["adversary"]
    with torch.no_grad():
        for parameter in adversary.parameters():
            parameter.mul_(scale)
        z, log_prob = plugin._drawn(adversary, 1000, stream(0, "prior"))
        # the flow is turned round and back, in float32
        torch.testing.assert_close(log_prob, adversary().log_prob(z), rtol=0, atol=1e-4)


def test_the_adversarys_bound_is_a_mean_of_its_draws_with_their_standard_error() -> None:
    plugin, model = adversarial()
    n = 10_000
    with torch.no_grad():
        z, log_prob = plugin._drawn(model.others["adversary"], n, stream(0, "prior"))
        terms = -model.prior.energy(z) - log_prob
    log_z = Score(Metric("log_z", "nats"), 1.0, 1, "exact", 0.0, 0.0, 1.0, 1.0)
    found = by_name(plugin, model, log_z)
    bound, lag = found["adversary_bound"], found["adversary_lag"]
    error = terms.std().item() / n**0.5
    assert (bound.value, bound.stderr_mc, bound.n) == (terms.mean().item(), error, n)
    assert (lag.value, lag.stderr_mc, lag.n) == (1.0 - bound.value, error, n)


def test_the_mean_ratio_has_the_standard_error_of_its_draws() -> None:
    """With a tilt z_0/2 the ratio is exp(-z_0/2): mean e^(1/8), variance e^(1/2) - e^(1/4)."""
    plugin, model = build("noise-contrastive", D, energy=Mlp(hidden=4))
    linear = nn.Linear(D, 1, bias=False)
    linear.weight.data.copy_(torch.tensor([[0.5, 0.0, 0.0]]))
    model.prior.net = linear
    ratio, n = by_name(plugin, model)["mean_ratio"], 100_000
    error = (math.exp(1 / 2) - math.exp(1 / 4)) ** 0.5 / n**0.5
    assert ratio.n == n
    assert ratio.value == pytest.approx(math.exp(1 / 8), abs=4 * error)
    # a standard deviation has the relative standard error sqrt((kurtosis - 1)/4n); a lognormal's kurtosis is 8.9 at a
    # variance of 1/4 of its logarithm, which makes .0044
    assert ratio.stderr_mc == pytest.approx(error, rel=0.02)


def test_a_critics_moments_follow_the_latents_by_a_hundredth_a_step() -> None:
    """From 0 and 1, once a step, however many losses the critic has in it."""
    plugin, model = build("stein", D, critic_hidden=[8], critic_steps=3, energy=Grbm(hidden=4))
    critic: Any = model.others["critic"]
    z = 2 + 3 * stream(0, "posterior").normal(50, D)
    names = [name for name, _ in plugin.objective(model, z, None, stream(0, "prior"))]
    assert names == ["critic"] * 3 + ["discrepancy"]
    assert torch.equal(critic.mean, 0.01 * z.mean(0))
    torch.testing.assert_close(critic.var, 0.99 + 0.01 * z.var(0))


def test_a_critics_variance_stays_where_there_is_one_latent_alone() -> None:
    _, model = build("stein", D, critic_hidden=[8], energy=Grbm(hidden=4))
    critic: Any = model.others["critic"]
    z = stream(0, "posterior").normal(1, D)
    critic.follow(z)
    assert torch.equal(critic.mean, 0.01 * z[0])
    assert torch.equal(critic.var, torch.ones(D))


def test_the_gradients_of_critic_and_prior_are_clipped_and_the_encoders_is_not() -> None:
    plugin, _ = build("stein", D, critic_hidden=[8], energy=Grbm(hidden=4))
    clips = {group: plugin.clip(group) for group in ("critic", "prior", "encoder", "decoder")}
    assert clips == {"critic": 10, "prior": 10, "encoder": None, "decoder": None}
