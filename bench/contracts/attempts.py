"""Work in a process of its own, which may hang, be killed or vanish; a strategy carried out there; what it left."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from bench.contracts.task import one_thread, small
from bench.contracts.verdicts import Breach, sentence
from bench.contracts.verdicts import Subject as Base
from bench.protocol import Run, Scores, State, Strategy, Task
from bench.sweep.processes import start, starting


class Killed(Breach):
    """The process was ended by kill -9."""


def apart(work: Callable[..., Any], *arguments: Any, file: Path, limit: float) -> Any:
    """Return what `work(*arguments)` returns in a new process; all of it can be pickled.

    Args:
        work: a function of a module.
        arguments: what it is given.
        file: the plugin's, for the line of an error.
        limit: seconds after which the process is ended.

    Raises:
        Killed: the process was ended by kill -9.
        Breach: it took longer, raised something, or ended without a word.
    """
    context = starting()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, work, arguments, file), daemon=True)
    start(process)
    sender.close()
    try:
        if not receiver.poll(limit):
            raise Breach(f"it did not come to an end within {limit:g} s")
        result, error = receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:
            raise Killed("its process was killed (kill -9), perhaps because memory ran out") from None
        raise Breach(f"its process ended with exit code {process.exitcode}, without a word") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if error:
        raise Breach(error)
    return result


def _work(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...], file: Path) -> None:
    with suppress(OSError):  # there may be no place for errors
        os.dup2(2, 1)  # the answer of `bench check` is its verdicts alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the server ignores it, and what a plugin starts would inherit that
    try:
        answer = work(*arguments), ""
    except BaseException as error:  # SystemExit too
        answer = None, sentence(error, file)
    pipe.send(answer)


# ---------------------------------------------------------------- carrying out a strategy


@dataclass(frozen=True)
class Outcome:
    """What a strategy left: its state, its scores if it was scored, and how often `fit` asked whether to stop."""

    state: State
    scores: Scores | None = None
    questions: int = 0


@dataclass
class Questions:
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
class Subject(Base):
    """A plugin that is checked by carrying out a strategy: itself, or one that uses it."""

    limit: float = 120.0  # for twelve steps of tiny networks and their scoring

    @cached_property
    def strategy(self) -> Strategy:
        """The strategy."""
        return cast(Strategy, self.build())

    @cached_property
    def task(self) -> Task:
        """The small task."""
        return small(self.strategy)

    @cached_property
    def reference(self) -> Outcome:
        """What a process of its own leaves when nothing disturbs it."""
        return attempt(self, self.folder / "reference")


def attempt(subject: Subject, folder: Path, dies_at: int | None = None) -> Outcome:
    """Carry a strategy out on the small task in a process of its own and return what it left.

    Args:
        subject: has the strategy.
        folder: the run's, resumed where a checkpoint lies in it.
        dies_at: at which question whether it should stop it dies of kill -9, or None.

    Raises:
        Killed: it died.
        Breach: it took too long, or ended in another way; the sentence says how.
    """
    # a copy, which holds nothing that was made of its fields
    arguments = (replace(subject), folder, dies_at)
    saved, scores, questions = apart(_attempt, *arguments, file=subject.plugin.file, limit=subject.limit)
    try:
        state = cast(State, torch.load(io.BytesIO(saved), weights_only=True))
    except Exception as error:
        # what torch does not load it names in a sentence alone
        reason = str(error).partition("Unsupported ")[2].split("\n")[0] or type(error).__name__
        raise Breach(f"its state holds more than tensors and plain types: {reason}") from error
    return Outcome(state, scores, questions)


def _attempt(subject: Subject, folder: Path, dies_at: int | None) -> tuple[bytes, Scores, int]:
    """Return a strategy's state as saved by torch, its scores, and how often it asked."""
    questions = Questions(dies_at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    folder.mkdir(parents=True, exist_ok=True)
    with one_thread():
        state = subject.strategy.fit(subject.task, Run(0, "cpu", folder, stop_requested=questions))
        scores = subject.strategy.evaluate(state, subject.task, Run(0, "cpu", folder))
    saved = io.BytesIO()  # a tensor sent as such would go with this process
    torch.save(state, saved)
    return saved.getvalue(), scores, questions.count


# ---------------------------------------------------------------- telling outcomes apart


def difference(one: Outcome, other: Outcome) -> str:
    """Return the first part that differs in any bit between two outcomes, clocks apart; empty if none does.

    Scores are compared where both outcomes have them.
    """
    first, second = _parts(one), _parts(other)
    for part in [part for part in first if part in second]:
        if first[part].keys() != second[part].keys():
            return f"the set of {part}"
        for name, value in first[part].items():
            if _bits(value) != _bits(second[part][name]):
                return f"the {name}"
    return ""


def _parts(outcome: Outcome) -> dict[str, dict[str, Any]]:
    state, scores = outcome.state, outcome.scores
    curves: dict[str, list[Any]] = {}
    for row in state["curves"]:
        curves.setdefault(f"curve of {row['metric']}", []).append(row)
    parts: dict[str, dict[str, Any]] = {
        "parameters": {f"parameter {name}": value for name, value in tensors(state).items()},
        "steps": {"number of steps": state["steps"]},
        "curves": curves,
        "stability figures": {f"stability figure {name}": value for name, value in state["stability"].items()},
    }
    if scores is not None:
        parts["scores"] = {f"score {score.metric.name}": score for score in scores.scores}
        parts["arrays"] = {f"array {name}": np.asarray(value) for name, value in scores.arrays.items()}
    return parts


def _bits(value: Any) -> Any:
    """Return what is equal where every bit of two values is."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.detach().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return repr(value)  # a NaN is itself


def tensors(state: State) -> dict[str, torch.Tensor]:
    """Return the tensors of a state by `GROUP.NAME`."""
    return {f"{group}.{name}": value for group, module in state["modules"].items() for name, value in module.items()}
