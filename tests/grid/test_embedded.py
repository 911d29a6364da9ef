"""The grids that come with bench are those of the paper, and more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.grid import load
from bench.plugins import Registry
from bench.protocol import Schedule

# ---------------------------------------------------------------- the grids that come with bench


def test_the_embedded_grids_expand() -> None:
    registry = Registry()
    digits, mnist = load("digits-full", registry), load("mnist", registry)
    every = {name for name in registry.names("strategy") if not name.endswith("-pixels")}
    assert {cell.strategy for cell in digits.cells} == every, "every built-in strategy that scores binary images"
    energies = [cell.hyper["energy"] for cell in digits.cells if "energy" in cell.hyper]
    assert {energy["hidden"] for energy in energies if energy["kind"] == "grbm"} == {16}, "log Z by enumeration"
    assert len(digits.cells) == 48
    assert [cell.label for cell in mnist.cells if cell.seed == 0] == [
        "normal", "gaussian", "vampprior[components=16]", "vampprior[components=500]",
        "sliced-score-matching[variant=variance-reduced]", "sliced-score-matching[variant=sliced]", "adversarial",
    ]  # fmt: skip


def test_the_first_grid_is_part_of_the_full_one() -> None:
    registry = Registry()
    first, full = load("digits", registry), load("digits-full", registry, seeds=5)
    assert {cell.id for cell in first.cells} < {cell.id for cell in full.cells}, "so that one store serves both"
    assert len(first.cells) == 35
    assert len({cell.strategy for cell in first.cells}) == 7
    assert first.headline == full.headline


@pytest.mark.parametrize(
    ("name", "twin", "epochs", "clip"),
    [
        ("mnist", "mnist", 3, 150),
        ("cifar10", "cifar10", 10, 6000),
        ("cifar10-subset", "cifar10-subset", 10, 6000),
        ("digits", "digits-full", 4, 7),
    ],
)
def test_an_annealed_grid_differs_from_its_twin_in_how_steps_are_taken_alone(
    name: str, twin: str, epochs: float, clip: float
) -> None:
    registry = Registry()
    plain, annealed = load(twin, registry), load(f"{name}-annealed", registry)
    constant = {"schedule": Schedule(), "clip": None}
    for cell, other in zip(annealed.cells, plain.cells, strict=True):
        ways = (cell.budget.schedule, cell.budget.clip)
        assert ways == (Schedule(kind="step", share=0.2, epochs=epochs), clip)
        assert cell.budget.model_copy(update=constant) == other.budget
        assert replace(cell, id=other.id, budget=other.budget) == other
    assert annealed.headline == plain.headline


def test_the_cifar_grids_are_the_paper_s_table_2_and_its_section_4_3() -> None:
    registry = Registry()
    whole, subset = load("cifar10", registry), load("cifar10-subset", registry)
    for grid in (whole, subset):
        assert [cell.label for cell in grid.cells if cell.seed == 0] == [
            "uniform-pixels", "gaussian-pixels", "normal", "vampprior", "sliced-score-matching", "adversarial"
        ]  # fmt: skip
        assert len(grid.cells) == 18
        assert {cell.dataset for cell in grid.cells} == {grid.name}
        hyper = {cell.strategy: cell.hyper for cell in grid.cells}
        assert hyper["vampprior"]["components"] == 16
        for name in ("sliced-score-matching", "adversarial"):
            assert (hyper[name]["energy"], hyper[name]["lr"]) == ({"kind": "grbm", "hidden": 128}, 2e-4)
        cell = grid.cells[0]
        assert (cell.budget.epochs, cell.budget.batch_size, cell.budget.optimiser.lr) == (100, 1024, 1e-3)
        assert (cell.networks["latent"], registry.networks(cell.networks, "").refuses((3, 32, 32))) == (512, None)
        assert cell.networks["encoder"]["hidden"] == [32, 64, 128, 256]
        assert cell.networks["decoder"]["hidden"] == [256, 128, 64, 32]
    # what the two differ in: the data, the effort of scoring, and their titles
    assert [cell.budget for cell in whole.cells] == [cell.budget for cell in subset.cells]
    assert [cell.networks for cell in whole.cells] == [cell.networks for cell in subset.cells]
    assert (whole.title, "Subset" in subset.title) == ("Table 2, CIFAR-10", True)
    for grid, samples, temperatures in ((whole, 1000, 10_000), (subset, 100, 1000)):
        evaluation = grid.cells[0].evaluation
        assert (evaluation.importance_samples, evaluation.ais.temperatures) == (samples, temperatures)


def test_the_toy_grid_holds_the_paper_s_table_1_and_more() -> None:
    toy = load("toy", Registry())
    columns = {cell.label: cell for cell in toy.cells}
    assert list(columns)[:6] == [
        "normal", "importance-weighted[variance=learned]", "importance-weighted[variance=fixed]",
        "sliced-score-matching", "adversarial", "vampprior",
    ]  # fmt: skip
    assert len(toy.cells) == 7 * len(columns) * 3
    for cell in toy.cells:
        assert cell.networks["latent"] == 2
        for network in (cell.networks["encoder"], cell.networks["decoder"]):
            assert (network["kind"], network["hidden"]) == ("densenet", [16, 16, 16, 16])
        energy = cell.hyper.get("energy", {})
        # so few hidden units are enumerated
        assert energy.get("kind") != "grbm" or (energy["hidden"], cell.hyper["lr"]) == (16, 2e-4)
        if "sampler" in cell.hyper and energy["kind"] == "grbm":
            assert (cell.hyper["sampler"]["kind"], cell.hyper["sampler"]["steps"]) == ("gibbs-langevin", 100)
    assert columns["vampprior"].hyper["components"] == 128
