"""What a cell asks of a strategy, how it is carried out, and what training leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NotRequired, Protocol, TypedDict, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from bench.protocol.budget import Budget
    from bench.protocol.data import Dataset, Noise, Splits
    from bench.protocol.evaluation import Evaluation
    from bench.protocol.networks import Networks
    from bench.protocol.scores import Scores


@dataclass(frozen=True)
class Task:
    """What a cell asks of a strategy."""

    dataset: Dataset
    splits: Splits
    networks: Networks
    budget: Budget
    evaluation: Evaluation

    @property
    def scored(self) -> np.ndarray:
        """The items that are scored, as stored: those of the evaluation's split, the first `images` of them."""
        split = self.splits.validation if self.evaluation.split == "validation" else self.splits.test
        return split[: self.evaluation.images]


def _silent(**_: Any) -> None:
    """Report to nobody."""


def _never() -> bool:
    return False


def _unheard(sentence: str) -> None:
    """Say it to nobody."""


@dataclass(frozen=True)
class Run:
    """How a task is carried out, in plain terms.

    Attributes:
        seed: seed of training; every stream of randomness derives from it.
        device: a torch device, such as `cpu` or `cuda:0`.
        folder: where checkpoints lie; what is found there is resumed.
        progress: called as `progress(stage="fit", done=120, total=900, epoch=3, vlb=101.2)`; further keywords are
            figures to show.
        stop_requested: asked now and then; once it is true, save a checkpoint and raise `Stopped`.
        note: takes a sentence that the user should read, such as that a damaged checkpoint was set aside.
    """

    seed: int
    device: str
    folder: Path
    progress: Callable[..., None] = _silent
    stop_requested: Callable[[], bool] = _never
    note: Callable[[str], None] = _unheard


class Execution(TypedDict):
    """How steps of training were taken.

    `captured`: once, and then replayed by the device; else `reason` says why one after another.
    """

    captured: bool
    reason: str


class State(TypedDict):
    """What `fit` leaves: tensors and plain types, so that `torch.load(weights_only=True)` reads it.

    `modules` maps each parameter group to its state dict, of averaged weights where the budget asks for them; `latest`
    has the latest ones then, if the strategy has an adversary or a critic, which follows those. `curves` has rows
    `{epoch, step, metric, value}`.
    `stability` and `resources` map names to numbers (seconds, bytes, counts); where training could end early, `epochs`
    is how many it took. `execution` is there where training took steps.
    """

    modules: dict[str, dict[str, Tensor]]
    latest: NotRequired[dict[str, dict[str, Tensor]]]
    steps: int
    curves: list[dict[str, Any]]
    stability: dict[str, float]
    resources: dict[str, float]
    execution: NotRequired[Execution]


@runtime_checkable
class Strategy(Protocol):
    """A strategy plugin: a settings model of its hyper-parameters that fits and evaluates."""

    name: ClassVar[str]

    def skip(self, task: Task) -> str | None:
        """Return why this strategy cannot do `task`, in words, or None."""

    def fit(self, task: Task, run: Run) -> State:
        """Train, resuming from `run.folder`.

        Raises:
            Diverged: a loss, gradient or parameter is no longer finite.
            OutOfMemory: the device's memory does not suffice.
            Stopped: `run.stop_requested()` became true; a checkpoint lies in `run.folder`.
        """

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        """Score a fitted state. Same state, task and `run.seed`: the same scores."""


class Prior(Protocol):
    """A density over z, `(..., d)`: normalised (`energy` is `-log_prob`) or not, always with `sample`."""

    normalised: ClassVar[bool]

    def energy(self, z: Tensor) -> Tensor:
        """Return E(z), `(...)`: minus the log density up to log Z, which is 0 where `normalised`."""

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`."""
