"""What the built-in strategies do not take is told in one sentence, before anything is trained."""

from __future__ import annotations

import pytest

from bench.grid import load
from bench.plugins import Registry
from bench.protocol import UserError

SENTENCES = {
    "sliced-score-matching.lr=-1": ".lr = -1 is not allowed; it must be a number, above 0 and at most 1",
    "sliced-score-matching.variant=slicd": (
        '.variant = "slicd" is not allowed; did you mean "sliced"? it must be one of "sliced", "variance-reduced", '
        '"exact"'
    ),
    "sliced-score-matching.energy.kind=resnet": (
        '.energy.kind = "resnet" is not allowed: unknown energy "resnet"; known: grbm, mlp, untilted-mlp'
    ),
    "contrastive-divergence.energy.kind=mlp": (
        ": sampler.kind = 'gibbs-langevin' needs hidden units, and energy.kind = 'mlp' has none; 'langevin' is "
        "allowed, or energy.kind = 'grbm'"
    ),
    **dict.fromkeys(
        ("tilted.energy.kind=grbm", "noise-contrastive.energy.kind=grbm"),
        ": energy.kind = 'grbm' cannot be used by this strategy, which needs a tilt of N(0, I); 'mlp' has one",
    ),
}


@pytest.mark.parametrize("setting", SENTENCES)
def test_a_value_that_a_strategy_cannot_use(setting: str) -> None:
    name = setting.partition(".")[0]
    with pytest.raises(UserError) as raised:
        load("toy", Registry(), settings=[f"strategy.{setting}"])
    assert str(raised.value) == f"--set strategy.{setting}: strategy.{name}{SENTENCES[setting]}"


def test_a_latent_dimension_too_large_for_exact_scoring() -> None:
    with pytest.raises(UserError) as raised:
        load("toy", Registry(), settings=["networks.latent=3"])
    assert str(raised.value) == (
        "--set networks.latent=3: data set 8-gaussians: networks.latent = 3 is too large for exact scoring; at most 2 "
        "is allowed"
    )
