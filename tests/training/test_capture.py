"""Steps that are captured once and replayed: the same numbers, and an honest reason where they are not captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from bench import priors
from bench.contracts.attempts import Outcome, difference
from bench.contracts.replays import Recording
from bench.energies.grbm import Grbm
from bench.plugins import Registry
from bench.protocol import Average, Budget, Checkpoint, Diverged, Noise, Run, Schedule, State, Stopped, Task, Warmup
from bench.strategy import Strategy
from bench.training import Batch, Model, capture

BUDGET = Budget(
    epochs=2,
    checkpoint=Checkpoint(steps=5),
    schedule=Schedule(kind="cosine", share=0.1, warmup=0.2),
    clip=1.0,
    average=Average(decay=0.9),
    warmup=Warmup(epochs=1),
)
STRATEGIES = [
    ("normal", {}),
    ("vampprior", {"components": 3}),
    ("stein", {"energy": Grbm(hidden=3), "critic_hidden": [4], "critic_steps": 2, "directions": 1}),
]


def fitted(strategy: Any, task: Task, folder: Path, kind: Any = capture.usual, **run: Any) -> State:
    with capture.by(kind):
        state: State = strategy.fit(task, Run(0, run.pop("device", "cpu"), folder, **run))
    return state


@pytest.mark.parametrize(("name", "hyper"), STRATEGIES)
def test_replayed_steps_stopped_and_resumed_give_the_bits_of_eager_ones(
    name: str, hyper: dict[str, Any], strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    task = replace(task, budget=BUDGET)
    plain = fitted(strategy(name, **hyper), task, tmp_path / "eager")
    asked = iter([False] * 17 + [True])
    with pytest.raises(Stopped):
        fitted(strategy(name, **hyper), task, tmp_path / "replayed", Recording, stop_requested=lambda: next(asked))
    replayed = fitted(strategy(name, **hyper), task, tmp_path / "replayed", Recording)
    assert not difference(Outcome(plain), Outcome(replayed))
    assert plain["execution"] == {"captured": False, "reason": "the device is cpu"}
    assert replayed["execution"] == {"captured": True, "reason": ""}


# ---------------------------------------------------------------- what is not captured


class Plain(Strategy):
    """A VAE with N(0, I)."""

    capturable: ClassVar = True

    def prior(self, task: Task, vae: Any, noise: Noise) -> priors.Density:
        return priors.StandardNormal(task.networks.latent)


class Doomed(Plain):
    """Its 30th loss is not a number, which the device alone knows."""

    capturable: ClassVar = True

    def others(self, task: Task) -> dict[str, Any]:
        module = torch.nn.Module()
        module.register_buffer("taken", torch.zeros(()))
        return {"counter": module}

    def losses(self, model: Model, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        taken = model.others["counter"].get_buffer("taken")
        taken.add_(1)
        for name, loss in super().losses(model, batch):
            yield name, loss.where(taken != 30, float("nan"))


def test_the_first_bad_step_among_replayed_ones_is_named(task: Task, tmp_path: Path) -> None:
    for kind in (capture.eager, Recording):
        with pytest.raises(Diverged) as caught:
            fitted(Doomed(), task, tmp_path / kind.__name__, kind)
        assert caught.value.step == 29


class Undeclared(Plain):
    """Extends what declares it, and says nothing itself."""


def test_why_steps_are_not_captured_is_said(task: Task, tmp_path: Path) -> None:
    class Other(type(task.dataset)):  # type: ignore[misc]
        """Another data set."""

    other = replace(task, dataset=Other())
    short = replace(task, budget=Budget(epochs=1, batch_size=len(task.splits.train) // 2))
    for number, (strategy, own, kind, reason) in enumerate(
        [
            (Plain(), task, capture.usual, "the device is cpu"),
            (Plain(), task, capture.eager, "it was asked for"),
            (Undeclared(), task, Recording, "the strategy does not declare `capturable`"),
            (Plain(), other, Recording, "the data set does not declare `capturable`"),
            (Plain(), short, Recording, "training ended within 3 steps"),
        ]
    ):
        state = fitted(strategy, own, tmp_path / str(number), kind)
        assert state["execution"] == {"captured": False, "reason": reason}


class Refusing(Recording):
    """Breaks off in the middle of a capture, like CUDA: nothing has been carried out, and the end fails as well."""

    def capture(self, step: capture.Step, generators: Sequence[torch.Generator]) -> None:
        try:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        finally:
            raise ValueError("invalid capture")


def test_after_a_capture_that_failed_steps_are_taken_eagerly(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    task = replace(task, budget=BUDGET)
    own = {"energy": Grbm(hidden=3), "critic_hidden": [4], "critic_steps": 2, "directions": 1}
    plain = fitted(strategy("stein", **own), task, tmp_path / "eager")
    refused = fitted(strategy("stein", **own), task, tmp_path / "refused", Refusing)
    assert not difference(Outcome(plain), Outcome(refused))
    why = "the capture failed: RuntimeError: operation not permitted when stream is capturing"
    assert refused["execution"] == {"captured": False, "reason": why}


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda x: x.sum().item(), "asks for the value of a tensor (aten._local_scalar_dense.default)"),
        (lambda x: x.nonzero(), "makes a tensor whose shape depends on values (aten.nonzero.default)"),
        (lambda x: x[x > 0], "picks by a mask, whose count decides on a shape (aten.index.Tensor)"),
        (lambda x: x.clone().index_put_((x > 0,), x.sum()), "picks by a mask, whose count decides on a shape"),
        (lambda x: x.to("meta"), "copies a tensor from one device to another"),
        (lambda x: (x[torch.tensor([0, 1])], torch.where(x > 0, x, 0.0), x.masked_fill(x > 0, 1.0), x.to(x.dtype)), ""),
    ],
)
def test_what_waits_for_the_device_is_seen(step: Callable[[Tensor], Any], reason: str) -> None:
    with capture.Watch() as watch:
        step(torch.ones(3))
    assert watch.reason.startswith(reason)
    assert bool(watch.reason) == bool(reason)


# ---------------------------------------------------------------- on a GPU


REGISTRY = Registry()
KINDS = {name: REGISTRY.find("strategy", name).load() for name in REGISTRY.names("strategy")}


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [pytest.param(k, id=name) for name, k in KINDS.items() if issubclass(k, Strategy)])
def test_on_a_gpu_a_graph_gives_the_numbers_of_eager_steps(kind: Any, task: Task, tmp_path: Path) -> None:
    task = replace(task, budget=BUDGET)
    plain = fitted(kind(), task, tmp_path / "eager", capture.eager, device="cuda")
    replayed = fitted(kind(), task, tmp_path / "graph", device="cuda")
    assert replayed["execution"] == {"captured": True, "reason": ""}
    for group, module in plain["modules"].items():
        for name, value in module.items():
            torch.testing.assert_close(replayed["modules"][group][name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_on_a_gpu_training_goes_on_after_a_capture_that_failed(task: Task, tmp_path: Path) -> None:
    class Broken(capture.Cuda):
        """Asks for a number in the middle of a capture."""

        def capture(self, step: capture.Step, generators: Sequence[torch.Generator]) -> None:
            def broken() -> None:
                step()
                torch.ones((), device=self.device).item()

            super().capture(broken, generators)

    plain = fitted(Plain(), task, tmp_path / "eager", capture.eager, device="cuda")
    refused = fitted(Plain(), task, tmp_path / "refused", Broken, device="cuda")
    assert refused["execution"]["reason"].startswith("the capture failed: ")
    assert not difference(Outcome(on_cpu(plain)), Outcome(on_cpu(refused)))


def on_cpu(state: State) -> State:
    modules = {group: {name: value.cpu() for name, value in own.items()} for group, own in state["modules"].items()}
    return {**state, "modules": modules}
