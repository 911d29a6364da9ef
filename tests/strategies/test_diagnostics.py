"""What strategies tell of themselves beside the common scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.plugins import Registry
from bench.priors import GRBM, StandardNormal
from bench.protocol import Networks
from bench.strategy import Energy
from bench.streams import stream
from bench.training import Model


def test_the_critics_discrepancy_is_that_of_its_function() -> None:
    """f(z) = az under p = N(0, I), with z ~ N(0, s^2 I) in d dimensions: d (a - a s^2 - lambda a^2 s^2)."""
    a, s, d, n, penalty = 0.3, 0.7, 3, 10_000, 2.0
    strategy: Any = Registry().find("strategy", "stein").load()
    plugin = strategy(critic_hidden=[8], penalty=penalty, energy=Energy(hidden=2))
    task: Any = type("Task", (), {"networks": Networks(latent=d)})
    critic = plugin.others(task)["critic"]
    critic.net = torch.nn.Linear(d, d, bias=False)
    prior = GRBM(d, 2)
    with torch.no_grad():
        critic.net.weight.copy_(a * torch.eye(d))
        prior.weight.zero_()
        prior.bias.fill_(-30)
    nothing: Any = StandardNormal(d)
    model = Model(nothing, prior, {"critic": critic})
    noise = stream(0, "prior")
    with torch.no_grad():
        found = plugin.diagnostics(model, s * noise.normal(n, d), [], noise)
    (score,) = [each for each in found if each.metric.name == "critic_discrepancy"]
    assert score.value == pytest.approx(d * (a - a * s**2 - penalty * a**2 * s**2), abs=4 * score.stderr_mc)
    # the trace of a linear f is exact, so that only z'z is random: its variance is 2d s^4
    assert score.stderr_mc == pytest.approx((a + penalty * a**2) * (2 * d / n) ** 0.5 * s**2, rel=0.7)
    assert {each.metric.name for each in found} >= {"sampler_r_hat", "sampler_ess"}
