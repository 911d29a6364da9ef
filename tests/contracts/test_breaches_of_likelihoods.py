"""A data set that brings a likelihood which breaks its contract is told so, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import likelihoods
from bench.contracts.verdicts import Breach
from bench.protocol import Noise
from bench.streams import stream
from bench.vae import Bernoulli, Gaussian, Laplace, Likelihood
from tests.contracts.test_breaches_of_datasets import Judge, assert_fails

OWN = """
import math
from bench.vae import Likelihood

class _Own(Likelihood):
    bounds = None

    def log_prob(self, x, parameters):
        return -0.5 * (x - parameters).square().sum(-1) - 0.5 * math.log(2 * math.pi) * x.shape[-1]

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
    assert found.status == "pass", found
    assert found.reason.startswith(
        "_Own: densities (..., B), means and samples (..., B, D); it integrates to 1, and its"
    )


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
        (" * x.shape[-1]", "", "over x is 1.838 nats, and it must be 0"),  # two numbers of three lack 2 pi
        (
            "+ noise.normal(*parameters.shape)",
            "+ 1.2 * noise.normal(*parameters.shape)",
            "its samples do not come from its density: the mean of cos(",
        ),
        (
            "noise.normal(*parameters.shape)",
            "torch.ones(parameters.shape)",
            "sample gives the same draws whatever the noise",
        ),
        (
            "(x - parameters).square()",
            "(x - x.mean(0) - parameters).square()",
            "log_prob of an item depends on the items beside it",
        ),
        (
            "(x - parameters).square()",
            "torch.where(x < -9, x.sqrt(), x - parameters).square()",
            "log_prob is NaN or infinite where number 0 of x is -",
        ),
        ("(x - parameters).square()", "0 * (x - parameters)", "has no integral by quadrature over number"),
    ],
)
def test_a_breach_is_told(verdict: Judge, right: str, wrong: str, sentence: str) -> None:
    assert OWN.count(right) == 1
    assert_fails(verdict("dataset", "likelihood", OWN.replace(right, wrong)), sentence)


READER = """
    def reader(self, x, head):
        return lambda features: READ
"""


@pytest.mark.parametrize(
    ("read", "sentence"),
    [
        ("-0.5 * (x - head(features)).square().sum(-1)", "its reader does not give log_prob: it differs by up to 2.7"),
        ("self.log_prob(x, head(features.detach() * 1.0)) + 0 * features.sum(-1)", "give the gradient of log_prob"),
        ("self.log_prob(x, head(features)).sum(0)", "its reader gives (64,) for features (3, 64, 5)"),
        ("self.log_prob(x, head(features))", ""),
    ],
)
def test_a_reader_is_that_of_log_prob(verdict: Judge, read: str, sentence: str) -> None:
    source = OWN.replace("\nclass Broken", READER.replace("READ", read) + "\nclass Broken")
    found = verdict("dataset", "likelihood", source)
    assert found.status == ("fail" if sentence else "pass"), found
    assert sentence in found.reason


class Widths(Likelihood):
    """Normal numbers, each with a width of its own."""

    def __init__(self, size: int, counted: int) -> None:
        super().__init__()
        self.log_std, self.counted = nn.Parameter(torch.zeros(size)), counted

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Count the log of so many widths."""
        squares = ((x - parameters) * (-self.log_std).exp()).square()
        return -0.5 * (squares + math.log(2 * math.pi)).sum(-1) - self.log_std[: self.counted].sum()

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the means."""
        return parameters

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Draw."""
        return parameters + self.log_std.exp() * noise.normal(*parameters.shape)


class Counts(Likelihood):
    """Geometric counts of 0, 1, ..."""

    bounds = (0.0, math.inf)

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return the sum of x log(1 - p) + log p, with the logit of p."""
        return -(functional.softplus(parameters) * x + functional.softplus(-parameters)).sum(-1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return (1 - p) / p."""
        return (-parameters).exp()

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Draw by the distribution function."""
        tail = torch.log1p(-noise.uniform(*parameters.shape).double()) / -functional.softplus(parameters.double())
        return tail.floor().float()


class Chain(Likelihood):
    """Normal numbers, each around the one before it."""

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return the density of the steps."""
        steps = (x - parameters).diff(dim=-1, prepend=torch.zeros_like(parameters[..., :1]))
        return -0.5 * (steps.square() + math.log(2 * math.pi)).sum(-1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the means."""
        return parameters

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Draw steps and add them up."""
        return parameters + noise.normal(*parameters.shape).cumsum(-1)


@pytest.mark.parametrize("size", [1, 3, 784])
@pytest.mark.parametrize("kind", [Bernoulli, Gaussian, Laplace, Counts])
def test_densities_keep_it(kind: Callable[[], Likelihood], size: int) -> None:
    x = stream(0, "x").integers(2, 16, size).float()
    assert "it integrates to 1, and its samples lie within" in likelihoods.check(kind(), x)


@pytest.mark.parametrize("size", [2, 100])
def test_a_width_that_is_not_counted_is_seen(size: int) -> None:
    x = stream(0, "x").normal(16, size)
    likelihoods.check(Widths(size, size), x)
    with pytest.raises(Breach, match="log_prob is not the log of a density: the log of the integral"):
        likelihoods.check(Widths(size, size // 2), x)


def test_numbers_that_depend_on_each_other_are_said_not_to_be_looked_at() -> None:
    seen = likelihoods.check(Chain(), stream(0, "x").normal(16, 3))
    assert seen.endswith("its integral is not looked at, for its numbers depend on each other")
