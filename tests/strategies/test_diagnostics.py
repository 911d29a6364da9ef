"""What strategies tell of themselves beside the common scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contracts.task import small
from bench.energies import GRBM, Neural
from bench.energies import mlp as energy_mlp
from bench.energies.grbm import Grbm
from bench.networks.mlp import Mlp
from bench.plugins import Registry
from bench.priors import StandardNormal
from bench.protocol import Metric, Networks, Run, Score
from bench.streams import stream
from bench.training import Model


def test_the_critics_discrepancy_is_that_of_its_function() -> None:
    """f(z) = az under p = N(0, I), with z ~ N(0, s^2 I) in d dimensions: d (a - a s^2 - lambda a^2 s^2)."""
    a, s, d, n, penalty = 0.3, 0.7, 3, 10_000, 2.0
    strategy: Any = Registry().find("strategy", "stein").load()
    plugin = strategy(critic_hidden=[8], penalty=penalty, energy=Grbm(hidden=2))
    task: Any = type("Task", (), {"networks": Networks(encoder=Mlp(), decoder=Mlp(), latent=d)})
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


def by_name(found: Any) -> dict[str, Score]:
    return {each.metric.name: each for each in found}


def test_the_adversarys_lag_is_log_z_less_its_bound() -> None:
    """Of N(0, I) as a GRBM without coupling, whose log Z is d/2 log 2 pi; the interval of log Z is the lag's."""
    d = 3
    strategy: Any = Registry().find("strategy", "adversarial").load()
    plugin = strategy(hidden=[8], transforms=1)
    task: Any = type("Task", (), {"networks": Networks(encoder=Mlp(), decoder=Mlp(), latent=d)})
    prior = GRBM(d, 2)
    with torch.no_grad():
        prior.weight.zero_()
        prior.bias.fill_(-30)
    nothing: Any = StandardNormal(d)
    model = Model(nothing, prior, plugin.others(task))
    value = d / 2 * math.log(2 * math.pi)
    log_z = Score(Metric("log_z", "nats"), value, 1, "ais", 0.01, 0.0, value - 0.1, value + 0.2, "in doubt")
    with torch.no_grad():
        found = by_name(plugin.diagnostics(model, torch.zeros(1, d), [log_z], stream(0, "prior")))
    bound, lag = found["adversary_bound"], found["adversary_lag"]
    assert bound.value < value + 3 * bound.stderr_mc
    assert lag.value == pytest.approx(value - bound.value)
    assert (lag.value - lag.sys_lower, lag.sys_upper - lag.value) == pytest.approx((0.1, 0.2))
    assert lag.stderr_mc == bound.stderr_mc  # log Z's error is in the interval, and not here as well
    assert lag.unreliable == "in doubt"


def test_the_mean_ratio_is_the_mean_of_the_classifiers_ratio_under_noise() -> None:
    """A tilt of c everywhere is the ratio e^-c."""
    plugin: Any = Registry().find("strategy", "noise-contrastive").load()()
    prior = Neural(2, 4, tilted=True)
    with torch.no_grad():
        for parameter in list(prior.net.parameters())[-2:]:  # the last layer's
            parameter.fill_(0.5 if parameter.ndim == 1 else 0.0)
        nothing: Any = StandardNormal(2)
        found = by_name(plugin.diagnostics(Model(nothing, prior), torch.zeros(1, 2), [], stream(0, "prior")))
    assert found["mean_ratio"].value == pytest.approx(math.exp(-0.5))
    assert found["mean_ratio"].stderr_mc == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("name", ["noise-contrastive", "tilted"])
def test_an_energy_tells_how_far_it_lags_behind_the_posterior(name: str, tmp_path: Path) -> None:
    strategy: Any = Registry().find("strategy", name).load()
    plugin = strategy(energy=energy_mlp.Mlp(hidden=4))
    stability = plugin.fit(small(plugin), Run(0, "cpu", tmp_path))["stability"]
    assert stability["energy_gap"] == stability["energy_posterior"] - stability["energy_prior"]
    assert {"stein_mean", "stein_scale"} <= stability.keys()
