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
    ],
)
def test_a_score_is_a_number(verdict: Judge, change: str, sentence: str) -> None:
    source = strategy(f"""
        def evaluate(self, state, task, run):
            scores = super().evaluate(state, task, run)
            return replace(scores, scores=[replace(scores.scores[0], {change}), *scores.scores[1:]])
        """)
    assert_fails(verdict("strategy", "budget", source), sentence)


def test_scores_have_different_names(verdict: Judge) -> None:
    source = strategy("""
        def evaluate(self, state, task, run):
            scores = super().evaluate(state, task, run)
            return replace(scores, scores=[scores.scores[0], scores.scores[0]])
        """)
    assert_fails(verdict("strategy", "budget", source), "its scores must have different names")


# ---------------------------------------------------------------- gradients


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


OWN = 'yield "own", objectives.denoising(model.prior, z, posterior.mean, posterior.log_std)'


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (  # the bound reaches the prior although `reach` keeps it away
            energy_strategy(
                OWN,
                "def losses(self, model, batch):\n"
                "    posterior = model.vae.encoder(batch.x)\n"
                "    z = posterior.sample(batch.posterior.normal(*posterior.mean.shape))\n"
                '    yield "bound", self.bound(model.vae, model.prior, batch, posterior, z)\n'
                "    yield from self.objective(model, z.detach(), posterior.detach(), batch.prior)\n"
                "def train(self, model, task, run, losses, reach):\n"
                '    wider = {**reach, "prior": frozenset({"own", "bound"})}\n'
                "    return super().train(model, task, run, losses, wider)",
            ),
            '"bound" moves "prior", which reach does not declare',
        ),
        (
            energy_strategy(OWN + '\nyield "other", model.prior.bias.sum()'),
            'no group in reach follows the loss "other"',
        ),
        (
            energy_strategy('yield "own", model.vae.encoder.net[0].weight.sum()'),
            'reach declares that "own" moves "prior", but it gives it no gradient',
        ),
        (
            energy_strategy('yield "own", 0 * model.prior.bias.sum()'),
            'reach declares that "own" moves "prior", but it gives it no gradient',
        ),
        (
            energy_strategy(OWN, reach='{**APART, "prior": frozenset({"own", "two"})}'),
            'reach names the loss "two", which is never given; there is "bound", "own"',
        ),
        (
            energy_strategy("yield from ()", reach='{"encoder": ALL["encoder"], "decoder": ALL["decoder"]}'),
            '"prior" has parameters that no loss moves; name the losses in reach, or freeze them',
        ),
        (  # an optimiser of its own, behind the loop's back
            energy_strategy("with torch.no_grad():\n    model.prior.mu += 0.1 * z.mean(0)\n" + OWN),
            'the parameters of "prior" change after the step on "bound", outside of the loop\'s own steps',
        ),
        (
            energy_strategy(OWN + "\nwith torch.no_grad():\n    model.vae.decoder.net[0].bias += 0.1"),
            'the parameters of "decoder" change after the step on "own", outside of the loop\'s own steps',
        ),
        (
            energy_strategy('yield "own", model.prior.energy(z)'),
            'the loss "own" has the shape (200,); it must be a scalar that depends on a parameter',
        ),
        (energy_strategy('yield "own", z.mean()'), 'the loss "own" depends on none; it must be a scalar'),
        (energy_strategy('yield "own", 1.0'), 'the loss "own" is of type float; it must be a scalar'),
        (
            energy_strategy('yield "own", model.prior.bias.sum() / 0'),
            'the loss "own" is nan within the first steps',
        ),
    ],
)  # fmt: skip
def test_each_loss_moves_what_is_declared_and_nothing_else(verdict: Judge, source: str, sentence: str) -> None:
    assert_fails(verdict("strategy", "gradients", source), sentence)


def test_a_loss_moves_something(verdict: Judge) -> None:
    found = verdict("strategy", "gradients", with_prior("pass", "priors.StandardNormal"))
    assert_fails(found, 'reach says that "bound" moves "prior", which has no parameters')


def test_a_group_that_the_model_lacks_is_no_group(verdict: Judge) -> None:
    source = energy_strategy(
        OWN,
        "def train(self, model, task, run, losses, reach):\n"
        '    known = {group: names for group, names in reach.items() if group != "critic"}\n'
        "    return super().train(model, task, run, losses, known)",
        reach='{**APART, "critic": frozenset({"own"})}',
    )
    found = verdict("strategy", "gradients", source)
    assert_fails(found, 'reach names the group "critic", which the model lacks; it has "decoder", "encoder", "prior"')


def test_every_choice_of_a_field_is_looked_at(verdict: Judge) -> None:
    source = energy_strategy(
        f"if self.way == 'a':\n    {OWN}\nelse:\n    yield 'own', 0 * model.prior.bias.sum()",
        'way: Literal["a", "b"] = Field("a", description="w")',
    )
    found = verdict("strategy", "gradients", source)
    assert_fails(found, 'with way = b: reach declares that "own" moves "prior", but it gives it no gradient')


def test_a_strategy_with_a_loop_of_its_own_cannot_be_looked_into(verdict: Judge) -> None:
    own = "def fit(self, task, run):\n    return {}\n"
    found = verdict("strategy", "gradients", strategy(own))
    assert_fails(found, "fit does not train through Strategy.train")


# ---------------------------------------------------------------- seeds


