"""The strategy of `results/plugins` that restrains the adversary's energy in one way at a time."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contracts.task import small
from bench.plugins import Registry
from bench.protocol import Run
from bench.streams import Stream

FOLDER = Path(__file__).resolve().parents[2] / "results" / "plugins"
registry = functools.cache(lambda: Registry([FOLDER]))


def losses(folder: Path, plugin: str = "restrained-adversarial", **values: Any) -> tuple[dict[str, float], Any]:
    """Return the losses of an untrained model's step by name, and the model: the same seed and z always."""
    strategy: Any = registry().find("strategy", plugin).load()(**values)
    model: Any = strategy.model(small(strategy), Run(0, "cpu", folder))
    z = torch.randn(500, next(model.prior.parameters()).shape[0], generator=torch.Generator().manual_seed(0))
    noise = Stream(0, "test")
    return {name: loss.item() for name, loss in strategy.objective(model, z, None, noise)}, (model, z)


def test_without_a_restraint_it_is_the_adversary(tmp_path: Path) -> None:
    assert losses(tmp_path)[0] == losses(tmp_path, "adversarial")[0]


def test_the_penalty_is_of_the_squared_energy_on_either_side(tmp_path: Path) -> None:
    plain, (model, z) = losses(tmp_path)
    penalised, _ = losses(tmp_path, penalty=0.1)
    assert penalised["adversary"] == plain["adversary"]
    flow = model.others["adversary"]()
    with torch.no_grad():
        squares = [
            model.prior.energy(draws).square() for draws in (z, flow.transform.inv(torch.randn(100_000, z.shape[1])))
        ]
        expected = 0.05 * sum(square.mean() for square in squares)
        error = 0.05 * squares[1].std() / len(z) ** 0.5
    assert penalised["contrast"] - plain["contrast"] == pytest.approx(float(expected), abs=4 * float(error))


def test_only_the_priors_gradient_is_clipped() -> None:
    cls: Any = registry().find("strategy", "restrained-adversarial").load()
    clipped = cls(prior_clip=5.0)
    assert {group: clipped.clip(group) for group in ("encoder", "adversary", "prior")} == {
        "encoder": None,
        "adversary": None,
        "prior": 5.0,
    }
    assert cls().clip("prior") is None
