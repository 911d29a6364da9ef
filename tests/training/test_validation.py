"""The validation split: its bound in curves, training that ends by it, and models that are scored on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import demands
from bench.energies.grbm import Grbm
from bench.energies.mlp import Mlp
from bench.objectives import negative_bound
from bench.plugins import Registry
from bench.protocol import Budget, EarlyStopping, Run, State, Stopped, Task, UserError
from bench.streams import stream
from bench.training import stability

BOUND = "validation bound"


@pytest.fixture
def apart(task: Task) -> Task:
    """The same task with 300 of the 1,500 items set apart."""
    digits: Any = Registry().find("dataset", "digits").load()
    dataset = digits(validation=300)
    return replace(task, dataset=dataset, splits=dataset.load(Path()))


def bounds(state: State) -> dict[int, dict[str, float]]:
    """Return epoch -> name -> validation bound."""
    found: dict[int, dict[str, float]] = {}
    for row in state["curves"]:
        if row["metric"].startswith(BOUND):
            found.setdefault(row["epoch"], {})[row["metric"]] = row["value"]
    return found


def by_hand(plugin: Any, state: State, task: Task) -> tuple[float, Any]:
    """Return the bound without log Z, and the prior."""
    model = plugin.restored(state, task, Run(0, "cpu", Path()))
    x = task.dataset.fixed(torch.from_numpy(task.splits.validation))
    with torch.no_grad():
        q = model.vae.encoder(x)
        z = q.sample(stream(0, "evaluate/watched/validation").normal(*q.mean.shape))
        return float(negative_bound(model.vae, model.prior, x, q, z)), model.prior


@pytest.mark.parametrize(
    ("name", "hyper", "words"),
    [
        ("normal", {}, {""}),
        ("sliced-score-matching", {"energy": Grbm(hidden=3)}, {" with log Z"}),
        ("denoising-score-matching", {"energy": Grbm(hidden=24)}, {" without log Z"}),
        ("noise-contrastive", {"energy": Mlp(hidden=8)}, {" without log Z"}),
    ],
)
def test_curves_hold_the_validation_bound_with_log_z_where_that_is_cheap(
    name: str, hyper: dict[str, Any], words: set[str], strategy: Callable[..., Any], apart: Task, tmp_path: Path
) -> None:
    plugin = strategy(name, **hyper)
    state = plugin.fit(apart, Run(0, "cpu", tmp_path))
    curves = bounds(state)
    last = max(curves)
    assert list(curves) == list(range(last + 1))
    assert {name.removeprefix(BOUND) for name in curves[last]} == words
    bound, prior = by_hand(plugin, state, apart)
    log_z = prior.exact_log_z() if words == {" with log Z"} else 0.0
    assert curves[last][f"{BOUND}{words.pop()}"] == pytest.approx(bound + log_z, rel=1e-5)
    if name == "noise-contrastive":
        assert list(curves[0]) == [BOUND]  # of the first stage, under N(0, I)


def test_log_z_by_chains_is_cheap_where_an_epoch_is_long_and_its_upper_end_is_compared(
    strategy: Callable[..., Any], apart: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stability, "WAYS", 100)
    estimated: list[Any] = []
    estimate = stability._log_z

    def keep(*given: Any) -> Any:
        estimated.append(estimate(*given))
        return estimated[-1]

    monkeypatch.setattr(stability, "_log_z", keep)
    plugin = strategy("denoising-score-matching", energy=Grbm(hidden=24))
    curves = bounds(plugin.fit(replace(apart, budget=Budget(epochs=1)), Run(0, "cpu", tmp_path)))
    assert curves[0].keys() == {f"{BOUND} with log Z", f"{BOUND} at log Z's upper end"}
    above = curves[0][f"{BOUND} at log Z's upper end"] - curves[0][f"{BOUND} with log Z"]
    assert above == pytest.approx(estimated[-1].upper - estimated[-1].value, abs=1e-9)
    assert above > 0
    assert stability.COMPARED[0] == f"{BOUND} at log Z's upper end"


def test_without_a_split_there_is_no_validation_bound_and_with_one_training_is_the_same(
    strategy: Callable[..., Any], task: Task, apart: Task, tmp_path: Path
) -> None:
    assert not bounds(strategy("normal").fit(task, Run(0, "cpu", tmp_path / "none")))
    blind = replace(apart, splits=replace(apart.splits, validation=apart.splits.validation[:0]))
    one, other = (strategy("normal").fit(t, Run(0, "cpu", tmp_path / str(i))) for i, t in enumerate((apart, blind)))
    assert all(torch.equal(one["modules"]["encoder"][n], w) for n, w in other["modules"]["encoder"].items())


# ---------------------------------------------------------------- training that ends early


def stopping(task: Task, epochs: int, **ways: Any) -> Task:
    budget = {"epochs": epochs, "batch_size": 100, **ways}
    return replace(task, budget=Budget.model_validate(budget))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the validation bound take on these values, one an epoch."""

    def put(*values: float) -> None:
        one = iter(values)
        monkeypatch.setattr(stability, "_validation_bound", lambda *_: next(one))

    return put


def weights(state: State) -> dict[str, Tensor]:
    return {f"{group}.{name}": w for group, module in state["modules"].items() for name, w in module.items()}


