"""An energy that breaks one of its contracts is told so, in one sentence that says what is wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from bench.contracts import Verdict

Judge = Callable[..., Verdict]


def energy(methods: str = "pass", base: str = "_Gaussian", more: str = "", arguments: str = "latent") -> str:
    """Return an energy whose density is `base` with other methods."""
    return f"""
class _Density({base}):
{textwrap.indent(textwrap.dedent(methods), "    ")}

class Broken(Energy):
{textwrap.indent(textwrap.dedent(more), "    ")}
    def build(self, latent):
        return _Density({arguments})
"""


GRBM = {"base": "GRBM", "more": "offers = frozenset({HIDDEN})", "arguments": "latent, 3"}
NEURAL = {"base": "Neural", "more": "offers = frozenset({TILT})", "arguments": "latent, 8, True"}


@pytest.mark.parametrize(
    "contract", ["fields", "shapes", "seed", "derivatives", "density", "exact", "offers", "gradients", "training"]
)
def test_a_right_one_keeps_them(verdict: Judge, contract: str) -> None:
    seen = verdict("energy", contract, energy(**GRBM))
    assert seen.status == "pass", seen


@pytest.mark.parametrize(
    ("contract", "source", "sentence"),
    [
        ("fields", energy(more="size: int = Field(1, ge=1)"), "size has no description"),
        ("shapes", energy(base="nn.Linear", arguments="2, 1"), "its density is a _Density, which does not extend"),
        (
            "shapes",
            energy("def energy(self, z):\n    return super().energy(z - z.mean(0, keepdim=True))"),
            "its energy of a point depends on the points beside it",
        ),
        (
            "shapes",
            energy("def sample(self, n, noise):\n    return noise.normal(n, 2)"),
            "build(5) gives a density whose sample(3) has the shape (3, 2), not (3, 5)",
        ),
        ("seed", energy(base="StandardNormal"), "its density has no parameter that could be trained"),
        (
            "seed",
            energy("def __init__(self, latent):\n    super().__init__(latent)\n    nn.init.zeros_(self.mean)"),
            "its density starts at the same numbers whatever the seed",
        ),
        (
            "derivatives",
            energy("def gradient(self, z, create_graph=False):\n    return z"),
            "its gradient is not that of its energy",
        ),
        (
            "density",
            energy("def sample(self, n, noise):\n    return 1.1 * super().sample(n, noise)"),
            "its samples do not come from its density: the mean of",
        ),
        (
            "density",
            energy("def energy(self, z):\n    return z.square().sum(-1).log1p() + 0 * self.mean.sum()"),
            "its density has no integral by quadrature",
        ),
        ("exact", energy("def exact_log_z(self):\n    return 0.1", **GRBM), "exact_log_z() gives 0.1, and quadrature "),
        (
            "exact",
            energy("def exact_sample(self, n, noise):\n    return noise.normal(n, 2)"),
            "exact_sample does not draw from its density: the mean of",
        ),
        (
            "exact",
            energy("def exact_sample(self, n, noise):\n    return self.sample(n, type(noise)(0, 'own'))"),
            "exact_sample(5) gives the same draws whatever the noise",
        ),
        (
            "exact",
            energy("def exact_log_z(self):\n    return self.factor.diagonal().abs().log().sum() + 1.8378771"),
            "exact_log_z() gives a Tensor; it must give a number, as float(...) makes of it, or None",
        ),
        ("offers", energy(more="offers = frozenset({'a rabbit'})"), "it offers 'a rabbit'; what can be offered is"),
        (
            "offers",
            energy(more="offers = frozenset({HIDDEN})"),
            "it offers hidden units, and its density does not extend bench.priors.Restricted",
        ),
        (
            "offers",
            energy("def centre(self, h):\n    return 1.3 * super().centre(h)", **GRBM),
            "block Gibbs does not leave its density as it is: the mean of",
        ),
        (
            "offers",
            energy("def tilt(self, z):\n    return self.energy(z)", **NEURAL),
            "its tilt is not its energy plus log N(z; 0, I)",
        ),
        (
            "offers",
            energy("def energy(self, z):\n    return super().energy(z) - 0.3 * z.square().sum(-1)\n"
                   "def tilt(self, z):\n    return super().tilt(z) - 0.3 * z.square().sum(-1)", **NEURAL),
            "its tilt grows too fast: at |z| = 1000 it is -0.3 |z|^2",
        ),
        (
            "gradients",
            energy("def energy(self, z):\n    return z.square().sum(-1) + 0 * self.mean.sum()"),
            'reach declares that "score-matching" moves "prior", but it gives it no gradient',
        ),
        (
            "training",
            energy("def exact_log_z(self):\n    return float('inf')"),
            "Diverged: the score log_z is not finite: inf",
        ),
    ],
)  # fmt: skip
def test_a_breach_is_told(verdict: Judge, contract: str, source: str, sentence: str) -> None:
    seen = verdict("energy", contract, source)
    assert (seen.status, seen.reason.count("\n")) == ("fail", 0), seen
    assert sentence in seen.reason


def test_an_energy_without_an_integral_says_so_and_is_not_checked_there(verdict: Judge) -> None:
    source = energy("def energy(self, z):\n    return super().energy(z).log1p()", more="proper = False")
    seen = verdict("energy", "density", source)
    assert (seen.status, seen.reason) == (
        "not checked",
        "it says that exp(-E) need not have an integral (proper = False)",
    )


def test_a_value_that_an_energy_asks_for_is_seen_when_steps_are_replayed(verdict: Judge) -> None:
    source = """
class _Bent(FullGaussian):
    normalised = False

    def energy(self, z):
        return super().energy(z) * (1.0 if self.mean[0] > -100 else 2.0)

class Broken(Energy):
    capturable: ClassVar = True

    def build(self, latent):
        return _Bent(latent)
"""
    found = verdict("energy", "capture", source)
    assert found.status == "fail"
    assert "its steps are not captured: a step asks for the value of a tensor" in found.reason
