"""A strategy that breaks one of its contracts is told so, in one sentence that says what is wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from bench.contracts import Verdict

Judge = Callable[..., Verdict]


def assert_fails(verdict: Verdict, sentence: str) -> None:
    assert (verdict.status, verdict.reason.count("\n")) == ("fail", 0), verdict
    assert sentence in verdict.reason


def energy_strategy(objective: str, more: str = "", reach: str = "APART") -> str:
    """Return a strategy with a small GRBM and an objective of its own."""
    return f"""
class Broken(EnergyStrategy):
    reach: ClassVar = {reach}
    energy: Energy = Field(Grbm(hidden=3), description="e")

    def objective(self, model, z, posterior, noise):
{textwrap.indent(textwrap.dedent(objective), "        ")}
{textwrap.indent(textwrap.dedent(more), "    ")}
"""


# ---------------------------------------------------------------- hyper-parameters


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ("size: int = Field(1, ge=1)", "size has no description"),
        ('size: int = Field(1, description="s")', "size has no bound; give the least or the greatest value"),
        ('rate: float = Field(0.0, gt=0, description="r")', "the defaults are not valid: check: strategy.broken.rate"),
        (
            'rate: Annotated[float, Search(low=0.1, high=2)] = Field(0.5, gt=0, le=1, description="r")',
            "rate is tuned over a value that it refuses: check: strategy.broken.rate = 2 is not allowed",
        ),
        (
            'rate: Annotated[float, Search(low=1, high=0.1)] = Field(0.5, gt=0, description="r")',
            "rate is tuned from 1 to 0.1, which is no range",
        ),
        (
            'rate: Annotated[float, Search(low=0, high=1, log=True)] = Field(0.5, ge=0, description="r")',
            "rate is tuned on a logarithmic scale from 0, which is not above 0",
        ),
        (
            'rate: Annotated[float, Search(low=0.1)] = Field(0.5, gt=0, description="r")',
            "rate is tuned over neither a range (low and high) nor choices, or over both",
        ),
        (
            'how: Annotated[Literal["a", "b"], Search(choices=["a", "c"])] = Field("a", description="h")',
            "how is tuned over a value that it refuses: check: strategy.broken.how = \"c\"",
        ),
        ('model_config = ConfigDict(extra="ignore")', "no_such_key = 1 is accepted, though there is no such key"),
        (
            'model_config = ConfigDict(strict=False)\n    size: int = Field(1, ge=1, description="s")',
            'size = "1" is accepted, though it must be integer',
        ),
        (
            'model_config = ConfigDict(allow_inf_nan=True)\n    rate: float = Field(1.0, gt=0, description="r")',
            "rate = Infinity is accepted, though it must be number and finite",
        ),
        (
            'size: int = Field(1, ge=1, description="s")\n'
            '    @field_validator("size", mode="before")\n'
            '    def _known(cls, value):\n        return {1: 1}[value]',
            'size = {"no_such_key": 1} is not refused in a sentence: check: strategy.broken',
        ),
    ],
)  # fmt: skip
def test_hyper_parameters_are_described_bounded_and_validated(verdict: Judge, fields: str, sentence: str) -> None:
    found = verdict("strategy", "hyper-parameters", f"class Broken(Strategy):\n    {fields}\n")
    assert_fails(found, sentence)


# ---------------------------------------------------------------- budget


def strategy(body: str) -> str:
    """Return a strategy with a Gaussian prior that follows the bound, and more."""
    return f"""
class Broken(Strategy):
    reach: ClassVar = ALL

    def prior(self, task, vae, noise):
        return priors.FullGaussian(task.networks.latent)
{textwrap.indent(textwrap.dedent(body), "    ")}
"""


@pytest.mark.parametrize(
    ("fit", "sentence"),
    [
        ("raise ValueError('a mistake\\nin it')", "ValueError: a mistake in it (line 22)"),
        ("sys.exit('enough')", "SystemExit: enough (line 22)"),
        ("os._exit(7)", "its process ended with exit code 7, without a word"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was killed (kill -9), perhaps because memory ran out"),
        ("return super().fit(task, run) | {'steps': task.budget}", "its state holds more than tensors and plain types"),
        ("return super().fit(task, run) | {'steps': 0}", 'its state says "steps" = 0; it must be an integer above 0'),
    ],
)
def test_a_tiny_budget_ends_with_a_state(verdict: Judge, fit: str, sentence: str) -> None:
    assert_fails(verdict("strategy", "budget", strategy(f"def fit(self, task, run):\n    {fit}")), sentence)


def test_a_tiny_budget_comes_to_an_end(verdict: Judge) -> None:
    endless = strategy("def fit(self, task, run):\n    time.sleep(1000)")
    assert_fails(verdict("strategy", "budget", endless, limit=2.0), "it did not come to an end within 2 s")


def test_a_strategy_that_skips_what_it_is_checked_on_is_not_checked_in_silence(verdict: Judge) -> None:
    found = verdict("strategy", "budget", strategy("def skip(self, task):\n    return 'too few items'"))
    assert_fails(found, "it skips the small task that it would be checked on, and says: too few items")


def test_a_strategy_that_says_nothing_skips_nothing(verdict: Judge) -> None:
    found = verdict("strategy", "budget", strategy("def skip(self, task):\n    return ''"))
    assert found.status == "pass", found


def test_a_strategy_that_looks_at_the_test_split_is_seen(verdict: Judge) -> None:
    source = strategy("""
        def prior(self, task, vae, noise):
            prior = priors.FullGaussian(task.networks.latent)
            torch.nn.init.constant_(prior.mean, float(task.splits.test.mean()) / 255)
            return prior
        """)
    found = verdict("strategy", "seed", source)
    assert_fails(found, "differs where the test split is another: fit may not look at it")


# ---------------------------------------------------------------- shapes


def with_prior(methods: str, base: str = "priors.FullGaussian", reach: str = "ALL") -> str:
    """Return a strategy whose prior is `base` with other methods."""
    return f"""