def same(one: State, other: State) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ways", [{}, {"average": {"decay": 0.8}}])
def test_training_ends_after_so_many_epochs_without_a_better_bound_and_keeps_the_best_state(
    ways: dict[str, Any], strategy: Callable[..., Any], apart: Task, tmp_path: Path, seen: Callable[..., None]
) -> None:
    plugin, patient = strategy("normal"), {"early_stopping": {"patience": 2}}
    values = (5.0, 4.0, 3.0, 3.5, 3.0)
    seen(*values)
    state = plugin.fit(stopping(apart, 9, **ways, **patient), Run(0, "cpu", tmp_path / "whole"))
    assert (state["steps"], state["resources"]["epochs"]) == (5 * 12, 5)
    assert [row["value"] for row in state["curves"] if row["metric"] == BOUND] == list(values)
    seen(*values)
    assert same(state, plugin.fit(stopping(apart, 3, **ways), Run(0, "cpu", tmp_path / "three")))
    # interrupted after the best epoch and after the last one, it ends the same
    seen(*values)
    for stop in (40, 12):
        cut = Run(0, "cpu", tmp_path / "cut", stop_requested=partial(next, iter([False] * stop), True))
        with pytest.raises(Stopped):
            plugin.fit(stopping(apart, 9, **ways, **patient), cut)
    again = plugin.fit(stopping(apart, 9, **ways, **patient), Run(0, "cpu", tmp_path / "cut"))
    assert same(state, again)
    assert (again["curves"], again["stability"]) == (state["curves"], state["stability"])


def test_a_bound_that_is_no_number_is_beaten_by_any_that_is(
    strategy: Callable[..., Any], apart: Task, tmp_path: Path, seen: Callable[..., None]
) -> None:
    values = (math.nan, 4.0, 3.0, math.nan, 3.5)
    seen(*values)
    state = strategy("normal").fit(stopping(apart, 9, early_stopping={"patience": 2}), Run(0, "cpu", tmp_path / "end"))
    assert state["resources"]["epochs"] == 5
    seen(*values)
    assert same(state, strategy("normal").fit(stopping(apart, 3), Run(0, "cpu", tmp_path / "three")))


def test_epochs_count_from_the_end_of_the_warm_up(
    strategy: Callable[..., Any], apart: Task, tmp_path: Path, seen: Callable[..., None]
) -> None:
    seen(1.0, 1.0, 5.0, 6.0, 7.0)
    warm = {"warmup": {"epochs": 2.5}, "early_stopping": {"patience": 2}}
    state = strategy("normal").fit(stopping(apart, 9, **warm), Run(0, "cpu", tmp_path))
    assert state["resources"]["epochs"] == 5  # the third epoch is the first that counts


def test_without_an_end_the_whole_budget_is_used_and_said(
    strategy: Callable[..., Any], apart: Task, tmp_path: Path
) -> None:
    state = strategy("normal").fit(stopping(apart, 2, early_stopping={"patience": 9}), Run(0, "cpu", tmp_path))
    assert (state["steps"], state["resources"]["epochs"]) == (24, 2)


@pytest.mark.parametrize(
    ("name", "hyper"),
    [("denoising-score-matching", {"energy": Grbm(hidden=24)}), ("noise-contrastive", {"energy": Mlp(hidden=8)})],
)
def test_where_log_z_is_not_cheap_it_is_refused_before_any_step(
    name: str,
    hyper: dict[str, Any],
    strategy: Callable[..., Any],
    apart: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.training.loop.Loop._update", lambda *_: pytest.fail("a step was made"))
    words = (
        "train.early_stopping needs the validation bound every epoch, which this prior does not have: its log Z takes"
        " longer than 5 % of an epoch"
    )
    with pytest.raises(UserError, match=words):
        strategy(name, **hyper).fit(stopping(apart, 2, early_stopping={"patience": 1}), Run(0, "cpu", tmp_path))


def test_both_stages_of_a_strategy_may_end_early(
    strategy: Callable[..., Any], apart: Task, tmp_path: Path, seen: Callable[..., None]
) -> None:
    seen(2.0, 3.0, 1.0)  # of the mixture, last
    plugin = strategy("latent-mixture", components=2)
    state = plugin.fit(stopping(apart, 9, early_stopping={"patience": 1}), Run(0, "cpu", tmp_path))
    assert state["steps"] == 2 * 12 + 1
    assert [row["epoch"] for row in state["curves"]][-1] == 2


# ---------------------------------------------------------------- scored on it


def test_a_data_set_without_the_split_is_refused_in_words(task: Task, apart: Task) -> None:
    validated = task.evaluation.model_copy(update={"split": "validation"})
    ended = task.budget.model_copy(update={"early_stopping": EarlyStopping(patience=3)})

    def refusal(of: Task, budget: Budget, evaluation: Any) -> demands.Refusal | None:
        return demands.refusal(of.dataset, of.splits.items, of.networks, budget, evaluation)

    for key, budget, evaluation in (
        ("evaluate.split", task.budget, validated),
        ("train.early_stopping", ended, task.evaluation),
    ):
        refused = refusal(task, budget, evaluation)
        assert refused is not None
        assert refused.key == key
        assert f"it has 1,500 train, 0 validation and 297 test items of 8x8; {key}" in refused.reason
        assert "needs 2 or more to validate on" in refused.reason
        assert refusal(apart, budget, evaluation) is None


@pytest.mark.parametrize("name", ["normal"])
def test_scores_are_of_the_split_that_is_asked_for(
    name: str, strategy: Callable[..., Any], apart: Task, tmp_path: Path
) -> None:
    plugin, run = strategy(name), Run(0, "cpu", tmp_path)
    state = plugin.fit(replace(apart, budget=Budget(epochs=1)), run)
    asked = replace(apart, evaluation=apart.evaluation.model_copy(update={"split": "validation"}))
    swapped = replace(apart, splits=replace(apart.splits, test=apart.splits.validation))
    on_test, on_validation, by_swapping = (plugin.evaluate(state, t, run).scores for t in (apart, asked, swapped))
    assert on_validation == by_swapping
    assert on_validation != on_test
