"""Schedules, clipping, averages and the warm-up of the KL term: each does what it says, and nothing where it is off."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from bench import files, objectives
from bench.energies.grbm import Grbm
from bench.energies.mlp import Mlp
from bench.protocol import Average, Budget, Clip, Run, Schedule, State, Stopped, Task, UserError, Warmup
from bench.strategy import staged
from bench.streams import Stream
from bench.training import Batch
from bench.training.loop import CHECKPOINT
from bench.training.movers import Mover
from bench.training.pace import Pace

STEPS = 46  # two epochs of 23


def budgeted(task: Task, **ways: Any) -> Task:
    return replace(task, budget=Budget.model_validate({**task.budget.model_dump(), **ways}))


def parameters(modules: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{group}.{name}": tensor for group, module in modules.items() for name, tensor in module.items()}


def same_bits(one: State, other: State) -> bool:
    first, second = parameters(one["modules"]), parameters(other["modules"])
    return one["curves"] == other["curves"] and all(torch.equal(first[name], second[name]) for name in first)


def quadratic(strategy: Any, centre: float = 3.0) -> Any:
    """Return the same strategy with the loss 1/2 |w - centre|^2 of the encoder's weights w; `seen` holds every w."""

    class Quadratic(type(strategy)):  # type: ignore[misc]
        """No model at all."""

        def losses(self, model: Any, batch: Batch) -> Iterator[tuple[str, Tensor]]:
            yield "bound", sum(0.5 * (w - centre).square().sum() for w in model.vae.encoder.parameters())
            seen.append(torch.cat([w.detach().flatten() for w in model.vae.encoder.parameters()]))

    seen: list[Tensor] = []
    made = Quadratic()
    object.__setattr__(made, "__dict__", {**made.__dict__, "seen": seen})
    return made


def by_hand(kind: str, t: int) -> float:
    """Return the factor at step t of 46, 0 the first: a warm-up of 11.5 steps, an end of 23 of .2 of the rate."""
    warm = min(1.0, (t + 1) / 11.5)
    if kind == "step":
        return warm * (0.2 if t >= 23 else 1.0)
    if kind == "cosine":
        return warm * (0.2 + 0.8 * (1 + math.cos(math.pi * min(max((t + 1 - 23) / 23, 0.0), 1.0))) / 2)
    return warm


