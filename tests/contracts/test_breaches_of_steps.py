"""A strategy whose gradients, seeds or replayed steps break a contract is told so, in one sentence."""

from __future__ import annotations

import pytest

from tests.contracts.test_breaches_of_strategies import Judge, assert_fails, energy_strategy, strategy, with_prior

# ---------------------------------------------------------------- gradients


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


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ('state["curves"][0]["value"] = drawn', "curve of"),
        ('state["stability"]["own"] = drawn', "stability figure own"),
        ('state["steps"] += int(1e9 * drawn)', "number of steps"),
    ],
)
def test_randomness_in_what_training_tells_is_seen(verdict: Judge, change: str, part: str) -> None:
    source = strategy(f"""
        def fit(self, task, run):
            state, drawn = super().fit(task, run), float(np.random.default_rng().uniform())
            {change}
            return state
        """)
    found = verdict("strategy", "seed", source)
    assert_fails(found, f"the {part}")
    assert "differs between two runs with one seed" in found.reason


def test_randomness_in_a_score_is_seen(verdict: Judge) -> None:
    source = strategy("""
        def evaluate(self, state, task, run):
            scores = super().evaluate(state, task, run)
            first = replace(scores.scores[0], value=float(np.random.default_rng().normal()))
            return replace(scores, scores=[first, *scores.scores[1:]])
        """)
    assert_fails(verdict("strategy", "seed", source), "the score log_z_check differs between two runs with one seed")


def test_a_strategy_depends_on_its_seed(verdict: Judge) -> None:
    source = strategy("def fit(self, task, run):\n    return super().fit(task, replace(run, seed=0))")
    assert_fails(verdict("strategy", "seed", source), "another seed gives the same numbers")


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