@pytest.mark.parametrize(
    "objective",
    [
        f"z = z + 0.1 * torch.from_numpy(np.random.default_rng().normal(size=z.shape)).float()\n{OWN}",
        f"z = z * (1 + 1e-3 * (time.time_ns() % 1000))\n{OWN}",
    ],
    ids=["a generator without a seed", "the time"],
)
def test_randomness_without_a_seed_is_seen(verdict: Judge, objective: str) -> None:
    found = verdict("strategy", "seed", energy_strategy(objective))
    assert_fails(
        found, "the parameter encoder.net.0.weight differs between two runs with one seed; draw from the noise that"
    )


def test_randomness_in_scoring_without_a_seed_is_seen(verdict: Judge) -> None:
    source = strategy("""
        def evaluate(self, state, task, run):
            scores = super().evaluate(state, task, run)
            return replace(scores, arrays={"drawn": np.random.default_rng().normal(size=3)})
        """)
    assert_fails(verdict("strategy", "seed", source), "the array drawn differs between two runs with one seed")


def test_a_strategy_depends_on_its_seed(verdict: Judge) -> None:
    source = strategy("def fit(self, task, run):\n    return super().fit(task, replace(run, seed=0))")
    assert_fails(verdict("strategy", "seed", source), "another seed gives the same numbers")


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


# ---------------------------------------------------------------- steps that are replayed

CAPTURABLE = 'capturable: ClassVar = True\nfirm: bool = Field(False, description="f")'
COUNT = "model.prior.count = getattr(model.prior, 'count', 0) + 1\n"
COUNTER = f"{COUNT}z = z * (1 + 0.01 * model.prior.count)\n{OWN}"
DIFFERS = "the parameter encoder.net.0.weight differs when steps are replayed; it depends on what Python does in a step"
ASKS = "its steps are not captured: a step asks for the value of a tensor (aten._local_scalar_dense.default)"


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        # the loop seeds it at every step, so that a run resumes; a graph knows nothing of it
        pytest.param(
            f"z = z + 0.1 * torch.from_numpy(np.random.normal(size=z.shape)).float()\n{OWN}", DIFFERS, id="numpy"
        ),
        pytest.param(COUNTER, DIFFERS, id="a counter"),
        pytest.param(f"{COUNT}z = -z if model.prior.count % 2 else z\n{OWN}", DIFFERS, id="a branch on the host"),
        pytest.param(f"z = z * z.abs().mean().item()\n{OWN}", ASKS, id="item"),
        pytest.param(f"z = 2 * z if z.mean() > 0 else z\n{OWN}", ASKS, id="a branch on a value"),
        pytest.param(
            'yield "own", objectives.contrast(model.prior, z[z[:, 0] > 0], noise.normal(*z.shape))',
            "its steps are not captured: a step picks by a mask",
            id="a mask",
        ),
        pytest.param(
            f"{COUNT}{OWN}\nif model.prior.count > 3:\n    {OWN.replace('own', 'two')}",
            'its steps are not captured: the capture failed: _Refused: the loss "two" is not there at every step',
            id="a late loss",
        ),
    ],
)
def test_what_python_does_in_a_step_is_seen_when_steps_are_replayed(
    verdict: Judge, objective: str, sentence: str
) -> None:
    reach = '{**APART, "prior": frozenset({"own", "two"})}'
    assert_fails(verdict("strategy", "capture", energy_strategy(objective, CAPTURABLE, reach)), sentence)


def test_replayed_steps_are_looked_at_under_every_choice_of_a_field(verdict: Judge) -> None:
    source = energy_strategy(f"if self.firm:\n    z = z * z.mean().item()\n{OWN}", CAPTURABLE)
    assert_fails(
        verdict("strategy", "capture", source), "with firm = true: it declares `capturable`, and its steps are"
    )


def test_steps_are_replayed_where_the_class_itself_says_that_they_can_be(verdict: Judge) -> None:
    source = energy_strategy(COUNTER, CAPTURABLE).replace("class Broken", "class _Base")
    found = verdict("strategy", "capture", f"{source}\nclass Broken(_Base):\n    pass\n")
    assert (found.status, found.reason) == (
        "not checked", "it does not declare `capturable`: on a GPU steps with it are taken eagerly"
    )  # fmt: skip


# ---------------------------------------------------------------- the prior


def test_a_gradient_is_that_of_its_energy(verdict: Judge) -> None:
    wrong = "def gradient(self, z, create_graph=False):\n    return z"  # right for N(0, I), where it starts
    assert_fails(verdict("strategy", "derivatives", with_prior(wrong)), "its gradient is not that of its energy")


def test_samples_that_disagree_with_the_density_are_seen(verdict: Judge) -> None:
    # the factor transposed: right as long as it is diagonal, as it is at the start
    wrong = "def sample(self, n, noise):\n    return self.mean + noise.normal(n, len(self.mean)) @ self.factor"
    assert_fails(
        verdict("strategy", "density", with_prior(wrong)), "its samples do not come from its density: the mean"
    )


def test_samples_of_the_wrong_width_are_seen(verdict: Judge) -> None:
    wrong = "def sample(self, n, noise):\n    return 1.1 * super().sample(n, noise)"
    assert_fails(verdict("strategy", "density", with_prior(wrong)), "standard errors apart")


def test_a_density_that_is_not_normalised_does_not_say_so(verdict: Judge) -> None:
    wrong = "def energy(self, z):\n    return super().energy(z) - 0.01"
    found = verdict("strategy", "density", with_prior(wrong))
    assert_fails(found, "it says that it is normalised, and its density integrates to 1.01, not 1")


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
