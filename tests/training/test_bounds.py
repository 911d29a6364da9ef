"""What is shown of the bound while a model trains: with log Z, or said to lack it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.energies.grbm import Grbm
from bench.energies.mlp import Mlp
from bench.energies.untilted_mlp import UntiltedMlp
from bench.estimators.partition import by_quadrature
from bench.objectives import negative_bound
from bench.protocol import Budget, Run, Task
from bench.streams import stream
from bench.training.model import WATCHED, latents

WITH, WITHOUT = "bound with log Z", "bound without log Z"

Shown = tuple[dict[int, dict[str, float]], dict[str, float]]


def in_plane(task: Task) -> Task:
    return replace(task, networks=task.networks.model_copy(update={"latent": 2}))


def shown(plugin: Any, task: Task, folder: Path) -> Shown:
    """Train, and return the curves, epoch -> metric -> value, and the figures of the last report within an epoch."""
    told: list[dict[str, float]] = []

    def progress(*, stage: str, done: int, total: int, epoch: int = 0, **figures: float) -> None:
        told.append(figures)

    state = plugin.fit(task, Run(0, "cpu", folder, progress))
    curves: dict[int, dict[str, float]] = {}
    for row in state["curves"]:
        curves.setdefault(row["epoch"], {})[row["metric"]] = row["value"]
    return curves, told[-2]  # the last of all comes with the checkpoint at the end


def test_under_a_normalised_prior_the_loss_is_the_bound(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    curves, told = shown(strategy("normal"), task, tmp_path)
    assert "bound" in curves[1]
    assert "bound" in told
    assert not {WITH, WITHOUT} & (curves[1].keys() | told.keys())


@pytest.mark.parametrize(
    ("name", "hyper", "planar"),
    [
        ("sliced-score-matching", {"energy": Grbm(hidden=3)}, False),  # enumeration
        ("tilted", {"energy": Mlp(hidden=8), "negatives": {"steps": 1}}, True),  # quadrature
    ],
)
def test_under_another_one_it_lacks_log_z_and_an_epoch_ends_with_the_bound_where_log_z_is_cheap(
    strategy: Callable[..., Any], task: Task, tmp_path: Path, name: str, hyper: dict[str, Any], planar: bool
) -> None:
    task = replace(in_plane(task) if planar else task, budget=Budget(epochs=2))
    plugin = type(strategy(name)).model_validate(hyper, strict=False)
    curves, told = shown(plugin, task, tmp_path)
    assert "bound" not in curves[1].keys() | told.keys()
    assert told[WITH] == curves[0][WITH]  # of the epoch before: the last report comes before the last epoch's end
    state = plugin.fit(task, Run(0, "cpu", tmp_path))
    model = plugin.restored(state, task, Run(0, "cpu", tmp_path))
    with torch.no_grad():
        x, posterior, z = latents(model, task, WATCHED, stream(0, "evaluate/watched/latents"))
        exact = model.prior.exact_log_z() or by_quadrature(model.prior, z).value
        truth = float(negative_bound(model.vae, model.prior, x, posterior, z)) + exact
    assert curves[1][WITH] == pytest.approx(truth, abs=2e-3)
    assert curves[1]["log_z"] == pytest.approx(exact, abs=2e-3)
    # a mean over the epoch, and not of its end: near, and wrong by log Z
    assert curves[1][WITHOUT] + exact == pytest.approx(truth, rel=0.1)


def test_where_log_z_is_not_cheap_there_is_no_bound(strategy: Callable[..., Any], task: Task, tmp_path: Path) -> None:
    plugin = strategy("denoising-score-matching", energy=Grbm(hidden=24))
    curves, told = shown(plugin, replace(task, budget=Budget(epochs=1)), tmp_path)
    assert WITHOUT in curves[0]
    assert "log_z" in curves[0]  # by a few chains: no bound can be had from that
    assert not {WITH, "bound"} & (curves[0].keys() | told.keys())


def test_an_energy_without_an_integral_has_no_bound_and_goes_on(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin = strategy("denoising-score-matching", energy=UntiltedMlp(hidden=8))
    curves, _ = shown(plugin, in_plane(task), tmp_path)
    assert WITHOUT in curves[1]
    assert not {WITH, "log_z", "bound"} & curves[1].keys()


def test_a_first_stage_shows_the_bound_under_its_own_prior(
    strategy: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    plugin = strategy("noise-contrastive", energy=Mlp(hidden=8))
    curves, _ = shown(plugin, in_plane(task), tmp_path)
    assert "bound" in curves[1]
    assert not {WITH, WITHOUT} & curves[1].keys()
    assert WITH in curves[3]
    assert not {"bound", WITHOUT} & curves[3].keys()


def test_a_loss_with_a_log_z_of_its_own_says_so(strategy: Callable[..., Any], task: Task, tmp_path: Path) -> None:
    for form in ("bound", "likelihood"):
        plugin = strategy("importance-weighted", form=form, samples=2, energy=Grbm(hidden=3))
        curves, _ = shown(plugin, replace(task, budget=Budget(epochs=1)), tmp_path / form)
        assert f"{form} with log Z from the posterior" in curves[0]
        assert WITH in curves[0]
        assert not {"bound", WITHOUT} & curves[0].keys()