SCHEDULES = {
    "constant": Schedule(warmup=0.5),
    "step": Schedule(kind="step", share=0.2, epochs=1, warmup=0.5),
    "cosine": Schedule(kind="cosine", share=0.2, epochs=1, warmup=0.5),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_on_a_quadratic_follows_its_formula(
    kind: str, strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin = quadratic(strategy("normal"))
    plugin.fit(budgeted(task, schedule=SCHEDULES[kind]), Run(0, "cpu", tmp_path))
    seen = [w.double().numpy() for w in plugin.seen]
    # Adam by hand
    w = torch.cat([p.detach().flatten() for p in plugin.model(task, Run(0, "cpu", tmp_path)).vae.encoder.parameters()])
    at = w.double().numpy()
    m = v = np.zeros_like(at)
    for t in range(STEPS):
        m, v = 0.9 * m + 0.1 * (at - 3), 0.999 * v + 0.001 * (at - 3) ** 2
        step = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        at = at - 1e-3 * by_hand(kind, t) * step
        np.testing.assert_allclose(seen[t], at, atol=2e-6)  # float32 of numbers up to 1, 46 times


def test_a_schedule_moves_the_optimiser_that_it_is_of_alone(
    strategy: Callable[..., Any], task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget's that of encoder and decoder, a prior's its own, and so for an adversary and a critic."""
    step, own = Schedule(kind="step", share=0.2, epochs=1), Schedule(kind="cosine", share=0.0)
    budget = budgeted(task, schedule=step).budget
    for name, hyper in (
        ("sliced-score-matching", {}),
        ("adversarial", {"adversary_lr_schedule": own}),
        ("stein", {"critic_lr_schedule": own}),
        ("vampprior", None),
    ):
        plugin = strategy(name, **hyper or {})
        constant = Schedule()
        expected = {"encoder": step, "decoder": step, "prior": constant if hyper is not None else step}
        expected |= dict.fromkeys(plugin.reach.keys() - expected.keys(), own)
        assert {group: plugin.schedule(group, budget) for group in plugin.reach} == expected
    assert strategy("stein", lr_schedule=own).schedule("prior", budget) == own


def test_an_average_is_the_weighted_mean_of_all_steps_and_the_checkpoint_has_the_latest_weights_too(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin, decay = quadratic(strategy("normal")), 0.8
    state = plugin.fit(budgeted(task, average={"decay": decay}), Run(0, "cpu", tmp_path))
    weights = decay ** np.arange(STEPS - 1, -1, -1.0)
    by_hand = np.average([w.double().numpy() for w in plugin.seen], 0, weights)
    ours = torch.cat([w.flatten() for w in state["modules"]["encoder"].values()]).numpy()
    np.testing.assert_allclose(ours, by_hand, atol=1e-6)
    _, saved = files.latest(tmp_path, CHECKPOINT, print, "", torch.device("cpu")) or (None, {})
    kept = [torch.cat([w.flatten() for w in saved[part]["encoder"].values()]) for part in ("modules", "averages")]
    assert torch.equal(kept[0], plugin.seen[-1])
    assert torch.equal(kept[1], torch.from_numpy(ours))


def test_an_epochs_figures_are_of_the_averaged_model(
    strategy: Callable[..., Any], task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = strategy("sliced-score-matching", energy=Grbm(hidden=3))
    state = plugin.fit(budgeted(task, average={"decay": 0.95}), Run(0, "cpu", tmp_path))
    model = plugin.restored(state, task, Run(0, "cpu", tmp_path))
    (last,) = [row["value"] for row in state["curves"] if (row["metric"], row["epoch"]) == ("log_z", 1)]
    assert last == pytest.approx(model.prior.exact_log_z(), abs=1e-5)
    plain = plugin.fit(task, Run(0, "cpu", tmp_path / "plain"))
    assert not same_bits(state, plain)
    # averaging looks on: training itself takes the same steps
    losses = [[row["value"] for row in s["curves"] if row["metric"] == "score-matching"] for s in (state, plain)]
    assert losses[0] == losses[1]


def test_buffers_are_those_of_the_last_step(strategy: Callable[..., Any], task: Task, tmp_path: Path) -> None:
    plugin = quadratic(strategy("normal"))
    model = plugin.model

    def with_a_count(task: Task, run: Run) -> Any:
        made = model(task, run)
        made.vae.encoder.register_buffer("count", torch.zeros((), dtype=torch.int64))
        made.vae.encoder.register_forward_pre_hook(count)
        return made

    def count(module: Any, _: Any) -> None:
        module.count.add_(1)

    object.__setattr__(plugin, "__dict__", {**plugin.__dict__, "model": with_a_count})
    state = plugin.fit(budgeted(task, average={"decay": 0.5}), Run(0, "cpu", tmp_path))
    assert int(state["modules"]["encoder"]["count"]) == 2  # looked at once an epoch


OPTIONLESS = [
    ("normal", {}),
    ("vampprior", {"components": 3}),
    ("importance-weighted", {"samples": 2, "energy": Grbm(hidden=3)}),
    ("importance-weighted", {"samples": 2, "energy": Grbm(hidden=3), "form": "likelihood"}),
]


@pytest.mark.parametrize(("name", "hyper"), OPTIONLESS)
def test_a_warm_up_of_weight_1_and_a_norm_that_is_never_reached_change_nothing(
    name: str, hyper: dict[str, Any], strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin = strategy(name, **hyper)
    ways: list[dict[str, Any]] = [{}, {"warmup": {"epochs": 1e-9}}, {"clip": 1e9}]
    none, *others = [
        plugin.fit(budgeted(task, epochs=1, **way), Run(0, "cpu", tmp_path / str(i))) for i, way in enumerate(ways)
    ]
    assert all(same_bits(none, other) for other in others)


def test_the_weight_of_the_kl_term_rises_to_1_at_the_end_of_its_warm_up() -> None:
    pace = Pace(Budget(epochs=4, warmup=Warmup(epochs=1.5)), 10, torch.device("cpu"))
    weights = [float(weight) for step in range(40) if (weight := pace.at(step).weight) is not None]
    np.testing.assert_allclose(weights, [min(1, (step + 1) / 15) for step in range(40)], rtol=1e-6)
    assert Pace(Budget(), 10, torch.device("cpu")).weight is None


def first_losses(plugin: Any, model: Any, x: Tensor, weight: float | None) -> tuple[dict[str, Tensor], Batch]:
    batch = Batch(x, Stream(0, "posterior"), Stream(0, "prior"), None if weight is None else torch.tensor(weight))
    for stream in (batch.posterior, batch.prior):
        stream.at(0)
    return dict(plugin.losses(model, batch)), batch


@pytest.mark.parametrize(
    ("name", "hyper"),
    [*OPTIONLESS, ("sliced-score-matching", {"energy": Grbm(hidden=3)}), ("latent-mixture", {"components": 2})],
)
def test_the_weight_multiplies_the_kl_term_of_what_reaches_the_encoder_and_curves_show_weight_1(
    name: str, hyper: dict[str, Any], strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin = strategy(name, **hyper)
    model = plugin.model(task, Run(0, "cpu", tmp_path))
    x = task.dataset.prepare(torch.from_numpy(task.splits.train[:8]), Stream(0, "binarise").at(0))
    (plain, _), (none, _), (half, batch) = (first_losses(plugin, model, x, weight) for weight in (None, 0.0, 0.5))
    torch.testing.assert_close(batch.shown["bound"], plain["bound"].detach())
    # at weight 0 nothing of prior and posterior density is left
    posterior = model.vae.encoder(x)
    samples = (hyper["samples"],) if "samples" in hyper else ()
    z = posterior.sample(Stream(0, "posterior").at(0).normal(*samples, *posterior.mean.shape))
    log_likelihood = model.vae.log_likelihood(x, z)
    pooled = objectives.log_mean_exp(log_likelihood) if hyper.get("form") == "likelihood" else log_likelihood
    torch.testing.assert_close(none["bound"], -pooled.mean())
    if hyper.get("form") != "likelihood":  # it is linear in the weight
        torch.testing.assert_close(half["bound"], (none["bound"] + plain["bound"]) / 2)
    for loss in plain.keys() - {"bound"}:
        assert torch.equal(plain[loss], half[loss])


def test_a_loss_that_does_not_weigh_its_kl_term_cannot_be_warmed_up(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin, warm = quadratic(strategy("normal")), budgeted(task, warmup={"epochs": 1})
    words = (
        'the loss "bound" reaches the encoder and does not weigh its KL term by `batch.weighted`, as train.warmup asks'
    )
    with pytest.raises(UserError, match=words):
        plugin.fit(warm, Run(0, "cpu", tmp_path))


def test_a_norm_bounds_each_group_that_it_names(
    strategy: Callable[..., Any], task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: dict[str, list[float]] = {}
    adam = Mover.adam

    def watched(self: Mover, gradients: Sequence[Tensor]) -> None:
        first = 0
        for group, own in self.groups.items():
            norms.setdefault(group, []).append(
                float(torch.nn.utils.get_total_norm(gradients[first : first + len(own)]))
            )
            first += len(own)
        adam(self, gradients)

    monkeypatch.setattr(Mover, "adam", watched)
    one = {"epochs": 1, "batch_size": 150}

    def largest(clip: Any, folder: str) -> list[float]:
        norms.clear()
        strategy("normal").fit(budgeted(task, **one, clip=clip), Run(0, "cpu", tmp_path / folder))
        return [max(own) for own in norms.values()]

    encoder, decoder = largest(None, "free")
    assert min(encoder, decoder) > 2
    assert largest(2.0, "both") == pytest.approx([2, 2], rel=1e-4)
    clipped, free = largest(Clip(encoder=2.0), "one")
    assert clipped == pytest.approx(2, rel=1e-4)
    assert free > 2


@pytest.mark.parametrize("name", ["latent-mixture", "noise-contrastive"])
def test_a_second_stage_is_fitted_to_the_averaged_models_latents(
    name: str, strategy: Callable[..., Any], task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = strategy(name, **({"components": 2} if name == "latent-mixture" else {"energy": Mlp(hidden=8)}))
    seen: list[Tensor] = []
    fit, losses = type(plugin).fit_latents, type(plugin).latent_losses

    def fitted(self: Any, model: Any, latents: Tensor, noise: Any) -> None:
        seen.append(latents)
        fit(self, model, latents, noise)

    def of_latents(self: Any, model: Any, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        with torch.no_grad():
            seen.append(model.vae.encoder(batch.x).mean)
            items.append(batch.x)
        yield from losses(self, model, batch)

    items: list[Tensor] = []
    monkeypatch.setattr(type(plugin), "fit_latents", fitted)
    monkeypatch.setattr(type(plugin), "latent_losses", of_latents)
    run = Run(0, "cpu", tmp_path)
    averaged = budgeted(task, average={"decay": 0.95})
    state = plugin.fit(averaged, run)
    model = plugin.restored(state, averaged, run)
    _, saved = files.latest(tmp_path / staged.VAE_STAGE, CHECKPOINT, print, "", torch.device("cpu")) or (None, {})
    assert all(torch.equal(saved["averages"]["encoder"][n], w) for n, w in state["modules"]["encoder"].items())
    assert any(not torch.equal(saved["modules"]["encoder"][n], w) for n, w in state["modules"]["encoder"].items())
    with torch.no_grad():
        for z, x in itertools.zip_longest(seen, items):
            torch.testing.assert_close(
                z, staged._latents(model, averaged, run) if x is None else model.vae.encoder(x).mean
            )


def test_an_adversarys_lag_is_that_behind_the_latest_prior(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin = strategy("adversarial", hidden=[8], transforms=1, energy=Grbm(hidden=3))
    averaged = budgeted(task, epochs=1, batch_size=150, average={"decay": 0.95})
    run = Run(0, "cpu", tmp_path)
    asked = iter([False] * 4)
    with pytest.raises(Stopped):  # an interruption leaves no trace
        plugin.fit(averaged, replace(run, stop_requested=lambda: next(asked, True)))
    state = plugin.fit(averaged, run)
    assert same_bits(state, plugin.fit(averaged, replace(run, folder=tmp_path / "whole")))
    scores = {score.metric.name: score for score in plugin.evaluate(state, averaged, run).scores}
    plain = plugin.fit(budgeted(averaged, average={"decay": 0.0}), replace(run, folder=tmp_path / "plain"))
    unaveraged = {score.metric.name: score for score in plugin.evaluate(plain, averaged, run).scores}
    for name in ("adversary_lag", "adversary_bound"):
        assert scores[name].value == pytest.approx(unaveraged[name].value, abs=1e-6)
    assert scores["log_z"].value != pytest.approx(unaveraged["log_z"].value, abs=1e-4)


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        ({"schedule": {"share": 0.5}}, "a constant rate has neither share nor epochs"),
        ({"schedule": {"kind": "cosine"}}, "kind = 'cosine' needs a share below 1, to which the rate comes"),
        ({"schedule": {"kind": "step", "share": 0.2}}, "kind = 'step' needs epochs above 0"),
        (
            {"epochs": 2, "schedule": {"kind": "step", "share": 0.2, "epochs": 3}},
            "schedule: a warm-up of 0 and an end of 3 epochs do not go into 2 epochs of training",
        ),
        ({"epochs": 2, "warmup": {"epochs": 3}}, "warmup.epochs = 3 is more than the 2 epochs of training"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(ways: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Budget.model_validate(ways)


def test_a_priors_own_schedule_that_does_not_go_into_training_is_refused(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    late = Schedule(kind="step", share=0.2, epochs=3)
    with pytest.raises(
        UserError, match="learning rate of prior: a warm-up of 0 and an end of 3 epochs do not go into 2"
    ):
        strategy("stein", lr_schedule=late).fit(task, Run(0, "cpu", tmp_path))


def test_what_is_off_is_no_part_of_a_request_and_what_is_on_is_in_the_record() -> None:
    off = Budget.model_validate(
        {"schedule": {"kind": "constant"}, "clip": None, "average": {"decay": 0}, "warmup": {"epochs": 0}}
    )
    assert off == Budget()
    assert off.model_dump(round_trip=True).keys() == {"epochs", "batch_size", "optimiser"}
    assert set(off.options.values()) == {None}
    step = {"kind": "step", "share": 0.2, "epochs": 3.0, "warmup": 0.0}
    on = Budget(
        schedule=Schedule.model_validate(step),
        clip=Clip(encoder=150.0, decoder=150.0),
        average=Average(decay=0.99),
        warmup=Warmup(epochs=5),
    )
    assert on.clip == 150
    assert Budget.model_validate(on.model_dump(mode="json", round_trip=True)) == on
    assert on.options == {
        "schedule": step,
        "clip": {"encoder": 150.0, "decoder": 150.0},
        "averaging": {"decay": 0.99},
        "warmup": {"epochs": 5.0},
    }
