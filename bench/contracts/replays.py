"""The contract on capture: steps that are captured once and replayed are the steps that were to be taken.

On a CPU a recording stands for a CUDA graph: it keeps the operations of one step with their very tensors and
generators, and does them again. Whatever Python did meanwhile is frozen in it as in a graph. Where there is a GPU, the
same is asked of a real one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from bench.contracts.attempts import Outcome, difference, tensors
from bench.contracts.verdicts import Breach, NotChecked
from bench.protocol import Average, Budget, Execution, Run, Schedule, State, Task
from bench.protocol import Strategy as Trained
from bench.training import capture

EPOCHS, STEPS = 2, 20
CLOSE = 1e-3  # of a GPU's replayed numbers to its eager ones; a frozen value moves them by as much as a step does


class Recording(TorchDispatchMode):
    """A `capture.Graph` of a CPU: the operations of a step, below autograd, which can be done again.

    Attributes:
        done: (operation, arguments, keywords, what came out), in order; all tensors are kept, so that ids are theirs.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.done: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do an operation and keep it."""
        outputs = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, outputs))
        return outputs

    def warm(self, step: capture.Step) -> None:
        """Take a step."""
        step()

    def capture(self, step: capture.Step, generators: Sequence[torch.Generator]) -> None:
        """Take a step and keep its operations."""
        with self:
            step()

    @torch.no_grad()
    def replay(self) -> None:
        """Do them again: what the step had made itself is made anew, and all other tensors are those that they were."""
        made: dict[int, Tensor] = {}

        def now(value: Any) -> Any:
            return made.get(id(value), value) if isinstance(value, Tensor) else value

        for func, args, kwargs, before in self.done:
            after = func(*tree_map(now, args), **tree_map(now, kwargs))
            for old, new in zip(tree_leaves(before), tree_leaves(after), strict=True):
                if isinstance(old, Tensor) and old is not new:
                    made[id(old)] = new

    def recover(self, generators: Sequence[torch.Generator]) -> None:
        """Forget them."""
        self.done.clear()


def check(part: object, strategy: Trained, task: Task, folder: Path) -> str:
    """Compare 20 steps of training that are replayed with the same steps taken eagerly, where a part can be captured.

    The rate moves, gradients are clipped and weights are averaged meanwhile, and an epoch ends.

    Args:
        part: what is checked.
        strategy: itself, or one that trains with it.
        task: a small one.
        folder: for checkpoints.

    Raises:
        Breach: a number differs, or a step cannot be captured.
        NotChecked: it does not declare `capturable`, or no steps are taken.
    """
    if not capture.declared(part):
        raise NotChecked("it does not declare `capturable`: on a GPU steps with it are taken eagerly")
    budget = Budget(
        epochs=EPOCHS,
        batch_size=max(1, len(task.splits.train) * EPOCHS // STEPS),
        schedule=Schedule(kind="cosine", share=0.1, warmup=0.5),
        clip=1.0,
        average=Average(decay=0.9),
    )
    task = replace(task, budget=budget)

    def fit(kind: Any, device: str = "cpu") -> State:
        with capture.by(kind):
            return strategy.fit(task, Run(0, device, folder / f"{device}-{kind.__name__}"))

    plain = fit(capture.eager)
    if "execution" not in plain:
        raise NotChecked("no steps are taken to train it")
    replayed = fit(Recording)
    _check_captured(replayed["execution"])
    if differs := difference(Outcome(plain), Outcome(replayed)):
        rule = "it depends on what Python does in a step: a counter, a draw that is not of its noise, a host's decision"
        raise Breach(f"it declares `capturable`, and {differs} differs when steps are replayed; {rule}")
    if not torch.cuda.is_available():
        return f"{STEPS} steps replayed by a recording give the bits of eager ones"
    plain, replayed = fit(capture.eager, "cuda"), fit(capture.usual, "cuda")
    _check_captured(replayed["execution"])
    _check_close(plain, replayed)
    return f"{STEPS} steps replayed by a CUDA graph give the numbers of eager ones"


def _check_captured(execution: Execution) -> None:
    if not execution["captured"]:
        raise Breach(f"it declares `capturable`, and its steps are not captured: {execution['reason']}")


def _check_close(plain: State, replayed: State) -> None:
    before, after = tensors(plain), tensors(replayed)
    for name, value in before.items():
        if not torch.allclose(value.double(), after[name].double(), rtol=CLOSE, atol=CLOSE):
            raise Breach(f"it declares `capturable`, and on a GPU the parameter {name} differs when steps are replayed")