class _Prior({base}):
{textwrap.indent(textwrap.dedent(methods), "    ")}

class Broken(Strategy):
    reach: ClassVar = {reach}

    def prior(self, task, vae, noise):
        return _Prior(task.networks.latent)
"""


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        (
            "def sample(self, n, noise):\n    return noise.normal(2, n)",
            "sample(1) of its prior gives float32 draws (2, 1); they must be finite float32, (1, 2)",
        ),
        (
            "def sample(self, n, noise):\n    return noise.normal(n, 2).double()",
            "sample(1) of its prior gives float64 draws (1, 2)",
        ),
        (
            "def sample(self, n, noise):\n    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))",
            "sample(1) of its prior gives the same draws whatever the noise; draw from the noise that is handed over",
        ),
        (
            "def sample(self, n, noise):\n    return torch.randn(n, 2)",
            "sample(1) of its prior gives other draws from the same noise",
        ),
        (
            "def energy(self, z):\n    return super().energy(z - z.mean(0, keepdim=True))",
            "its energy of a point depends on the points beside it",
        ),
        (
            "def energy(self, z):\n    e = super().energy(z)\n    return e.mean(-1) if z.ndim == 3 else e",
            "its energy of z (3, 7, 2) has the shape (3,); it must be (3, 7)",
        ),
    ],
)
def test_a_prior_takes_and_gives_the_right_shapes(verdict: Judge, methods: str, sentence: str) -> None:
    assert_fails(verdict("strategy", "shapes", with_prior(methods)), sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("value=float('nan')", "a number of its score log_z_check is not finite: [nan"),
        ("stderr_mc=-1.0", "a standard error of its score log_z_check is below 0"),
        ("stderr_images=-1.0", "a standard error of its score log_z_check is below 0"),
    ],
)
def test_a_score_is_a_number(verdict: Judge, change: str, sentence: str) -> None:
    source = strategy(f"""
        def evaluate(self, state, task, run):
            scores = super().evaluate(state, task, run)
            return replace(scores, scores=[replace(scores.scores[0], {change}), *scores.scores[1:]])
        """)
    assert_fails(verdict("strategy", "budget", source), sentence)


def test_a_state_is_finite_to_the_last_number(verdict: Judge) -> None:
    source = strategy("""
        def fit(self, task, run):
            state = super().fit(task, run)
            state["modules"]["prior"]["mean"][0] = float("nan")
            return state

        def evaluate(self, state, task, run):
            prior = {name: value.nan_to_num() for name, value in state["modules"]["prior"].items()}
            return super().evaluate({**state, "modules": {**state["modules"], "prior": prior}}, task, run)
        """)
    assert_fails(verdict("strategy", "budget", source), "its state's prior.mean is not finite")


def test_scores_have_different_names(verdict: Judge) -> None:
    source = strategy("""
        def evaluate(self, state, task, run):
            scores = super().evaluate(state, task, run)
            return replace(scores, scores=[scores.scores[0], scores.scores[0]])
        """)
    assert_fails(verdict("strategy", "budget", source), "its scores must have different names")


# ---------------------------------------------------------------- stopping and resuming


def test_a_strategy_asks_whether_to_stop(verdict: Judge) -> None:
    source = strategy("""
        def fit(self, task, run):
            return super().fit(task, replace(run, stop_requested=lambda: False))
        """)
    assert_fails(verdict("strategy", "resume", source), "fit never asks run.stop_requested()")


def test_a_strategy_stops_when_it_is_asked_to(verdict: Judge) -> None:
    source = strategy("""
        def fit(self, task, run):
            return super().fit(task, replace(run, stop_requested=lambda: run.stop_requested() and False))
        """)
    assert_fails(verdict("strategy", "resume", source), "asked to stop, fit goes on to its end")


def test_a_finished_run_is_not_trained_any_further(verdict: Judge) -> None:
    source = strategy("""
        def fit(self, task, run):
            state = super().fit(task, run)
            times = len(list(run.folder.glob("time-*")))
            (run.folder / f"time-{times}").touch()
            state["modules"]["prior"]["mean"] += times
            return state
        """)
    found = verdict("strategy", "resume", source)
    assert_fails(found, "the parameter prior.mean differs when fit is called in the folder of a finished run")


REMEMBERS = """
class _Prior(energies.GRBM):
    def __init__(self, d, hidden):
        super().__init__(d, hidden)
        self.last = torch.zeros(d)  # neither a parameter nor a buffer: no checkpoint keeps it
