"""The strategy of `results/plugins` that changes one setting of score matching at a time."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contracts.task import small
from bench.plugins import Registry
from bench.protocol import Run

FOLDER = Path(__file__).resolve().parents[2] / "results" / "plugins"
registry = functools.cache(lambda: Registry([FOLDER]))


def model(folder: Path, plugin: str = "ablated-score-matching", **values: Any) -> tuple[Any, Any]:
    """Return a strategy and its untrained model, always of one seed."""
    strategy: Any = registry().find("strategy", plugin).load()(**values)
    return strategy, strategy.model(small(strategy), Run(0, "cpu", folder))


def test_by_default_it_begins_as_score_matching_does(tmp_path: Path) -> None:
    _, ablated = model(tmp_path)
    _, plain = model(tmp_path, "sliced-score-matching")
    assert all(torch.equal(a, b) for a, b in zip(ablated.prior.parameters(), plain.prior.parameters(), strict=True))


def test_the_first_weights_and_nothing_else_are_scaled(tmp_path: Path) -> None:
    (_, once), (_, thrice) = model(tmp_path), model(tmp_path, scale=3.0)
    own, scaled = dict(once.prior.named_parameters()), dict(thrice.prior.named_parameters())
    assert torch.equal(scaled.pop("weight"), 3 * own.pop("weight"))
    assert scaled
    assert all(torch.equal(own[name], value) for name, value in scaled.items())


def test_each_step_of_the_prior_is_a_loss_with_directions_of_its_own(tmp_path: Path) -> None:
    strategy, own = model(tmp_path, steps=3)
    z = torch.randn(5, next(own.prior.parameters()).shape[0], generator=torch.Generator().manual_seed(0))
    signs = torch.Generator().manual_seed(1)

    class Signs:
        def rademacher(self, *shape: int) -> torch.Tensor:
            return 2.0 * torch.randint(0, 2, shape, generator=signs) - 1

    losses = [(name, loss.item()) for name, loss in strategy.objective(own, z, None, Signs())]
    assert [name for name, _ in losses] == ["score-matching"] * 3
    assert len({loss for _, loss in losses}) == 3


def test_only_a_grbm_has_weights_to_scale() -> None:
    cls: Any = registry().find("strategy", "ablated-score-matching").load()
    mlp = registry().find("energy", "mlp").load()()
    with pytest.raises(ValueError, match=r"scale = 3 needs energy\.kind = 'grbm', and it is 'mlp'"):
        cls(energy=mlp, scale=3.0)
