"""A data set that brings a likelihood which breaks its contract is told so, in one sentence."""

from __future__ import annotations

import pytest

from tests.contracts.test_breaches_of_datasets import Judge, assert_fails

OWN = """
from bench.vae import Likelihood

class _Own(Likelihood):
    bounds = None

    def log_prob(self, x, parameters):
        return -0.5 * (x - parameters).square().sum(-1)

    def mean(self, parameters):
        return parameters

    def sample(self, parameters, noise):
        return parameters + noise.normal(*parameters.shape)

class Broken(Dataset):
    version: ClassVar[str] = "1"
    likelihood: ClassVar[Any] = _Own
    unit: ClassVar[str] = "nats"

    def load(self, folder):
        return split(POINTS[:80], POINTS[80:])

    def prepare(self, x, noise):
        return x
"""


def test_a_right_one_keeps_it(verdict: Judge) -> None:
    found = verdict("dataset", "likelihood", OWN)
    assert (found.status, found.reason) == ("pass", "_Own: densities (..., B), means and samples (..., B, D)")


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        (".sum(-1)", ".sum()", "log_prob gives () for parameters (3, 64, 3); it must give (3, 64), finite"),
        (".sum(-1)", ".sum(-1) / 0", "log_prob gives (3, 64) for parameters (3, 64, 3); it must give (3, 64), finite"),
        ("return parameters\n", "return parameters.mean(-1)\n", "mean and sample give (3, 64) and (50, 3, 64, 3)"),
        ("noise.normal(*", "torch.randn(*", "sample gives other draws when it is called again; draw from the noise"),
        ("bounds = None", "bounds = (-1.0, 1.0)", "sample gives numbers outside of its bounds (-1.0, 1.0)"),
        # one standard error is 1 / sqrt(50 * 3 * 64 * 3) = .0059
        ("return parameters\n", "return parameters + 0.05\n", "standard errors from that of its samples"),
        ("return parameters\n", "return parameters - 0.05\n", "standard errors from that of its samples"),
    ],
)
def test_a_breach_is_told(verdict: Judge, right: str, wrong: str, sentence: str) -> None:
    assert OWN.count(right) == 1
    assert_fails(verdict("dataset", "likelihood", OWN.replace(right, wrong)), sentence)