"""


def test_what_no_checkpoint_keeps_is_seen(verdict: Judge) -> None:
    source = REMEMBERS + energy_strategy(
        "model.prior.last = 0.5 * model.prior.last + z.mean(0)\n"
        'yield "own", objectives.contrast(model.prior, z, z + model.prior.last)',
        "def prior(self, task, vae, noise):\n    return _Prior(task.networks.latent, 3)",
    )
    found = verdict("strategy", "resume", source)
    assert_fails(found, "differs after 3 kills from a run that nothing disturbed")


def test_what_no_checkpoint_keeps_is_seen_in_every_variant(verdict: Judge) -> None:
    source = REMEMBERS + energy_strategy(
        "model.prior.last = (0.5 * model.prior.last if self.persistent else 0) + z.mean(0)\n"
        'yield "own", objectives.contrast(model.prior, z, z + model.prior.last)',
        "def prior(self, task, vae, noise):\n    return _Prior(task.networks.latent, 3)\n"
        'persistent: bool = Field(False, description="p")',
    )
    found = verdict("strategy", "resume", source)
    assert_fails(
        found, "with persistent = true: the parameter encoder.net.0.weight differs after a crash from a run that"
    )


# ---------------------------------------------------------------- the prior


def test_a_gradient_is_that_of_its_energy(verdict: Judge) -> None:
    wrong = "def gradient(self, z, create_graph=False):\n    return z"  # right for N(0, I), where it starts
    assert_fails(verdict("strategy", "derivatives", with_prior(wrong)), "its gradient is not that of its energy")


@pytest.mark.parametrize(("name", "arguments"), [("curvature", "z, v"), ("laplacian", "z")])
@pytest.mark.parametrize("off", ["- 0.1", "+ 0.1"])
def test_second_derivatives_are_those_of_the_energy(verdict: Judge, name: str, arguments: str, off: str) -> None:
    wrong = f"def {name}(self, {arguments}):\n    return super().{name}({arguments}) {off}"
    assert_fails(verdict("strategy", "derivatives", with_prior(wrong)), f"its {name} is not that of its energy")


def test_samples_that_disagree_with_the_density_are_seen(verdict: Judge) -> None:
    # the factor transposed: right as long as it is diagonal, as it is at the start
    wrong = "def sample(self, n, noise):\n    return self.mean + noise.normal(n, len(self.mean)) @ self.factor"
    assert_fails(
        verdict("strategy", "density", with_prior(wrong)), "its samples do not come from its density: the mean"
    )


def test_samples_of_the_wrong_width_are_seen(verdict: Judge) -> None:
    wrong = "def sample(self, n, noise):\n    return 1.1 * super().sample(n, noise)"
    assert_fails(verdict("strategy", "density", with_prior(wrong)), "standard errors apart")


@pytest.mark.parametrize(("off", "integral"), [("- 0.01", "1.01, not 1"), ("+ 0.01", "0.99")])
def test_a_density_that_is_not_normalised_does_not_say_so(verdict: Judge, off: str, integral: str) -> None:
    wrong = f"def energy(self, z):\n    return super().energy(z) {off}"
    found = verdict("strategy", "density", with_prior(wrong))
    assert_fails(found, f"it says that it is normalised, and its density integrates to {integral}")


@pytest.mark.parametrize(("log_z", "status"), [("1.8378771", "pass"), ("-30.0", "fail"), ("float('nan')", "fail")])
def test_a_log_z_that_is_called_exact_is_that_of_quadrature(verdict: Judge, log_z: str, status: str) -> None:
    of_two = (  # exp(-z^2 / 2), whose integral is 2 pi
        "normalised = False\ndef energy(self, z):\n    return 0.5 * z.square().sum(-1)\n"
        f"def exact_log_z(self):\n    return {log_z}"
    )
    found = verdict("strategy", "density", with_prior(of_two, "priors.StandardNormal", "{}"))
    assert found.status == status, found
    assert "quadrature" in found.reason
    assert (status == "pass") == ("log Z = 1.838 is that of quadrature" in found.reason)


def test_a_density_without_an_integral_is_seen(verdict: Judge) -> None:
    wrong = "normalised = False\ndef energy(self, z):\n    return z.square().sum(-1).log1p()"
    found = verdict("strategy", "density", with_prior(wrong, "priors.StandardNormal", "{}"))
    assert_fails(found, "its density has no integral by quadrature")


# ---------------------------------------------------------------- what is none of the suite's business


def test_a_strategy_of_another_make_is_checked_as_far_as_it_can_be(verdict: Judge) -> None:
    source = """
class Broken(Settings):
    def skip(self, task):
        return None

    def fit(self, task, run):
        return {}

    def evaluate(self, state, task, run):
        return None
"""
    found = verdict("strategy", "gradients", source)
    assert (found.status, found.reason) == ("not checked", "the strategy does not extend bench.strategy.Strategy")
