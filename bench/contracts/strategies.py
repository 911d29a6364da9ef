"""The contracts of a strategy, in the order in which they are looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from torch import Tensor

from bench.contracts import densities, fields, gradients, replays
from bench.contracts.attempts import Killed, Outcome, Questions, attempt, difference, tensors
from bench.contracts.attempts import Subject as Base
from bench.contracts.task import BATCH, scramble, shorter
from bench.contracts.verdicts import Breach, Contract, NotChecked
from bench.data import split
from bench.plugins.shapes import Shape
from bench.priors import Density
from bench.protocol import Budget, Checkpoint, Noise, Run, Score, Splits, State, Stopped, UserError
from bench.strategy import StagedStrategy, Strategy
from bench.streams import stream
from bench.training import Model

BLUR, COPIES = 0.3, 16  # of the cloud that a prior is fitted to at one stroke: quadrature sees no peak on one point


def _blurred() -> Tensor:
    cloud = densities.cloud().repeat(COPIES, 1)
    return cloud + BLUR * stream(0, "check/blur").normal(*cloud.shape)


class Crash(BaseException):
    """Stands for a kill within this process."""


@dataclass(frozen=True)
class Subject(Base):
    """A strategy that is checked."""

    @property
    def base(self) -> Strategy:
        """The strategy, if it extends the base class, whose parts the suite knows."""
        if not isinstance(self.strategy, Strategy):
            raise NotChecked("the strategy does not extend bench.strategy.Strategy")
        return self.strategy

    @cached_property
    def prior(self) -> Density:
        """The strategy's prior, away from where it starts; it has a density."""
        model = self.base.model(self.task, Run(0, "cpu", self.folder / "prior"))
        if not model.prior.has_density:
            raise NotChecked("the prior has no density")
        if isinstance(self.base, StagedStrategy) and self.base.direct:
            self.base.fit_latents(model, _blurred(), stream(0, "check/fit"))
            return model.prior.requires_grad_(False)
        return densities.fitted(model.prior, [p for module in model.groups.values() for p in module.parameters()])

    def vary(self, check: Callable[[Subject], str], first: int = 0) -> list[str]:
        """Return what a check sees of each variant from a `first` one on; number 0 is the strategy as it is."""
        seen = []
        for number, (words, values) in enumerate(self._variants()):
            if number >= first:
                folder = self.folder / f"{check.__name__}-{number}"
                folder.mkdir()
                try:
                    seen.append(check(replace(self, values=values, folder=folder)))
                except Breach as breach:
                    raise Breach(f"{words}{breach}") from breach
        return seen

    def _variants(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give (in words, values) of the strategy as it is, then of every other choice of one of its own fields.

        Only fields with a few possible values have other choices: those that hold one of several words, or true or
        false. A choice that the strategy refuses beside its other values is left out.
        """
        standing = self.build().model_dump(mode="json", round_trip=True)
        yield "", dict(self.values)
        shape = Shape.of(self.plugin.load())
        for key in shape.keys:
            place = shape.at(key)
            assert place is not None, "a table has what is under its keys"
            for choice in [False, True] if place.sorts == {"boolean"} else place.choices:
                if choice != standing[key]:
                    values = {**self.values, key: choice}
                    with contextlib.suppress(UserError):
                        replace(self, values=values).build()
                        yield f"with {key} = {str(choice).lower()}: ", values


# ---------------------------------------------------------------- what it leaves


def check_budget(subject: Base) -> str:
    """A tiny budget ends, with a state and scores as the protocol has them, in a process of its own."""
    if reason := subject.strategy.skip(subject.task):
        raise Breach(f"it skips the small task that it would be checked on, and says: {reason}")
    state, scored = subject.reference.state, subject.reference.scores
    scores = scored.scores if scored is not None else ()
    _check_state(state)
    for score in scores:
        _check_score(score)
    names = [score.metric.name for score in scores]
    if not names or len(set(names)) < len(names):
        raise Breach(f"its scores must have different names, and there must be one; they are {', '.join(names)}")
    return f"{state['steps']} steps, {len(scores)} scores"


def _check_state(state: State) -> None:
    if not (isinstance(state["steps"], int) and state["steps"] > 0):
        raise Breach(f'its state says "steps" = {state["steps"]!r}; it must be an integer above 0')
    for name, tensor in tensors(state).items():
        if not isinstance(tensor, Tensor):
            raise Breach(f"its state's module entry {name} is a {type(tensor).__name__}, not a tensor")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise Breach(f"its state's {name} is not finite")
    for row in state["curves"]:
        if row.keys() != {"epoch", "step", "metric", "value"}:
            raise Breach(f"a row of its curves has the keys {sorted(row)}, not epoch, step, metric, value")
    for part in ("stability", "resources"):
        for name, value in state[part].items():
            if not isinstance(value, int | float):
                raise Breach(f"its {part} figure {name} is a {type(value).__name__}, not a number")


def _check_score(score: Score) -> None:
    name = score.metric.name
    numbers = [score.value, score.stderr_mc, score.stderr_images, score.sys_lower, score.sys_upper]
    if not np.isfinite(numbers).all():
        raise Breach(f"a number of its score {name} is not finite: {numbers}")
    if min(score.stderr_mc, score.stderr_images) < 0:
        raise Breach(f"a standard error of its score {name} is below 0")


# ---------------------------------------------------------------- what its prior takes and gives


def check_shapes(variant: Subject) -> str:
    """The prior takes and gives the shapes that it must."""
    model = variant.base.model(variant.task, Run(0, "cpu", variant.folder))
    looked = densities.check_shapes(model.prior)
    for name in variant.base.draws(model, 5, stream(0, "check/draws")):
        densities.check_draws(f'the samples "{name}"', partial(_drawn, variant.base, model, name), 5)
    return looked


def _drawn(strategy: Strategy, model: Model, name: str, noise: Noise) -> Tensor:
    return strategy.draws(model, 5, noise)[name]


# ---------------------------------------------------------------- how it trains


def check_gradients(variant: Subject) -> str:
    """Each loss moves the groups that `reach` declares and no other, and every group is moved."""
    return gradients.check(variant.base, variant.task, variant.folder)


def check_seed(subject: Subject) -> str:
    """A seed gives the same bits, whatever global generators and the test split hold; another seed gives others."""
    run = Run(0, "cpu", subject.folder / "again")
    scramble(1)
    state = subject.strategy.fit(subject.task, run)
    scramble(2)
    again = Outcome(state, subject.strategy.evaluate(state, subject.task, run))
    if differs := difference(subject.reference, again):
        rule = "draw from the noise that is handed over, and from no other generator"
        raise Breach(f"{differs} differs between two runs with one seed; {rule}")
    other = subject.strategy.fit(shorter(subject.task, 2), Run(1, "cpu", subject.folder / "other"))
    first = subject.strategy.fit(shorter(subject.task, 2), Run(0, "cpu", subject.folder / "first"))
    # what has nothing to fit has nothing that could differ
    if tensors(first) and not difference(Outcome(first), Outcome(other)):
        raise Breach("another seed gives the same numbers: it does not depend on run.seed")
    unseen = replace(subject.task, splits=_retested(subject.task.splits))
    blind = subject.strategy.fit(shorter(unseen, 2), Run(0, "cpu", subject.folder / "unseen"))
    if differs := difference(Outcome(first), Outcome(blind)):
        raise Breach(f"{differs} differs where the test split is another: fit may not look at it")
    return "one seed gives the same bits in two processes, another seed gives others, another test split the same"


def _retested(splits: Splits) -> Splits:
    """Return the splits with another test split: training items in its place, as many."""
    training = np.concatenate([splits.train, splits.validation])
    return split(training, splits.train[: len(splits.test)].copy(), len(splits.validation))


def check_resume(subject: Subject) -> str:
    """Stopped once and killed with kill -9 several times, it ends with the same bits as when nothing disturbs it."""
    questions, folder = subject.reference.questions, subject.folder / "resumed"
    if not questions:
        raise Breach("fit never asks run.stop_requested(), so that a sweep cannot stop it")
    folder.mkdir()
    try:
        subject.strategy.fit(subject.task, Run(0, "cpu", folder, stop_requested=lambda: True))
    except Stopped:
        pass
    else:
        raise Breach("asked to stop, fit goes on to its end; it must save a checkpoint and raise Stopped")
    kills = 0
    for share in (0.25, 0.67, 0.33):  # before a checkpoint, between two, and in a second stage if there is one
        try:
            attempt(subject, folder, max(1, round(share * questions)))
        except Killed:
            kills += 1
    if differs := difference(subject.reference, attempt(subject, folder)):
        raise Breach(f"{differs} differs after {kills} kills from a run that nothing disturbed")
    once_more = subject.strategy.fit(subject.task, Run(0, "cpu", folder))
    if differs := difference(subject.reference, Outcome(once_more)):
        raise Breach(f"{differs} differs when fit is called in the folder of a finished run")
    subject.vary(_check_crash, first=1)
    return f"the same bits after a stop and {kills} kills (kill -9)"


def _check_crash(variant: Subject) -> str:
    """Check one epoch within this process, where an exception stands for the kill."""
    task = replace(variant.task, budget=Budget(epochs=1, batch_size=BATCH, checkpoint=Checkpoint(steps=3)))

    def crash() -> None:
        raise Crash

    def fit(name: str, questions: Questions) -> Outcome:
        folder = variant.folder / name
        folder.mkdir(exist_ok=True)
        return Outcome(variant.strategy.fit(task, Run(0, "cpu", folder, stop_requested=questions)))

    undisturbed = Questions()
    whole = fit("whole", undisturbed)
    with contextlib.suppress(Crash):
        fit("broken", Questions(round(0.67 * undisturbed.count), crash))
    scramble(3)
    if differs := difference(whole, fit("broken", Questions())):
        raise Breach(f"{differs} differs after a crash from a run that nothing disturbed")
    return ""


# ---------------------------------------------------------------- how its steps are replayed


def check_capture(variant: Subject) -> str:
    """Steps that are captured once and replayed give the bits of eager ones, where it says that they can be."""
    return replays.check(variant.base, variant.base, variant.task, variant.folder)


CONTRACTS = (
    Contract[Subject]("hyper-parameters", fields.check),
    Contract[Subject]("shapes", lambda subject: subject.vary(check_shapes)[0]),
    Contract("budget", check_budget),
    Contract[Subject]("gradients", lambda subject: subject.vary(check_gradients)[0], ("budget",)),
    Contract("seed", check_seed, ("budget",)),
    Contract("resume", check_resume, ("budget", "seed")),
    Contract[Subject]("capture", lambda subject: subject.vary(check_capture)[0], ("budget",)),
    Contract[Subject]("derivatives", lambda subject: densities.check_derivatives(subject.prior), ("shapes",)),
    Contract[Subject]("density", lambda subject: densities.check_density(subject.prior), ("shapes",)),
)
