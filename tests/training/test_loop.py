"""Training: declared gradients only, the same numbers twice, the same bits after a kill, and an honest end."""

from __future__ import annotations

import io
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.energies.grbm import Grbm
from bench.files import sealed
from bench.plugins import Registry
from bench.protocol import (
    Average,
    Budget,
    Checkpoint,
    Diverged,
    EarlyStopping,
    OutOfMemory,
    Run,
    Schedule,
    Scores,
    State,
    Stopped,
    Task,
    UserError,
    Warmup,
)
from bench.sweep.processes import starting
from bench.training import guarded
from bench.training.loop import CHECKPOINT

STRATEGIES = [
    ("normal", {}),
    ("vampprior", {"components": 3}),
    ("sliced-score-matching", {"energy": Grbm(hidden=3)}),
    ("sliced-score-matching", {"energy": Grbm(hidden=3), "variant": "variance-reduced"}),
    ("sliced-score-matching", {"energy": Grbm(hidden=3), "variant": "exact"}),
]


def parameters(state: State) -> dict[str, Tensor]:
    return {f"{group}.{name}": t for group, module in state["modules"].items() for name, t in module.items()}


def assert_same_bits(a: State, b: State) -> None:
    first, second = parameters(a), parameters(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert a["curves"] == b["curves"]
    assert a["stability"] == b["stability"]


@pytest.mark.parametrize(("name", "hyper"), STRATEGIES)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    name: str, hyper: dict[str, Any], strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    states = [
        strategy(name, **hyper).fit(task, Run(seed, "cpu", tmp_path / str(i))) for i, seed in enumerate((0, 0, 1))
    ]
    assert_same_bits(states[0], states[1])
    assert not torch.equal(parameters(states[0])["encoder.net.0.weight"], parameters(states[2])["encoder.net.0.weight"])


def test_two_strategies_with_one_seed_share_initial_networks_data_order_and_noise(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    seen: dict[str, list[Tensor]] = {}
    for name in ("normal", "vampprior", "sliced-score-matching"):
        plugin = strategy(name)
        batches = seen.setdefault(name, list(plugin.model(task, Run(0, "cpu", tmp_path)).vae.parameters()))
        original = type(plugin).losses

        def watched(self: Any, model: Any, batch: Any, *, log: Any = batches, inner: Any = original) -> Iterator[Any]:
            log += [batch.x, batch.posterior.normal(2)]
            batch.posterior.at(0)
            yield from inner(self, model, batch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(plugin), "losses", watched)
            plugin.fit(replace(task, budget=Budget(epochs=1)), Run(0, "cpu", tmp_path / name))
    for name in ("vampprior", "sliced-score-matching"):
        assert all(torch.equal(a, b) for a, b in zip(seen["normal"], seen[name], strict=True))


@pytest.mark.parametrize(("name", "hyper"), STRATEGIES)
def test_each_loss_moves_the_groups_it_is_declared_to_reach_and_no_other(
    name: str, hyper: dict[str, Any], strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    """One step with a single loss let through: which groups' parameters changed?"""
    plugin = strategy(name, **hyper)
    one_step = replace(task, budget=Budget(epochs=1, batch_size=1500))
    for wanted in sorted(frozenset().union(*plugin.reach.values())):
        before = plugin.model(one_step, Run(0, "cpu", tmp_path)).groups
        inner = type(plugin).losses

        def only(self: Any, model: Any, batch: Any, *, wanted: str = wanted, inner: Any = inner) -> Iterator[Any]:
            yield from ((loss_name, loss) for loss_name, loss in inner(self, model, batch) if loss_name == wanted)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(plugin), "losses", only)
            after = plugin.fit(one_step, Run(0, "cpu", tmp_path / f"{name}-{wanted}"))["modules"]
        for group, module in before.items():
            changed = any(not torch.equal(module.state_dict()[key], after[group][key]) for key in after[group])
            assert changed == (wanted in plugin.reach.get(group, ())), f"{wanted} -> {group}"


def test_score_matching_is_kept_from_the_encoder_and_the_bound_from_its_prior(strategy: Callable[..., Any]) -> None:
    reach = strategy("sliced-score-matching").reach
    assert reach["prior"].isdisjoint(reach["encoder"] | reach["decoder"])


def test_the_vampprior_shares_one_loss_with_the_encoder_through_its_pseudo_inputs(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin = strategy("vampprior", components=3)
    assert plugin.reach["prior"] == plugin.reach["encoder"]
    model = plugin.model(task, Run(0, "cpu", tmp_path))
    # at a constant z, only the path through u reaches the encoder
    energy = model.prior.energy(torch.ones(5, 4)).sum()
    gradients = torch.autograd.grad(energy, list(model.vae.encoder.parameters()))
    assert all(bool(g.abs().sum() > 0) for g in gradients)


def _carry_out(name: str, hyper: dict[str, Any], settings: Any, folder: Path, die_at: int | None, pipe: Any) -> None:
    torch.set_num_threads(1)
    options, *others = settings
    digits: Any = Registry().find("dataset", "digits").load()
    dataset = digits(**options)
    task = Task(dataset, dataset.load(folder), *others)
    asked = 0

    def count_and_die() -> bool:
        nonlocal asked
        asked += 1  # once a step
        if asked == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    run = Run(0, "cpu", folder, stop_requested=count_and_die)
    plugin: Any = Registry().find("strategy", name).load()(**hyper)
    state = plugin.fit(task, run)
    saved = io.BytesIO()  # a tensor sent as such would go with this process
    torch.save(state, saved)
    pipe.send((saved.getvalue(), plugin.evaluate(state, task, run)))


def carry_out(
    name: str, hyper: dict[str, Any], task: Task, folder: Path, die_at: int | None
) -> tuple[State, Scores] | int:
    """Fit and evaluate in a process of its own that kills itself at a step; return the outcome or the exit code."""
    context = starting()
    receiver, sender = context.Pipe(duplex=False)
    options: Any = task.dataset
    settings = (options.model_dump(), task.networks, task.budget, task.evaluation)
    process = context.Process(target=_carry_out, args=(name, hyper, settings, folder, die_at, sender))
    process.start()
    sender.close()
    try:
        saved, scores = receiver.recv()
        return torch.load(io.BytesIO(saved), weights_only=True), scores
    except EOFError:
        process.join()
        assert process.exitcode is not None
        return process.exitcode


EVERY_OPTION: dict[str, Any] = {
    "schedule": Schedule(kind="cosine", share=0.1, warmup=0.5),
    "clip": 20.0,
    "average": Average(decay=0.9),
    "warmup": Warmup(epochs=1.5),
    "early_stopping": EarlyStopping(patience=1),
    "epochs": 3,
}
MOVING = {"energy": Grbm(hidden=3), "lr_schedule": Schedule(kind="step", share=0.2, epochs=0.5)}


@pytest.mark.parametrize(
    ("name", "hyper", "ways"), [(*STRATEGIES[1], {}), ("sliced-score-matching", MOVING, EVERY_OPTION)]
)
def test_a_cell_killed_at_ten_different_steps_ends_with_the_same_bits(
    name: str, hyper: dict[str, Any], ways: dict[str, Any], task: Task, tmp_path: Path
) -> None:
    """Checkpoints lie 5 steps apart in 46; each life dies somewhere between two of them, at their edge, or at once."""
    digits: Any = type(task.dataset)
    held = digits(validation=300 if ways else 0)
    task = replace(task, dataset=held, budget=task.budget.model_copy(update=ways))
    undisturbed = carry_out(name, hyper, task, tmp_path / "undisturbed", None)
    for die_at in (3, 5, 6, 1, 7, 8, 9, 6, 7, 8):
        assert carry_out(name, hyper, task, tmp_path / "killed", die_at) == -signal.SIGKILL
    resumed = carry_out(name, hyper, task, tmp_path / "killed", None)
    assert isinstance(undisturbed, tuple)
    assert isinstance(resumed, tuple)
    assert_same_bits(undisturbed[0], resumed[0])
    assert undisturbed[1].scores == resumed[1].scores
    for array in undisturbed[1].arrays:
        np.testing.assert_array_equal(undisturbed[1].arrays[array], resumed[1].arrays[array])


def test_asked_to_stop_it_saves_and_says_so(strategy: Callable[..., Any], task: Task, tmp_path: Path) -> None:
    whole = strategy("normal").fit(task, Run(0, "cpu", tmp_path / "whole"))
    with pytest.raises(Stopped, match="stopped at step 1 of 46"):
        strategy("normal").fit(task, Run(0, "cpu", tmp_path / "cut", stop_requested=lambda: True))
    assert len(sealed(tmp_path / "cut", CHECKPOINT)) == 1
    assert_same_bits(strategy("normal").fit(task, Run(0, "cpu", tmp_path / "cut")), whole)


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_is_set_aside_and_said_and_training_goes_on_from_one_before(
    damaged: int, strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    whole = strategy("normal").fit(task, Run(0, "cpu", tmp_path / "whole"))
    asked = iter([False] * 12)
    run = Run(0, "cpu", tmp_path / "cut", stop_requested=lambda: next(asked, True))
    with pytest.raises(Stopped, match="stopped at step 13 of 46"):
        strategy("normal").fit(task, run)
    checkpoints = sealed(tmp_path / "cut", CHECKPOINT)
    assert [path.name[:23] for path in checkpoints] == ["checkpoint-000000000013", "checkpoint-000000000010"]
    for path in checkpoints[:damaged]:
        path.write_bytes(path.read_bytes()[:-100])
    notes: list[str] = []
    assert_same_bits(strategy("normal").fit(task, Run(0, "cpu", tmp_path / "cut", note=notes.append)), whole)
    assert len(notes) == damaged
    then = "training goes on from the checkpoint before it, or from the start where there is none"
    assert notes[0].startswith(f"{checkpoints[0]} is cut short or altered")
    assert notes[0].endswith(f"set aside as {checkpoints[0].stem}.corrupt, and {then}")


def test_a_finished_fit_is_not_trained_again(strategy: Callable[..., Any], task: Task, tmp_path: Path) -> None:
    run = Run(0, "cpu", tmp_path)
    first = strategy("normal").fit(task, run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.training.loop.Loop._update", lambda *_: pytest.fail("trained again"))
        assert_same_bits(strategy("normal").fit(task, run), first)


@pytest.mark.parametrize("bad", [0, 21, 22, 23, 30, 45])  # of two epochs of 23 steps
def test_a_loss_that_leaves_the_finite_numbers_is_noticed_at_its_first_step(
    strategy: Callable[..., Any], task: Task, tmp_path: Path, bad: int
) -> None:
    plugin = strategy("normal")
    inner = type(plugin).losses
    steps = itertools.count()

    def infinite(self: Any, model: Any, batch: Any) -> Iterator[tuple[str, Tensor]]:
        step = next(steps)
        for name, loss in inner(self, model, batch):
            yield name, loss / (0.0 if step == bad else 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(plugin), "losses", infinite)
        with pytest.raises(Diverged, match=f"not finite at step {bad}$") as caught:
            plugin.fit(task, Run(0, "cpu", tmp_path))
    assert caught.value.step == bad
    assert {row["epoch"] for row in caught.value.curves} == ({0} if bad >= 23 else set())
    assert ("bound" in caught.value.stability) == (bad >= 23)


def test_a_strategy_without_a_loss_is_refused(strategy: Callable[..., Any], task: Task, tmp_path: Path) -> None:
    plugin = strategy("normal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(plugin), "losses", lambda *_: iter(()))
        with pytest.raises(UserError, match="yields no loss, so that nothing is trained"):
            plugin.fit(task, Run(0, "cpu", tmp_path))


def test_global_generators_and_the_noise_of_a_step_draw_apart(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    """A library's own draws are not those that the objective has."""
    plugin = strategy("normal")
    inner = type(plugin).losses
    drawn: list[tuple[Tensor, ...]] = []

    def watched(self: Any, model: Any, batch: Any) -> Iterator[tuple[str, Tensor]]:
        drawn.append((torch.randn(4), batch.prior.normal(4), batch.posterior.normal(4)))
        batch.posterior.at(len(drawn) - 1)
        yield from inner(self, model, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(plugin), "losses", watched)
        plugin.fit(replace(task, budget=Budget(epochs=1)), Run(0, "cpu", tmp_path))
    assert drawn
    for step in drawn:
        assert all(not torch.equal(one, other) for one, other in itertools.combinations(step, 2))


@pytest.mark.parametrize("stop", [None, 7])
def test_an_epochs_curves_are_means_however_often_a_step_takes_a_loss(
    strategy: Callable[..., Any], task: Task, tmp_path: Path, stop: int | None
) -> None:
    """Also over an interruption."""
    plugin = strategy("stein", critic_steps=3, critic_hidden=[8], directions=1, energy=Grbm(hidden=3))
    seen: dict[str, list[float]] = {}
    told: list[tuple[int, dict[str, float], dict[str, float]]] = []
    inner = type(plugin).losses

    def watched(self: Any, model: Any, batch: Any) -> Iterator[tuple[str, Tensor]]:
        for name, loss in inner(self, model, batch):
            seen.setdefault(plugin.called(name, model.prior), []).append(float(loss.detach()))
            yield name, loss

    def progress(*, stage: str, done: int, total: int, epoch: int, **figures: float) -> None:
        told.append((done, figures, {name: float(np.mean(values)) for name, values in seen.items()}))

    one = replace(task, budget=Budget(epochs=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(plugin), "losses", watched)
        if stop is not None:
            asked = iter([False] * stop)
            with pytest.raises(Stopped):
                plugin.fit(one, Run(0, "cpu", tmp_path, stop_requested=lambda: next(asked, True)))
        state = plugin.fit(one, Run(0, "cpu", tmp_path, progress))
    curves = {row["metric"]: row["value"] for row in state["curves"]}
    assert len(seen["critic"]) == 3 * len(seen["discrepancy"]) == 3 * 23
    for name, values in seen.items():
        assert curves[name] == pytest.approx(np.mean(values), rel=1e-4), name
    done, figures, means = told[-2]  # the last of all comes with the checkpoint, after the epoch is closed
    assert done == 23
    assert {name: figures[name] for name in means} == pytest.approx(means, rel=1e-4)


def test_after_a_number_that_went_bad_whatever_else_fails_is_no_bug(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin = strategy("normal")
    inner = type(plugin).losses

    def fails(self: Any, model: Any, batch: Any) -> Iterator[tuple[str, Tensor]]:
        fails.steps += 1  # type: ignore[attr-defined]
        if fails.steps == fails.at:  # type: ignore[attr-defined]
            raise ValueError("z has no finite density")
        for name, loss in inner(self, model, batch):
            yield name, loss / (0.0 if fails.steps == 4 else 1.0)  # type: ignore[attr-defined]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(plugin), "losses", fails)
        for at, kind, words in ((6, Diverged, "not finite at step 3"), (3, ValueError, "no finite density")):
            fails.steps, fails.at = 0, at  # type: ignore[attr-defined]
            with pytest.raises(kind, match=words):
                plugin.fit(task, Run(0, "cpu", tmp_path / str(at)))


def test_time_goes_to_the_clocks_and_adds_up_over_attempts(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        strategy("normal").fit(task, Run(0, "cpu", tmp_path, stop_requested=lambda: True))
    state = strategy("normal").fit(task, Run(0, "cpu", tmp_path))
    seconds = state["resources"]
    assert all(seconds[f"{name}_seconds"] > 0 for name in ("fit", "warmup", "overhead"))


def test_an_allocators_complaint_becomes_out_of_memory() -> None:
    with pytest.raises(OutOfMemory, match="out of memory on cpu"), guarded("cpu"):
        torch.empty(2**55)


def test_any_other_runtime_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"), guarded("cpu"):
        torch.ones(2) @ torch.ones(3, 3)


def test_fit_ends_with_the_budget(strategy: Callable[..., Any], task: Task, tmp_path: Path) -> None:
    state = strategy("normal").fit(
        replace(task, budget=Budget(epochs=1, checkpoint=Checkpoint())), Run(0, "cpu", tmp_path)
    )
    assert state["steps"] == 1500 // 64
