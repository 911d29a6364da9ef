"""Strategies trained a little on points in the plane are scored against the known density."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.networks.densenet import Densenet
from bench.plugins import Registry, build
from bench.protocol import AisNll, Budget, Diverged, Evaluation, Networks, Run, Scores, Task

DENSE = Densenet(hidden=[8, 8])
EXACT = {"nll_exact", "kl_data"}
DISTANCES = {"sliced_wasserstein", "c2st", "precision", "recall"}


def scored(folder: Path, strategy: str, latent: int = 2, **hyper: Any) -> Scores:
    """Return the scores, on 500 points, of a strategy that saw 2,000 points of the board once."""
    registry = Registry()
    dataset: Any = build(registry.find("dataset", "checkerboard"), {"validation": 20_000}, "test")
    model: Any = build(registry.find("strategy", strategy), hyper, "test")
    networks = Networks(encoder=DENSE, decoder=DENSE, latent=latent)
    budget = Budget(epochs=1, batch_size=2000)
    annealed = AisNll(images=20, simulated=20, temperatures=10, chains=2)
    evaluation = Evaluation(images=500, importance_samples=20, ais_nll=annealed)
    task = Task(dataset, dataset.load(folder), networks, budget, evaluation)
    run = Run(seed=0, device="cpu", folder=folder)
    scores: Scores = model.evaluate(model.fit(task, run), task, run)
    return scores


@pytest.mark.parametrize(
    ("strategy", "hyper"),
    [
        ("normal", {}),
        ("vampprior", {"components": 8}),
        ("flow", {"transforms": 1, "hidden": [8]}),
        (
            "sliced-score-matching",
            {"energy": {"kind": "grbm", "hidden": 4}, "sampler": {"kind": "gibbs-langevin", "steps": 5}},
        ),
    ],
)
def test_every_kind_of_prior_has_an_exact_likelihood(strategy: str, hyper: dict[str, Any], tmp_path: Path) -> None:
    scores = scored(tmp_path, strategy, **hyper)
    found = {score.metric.name: score for score in scores.scores}
    assert found.keys() >= EXACT | DISTANCES
    assert found["nll_exact"].unreliable == ""
    # bounds on -log p(x): the importance-weighted one is above it up to its own error, the other above both
    nll, exact = found["nll"], found["nll_exact"]
    assert nll.value > exact.value - 4 * nll.stderr_mc
    assert found["vlb"].value > exact.value
    # the board's entropy is log 32
    assert exact.value - found["kl_data"].value == pytest.approx(np.log(32))
    assert {"points_data", "points_sampler", "density_model"} <= scores.arrays.keys()


def test_in_three_latent_dimensions_there_is_none(tmp_path: Path) -> None:
    found = {score.metric.name for score in scored(tmp_path, "normal", latent=3).scores}
    assert found >= {"nll", *DISTANCES}
    assert not found & EXACT


def test_an_energy_that_does_not_integrate_ends_as_diverged(tmp_path: Path) -> None:
    """A perceptron alone, which tilts nothing, need not fall off: an outcome to be recorded, and no crash."""
    hyper: dict[str, Any] = {
        "energy": {"kind": "untilted-mlp", "hidden": 8},
        "negatives": {"kind": "langevin", "steps": 1},
    }
    with pytest.raises(Diverged, match="the density does not fall off away from its samples at step 10"):
        scored(tmp_path, "contrastive-divergence", **hyper)
