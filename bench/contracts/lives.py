"""Carrying a strategy out in a process that may be killed, and telling two outcomes apart."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from bench.contracts.processes import Killed, apart
from bench.contracts.task import one_thread, small
from bench.contracts.verdicts import Breach
from bench.plugins import Plugin, build
from bench.protocol import Run, Scores, State, Strategy


@dataclass(frozen=True)
class Outcome:
    """What a strategy left: its state, its scores, and how often `fit` asked whether it should stop."""

    state: State
    scores: Scores
    asked: int


@dataclass
class Asked:
    """A `Run.stop_requested` that counts; at the `last` question it does `then`."""

    last: int | None = None
    then: Callable[[], None] = lambda: None
    count: int = field(default=0, init=False)

    def __call__(self) -> bool:
        """Return False."""
        self.count += 1
        if self.count == self.last:
            self.then()
        return False


@dataclass(frozen=True)
class Life:
    """One life of a run: it ends by itself, or by kill -9 at a question whether it should stop.

    Attributes:
        plugin, values: the strategy and its hyper-parameters.
        folder: the run's.
        dies_at: the number of that question, or None.
    """

    plugin: Plugin
    values: Mapping[str, Any]
    folder: Path
    dies_at: int | None = None

    def lead(self, limit: float) -> Outcome | None:
        """Lead this life in a process of its own; return what it left, or None if it was killed.

        Args:
            limit: seconds after which the process is ended.

        Raises:
            Breach: it took longer, or ended in another way; the sentence says how.
        """
        try:
            saved, scores, asked = apart(_lead, self, file=self.plugin.file, limit=limit)
        except Killed:
            if self.dies_at is None:
                raise Breach("its process was killed (kill -9), perhaps because memory ran out") from None
            return None
        return Outcome(_loaded(saved), scores, asked)


def _lead(life: Life) -> tuple[bytes, Scores, int]:
    """Carry out a life; return its state as saved by torch, its scores, and how often it asked."""
    asked = Asked(life.dies_at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    life.folder.mkdir(parents=True, exist_ok=True)
    led = strategy(life.plugin, life.values)
    task = small(led)
    with one_thread():
        state = led.fit(task, Run(0, "cpu", life.folder, stop_requested=asked))
        scores = led.evaluate(state, task, Run(0, "cpu", life.folder))
    saved = io.BytesIO()  # a tensor sent as such would go with this process
    torch.save(state, saved)
    return saved.getvalue(), scores, asked.count


def _loaded(saved: bytes) -> State:
    try:
        return cast(State, torch.load(io.BytesIO(saved), weights_only=True))
    except Exception as error:
        reason = str(error).partition("Unsupported ")[2].split("\n")[0] or type(error).__name__
        raise Breach(f"its state holds more than tensors and plain types: {reason}") from error


def strategy(plugin: Plugin, values: Mapping[str, Any]) -> Strategy:
    """Return the strategy that is checked."""
    return cast(Strategy, build(plugin, values, "check"))


# ---------------------------------------------------------------- telling outcomes apart


def difference(one: Outcome, other: Outcome) -> str:
    """Return what differs in any bit between two outcomes, clocks apart; empty if nothing does."""
    return state_difference(one.state, other.state) or _scores_difference(one.scores, other.scores)


def state_difference(one: State, other: State) -> str:
    """Return the first part of two states that differs in any bit, clocks apart; empty if none does."""
    first, second = tensors(one), tensors(other)
    if first.keys() != second.keys():
        return "the set of parameters"
    for name in first:
        if not torch.equal(first[name], second[name]):
            return f"the parameter {name}"
    if one["steps"] != other["steps"]:
        return "the number of steps"
    if repr(one["curves"]) != repr(other["curves"]):  # repr: a NaN is itself
        differs = [a for a, b in zip(one["curves"], other["curves"], strict=False) if repr(a) != repr(b)]
        return f"the curve of {differs[0]['metric']}" if differs else "the length of the curves"
    if repr(one["stability"]) != repr(other["stability"]):
        names = [name for name, value in one["stability"].items() if repr(value) != repr(other["stability"].get(name))]
        return f"the stability figure {names[0]}" if names else "the set of stability figures"
    return ""


def tensors(state: State) -> dict[str, torch.Tensor]:
    """Return the tensors of a state by `GROUP.NAME`."""
    return {f"{group}.{name}": value for group, module in state["modules"].items() for name, value in module.items()}


def _scores_difference(one: Scores, other: Scores) -> str:
    first, second = ({score.metric.name: repr(score) for score in scores.scores} for scores in (one, other))
    if first.keys() != second.keys():
        return "the set of scores"
    for name in first:
        if first[name] != second[name]:
            return f"the score {name}"
    if one.arrays.keys() != other.arrays.keys():
        return "the set of arrays"
    for name in one.arrays:
        a, b = np.asarray(one.arrays[name]), np.asarray(other.arrays[name])
        if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
            return f"the array {name}"
    return ""
