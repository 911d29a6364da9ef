"""Which scores a cell's models may have is known before any is trained, as far as it can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bench.grid as grids
from bench import metrics
from bench.contracts import write
from bench.grid import Cell, Grid
from bench.plugins import Registry
from bench.protocol import Metric
from bench.report.metrics import MEANINGS

FAKES = Path(__file__).parent / "tuning" / "fakes"
BUILT_IN = Registry()


def grid_of(name: str, strategies: list[str], **settings: Any) -> Grid:
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    return grids.load(name, BUILT_IN, settings=changes, strategies=strategies)


def cell_of(name: str, strategy: str, **settings: Any) -> Cell:
    return grid_of(name, [strategy], **settings).cells[0]


def test_what_scoring_gives_is_what_is_said_of_it() -> None:
    from bench.estimators import bits, bounds, density, distances, evidence, normalisation, subject
    from bench.strategy import general

    modules: list[ModuleType] = [bits, bounds, density, distances, evidence, normalisation, subject]
    named = [value for module in modules for value in vars(module).values() if isinstance(value, Metric)]
    assert {metric.name: metric.better for metric in named} == metrics.SCORED
    assert metrics.SCORED.keys() == MEANINGS.keys()
    assert general.Strategy.evaluate.__module__ == metrics.SHARED


def test_what_an_evaluation_gives_by_the_bound_alone_is_what_is_said_of_it() -> None:
    from bench.estimators import bounds, normalisation, subject

    named = (bounds.VLB, bounds.KL, bounds.RECONSTRUCTION, subject.LOG_Z, normalisation.LOG_Z_CHECK)
    assert tuple(metric.name for metric in named) == metrics.BOUND


DIGITS = "vlb, nll, nll_ais, sliced_wasserstein, c2st, precision, recall"


@pytest.mark.parametrize(
    ("cell", "metric", "why"),
    [
        (("digits", "normal", {}), "nope", f'digits normal have no score "nope"; they may have {DIGITS}'),
        (("digits", "normal", {}), "vbl", f'have no score "vbl"; did you mean "vlb"? they may have {DIGITS}'),
        (("digits", "normal", {}), "kl_data", "for no density of digits is known; they may have vlb"),
        (("digits", "normal", {}), "vlb_bits", "have no score vlb_bits, for digits is scored in nats"),
        (("digits", "normal", {"evaluate__ais_nll__images": 0}), "nll_ais", "for evaluate.ais_nll.images = 0; they"),
        (("digits", "normal", {"evaluate__ais_nll__simulated": 0}), "bdmc_gap", "evaluate.ais_nll.simulated = 0"),
        (
            ("digits", "normal", {"evaluate__bound_alone": True}),
            "recall",
            "evaluate.bound_alone = true; they may have vlb",
        ),
        (
            ("digits", "normal", {}),
            "log_z",
            "neither a lower nor a higher log_z is better; models of digits normal may",
        ),
        (("digits", "normal", {}), "reconstruction", "neither a lower nor a higher reconstruction is better"),
        (("digits", "adversarial", {}), "adversary_bound", "neither a lower nor a higher adversary_bound is better"),
        (("digits", "normal", {}), "adversary_lag", 'normal have no score "adversary_lag"'),
        (("digits", "adversarial", {}), "adversary_lag", ""),
        (("toy", "normal", {}), "kl_data", ""),
        (("cifar10", "normal", {}), "vlb_bits", ""),
        (("digits", "normal", {}), "recall", ""),
    ],
)
def test_a_metric_that_no_model_of_a_cell_can_have_is_told_with_the_reason(
    cell: tuple[str, str, dict[str, Any]], metric: str, why: str
) -> None:
    name, strategy, settings = cell
    said = metrics.refusal(metric, cell_of(name, strategy, **settings), BUILT_IN)
    assert why in said
    assert bool(said) == bool(why)
    assert "\n" not in said


def test_a_latent_space_too_large_for_quadrature_is_the_reason() -> None:
    cell = cell_of("toy", "normal")
    wide = replace(cell, networks=cell.networks | {"latent": 3})
    assert "have no score nll_exact, for networks.latent = 3 is above 2" in metrics.refusal("nll_exact", wide, BUILT_IN)


@pytest.mark.parametrize(
    "grid", ["digits", "digits-full", "digits-annealed", "mnist", "mnist-annealed", "toy", "cifar10"]
)
def test_the_grids_that_come_with_bench_may_be_judged_by_their_headline_metric(grid: str) -> None:
    assert metrics.unjudged(grids.load(grid, BUILT_IN), BUILT_IN) == ""


def test_a_plugin_may_bring_a_metric_of_its_own() -> None:
    registry = Registry([FAKES])
    tables = {"dataset": [{"name": "drawn"}], "networks": {"latent": 2}, "strategy": [{"name": "hits"}]}
    grid = grids.expand(tables, registry, name="fakes", where="fakes")
    for metric in ("share", "nope", "kl_data", "vbl", "log_z"):
        assert metrics.refusal(metric, grid.cells[0], registry) == ""
    assert metrics.doubt("share", grid.cells) == ""
    assert metrics.doubt("vbl", grid.cells) == (
        'whether models have a score "vbl" is seen once one is scored, for a plugin may bring its own;'
        ' did you mean "vlb"?'
    )


def test_a_plugin_that_shares_scoring_has_what_that_gives_and_perhaps_more(tmp_path: Path) -> None:
    write("strategy", "mine", tmp_path)
    registry = Registry([tmp_path])
    cell = grids.load("digits", registry, strategies=["mine"]).cells[0]
    assert metrics.refusal("own", cell, registry) == ""
    assert "no density of digits is known" in metrics.refusal("kl_data", cell, registry)
    assert "neither a lower nor a higher log_z" in metrics.refusal("log_z", cell, registry)


def test_a_grid_that_no_metric_of_its_models_judges_says_so() -> None:
    asked = grid_of("digits", ["normal", "vampprior"], headline__metric="nope")
    assert metrics.unjudged(asked, BUILT_IN) == (
        f'no verdicts by headline.metric: models of digits normal have no score "nope"; they may have {DIGITS}'
    )
    some = grid_of("digits", ["normal", "adversarial"], headline__metric="adversary_lag")
    assert metrics.unjudged(some, BUILT_IN) == ""
    assert metrics.unjudged(grid_of("digits", ["normal"], headline__metric=""), BUILT_IN) == ""
