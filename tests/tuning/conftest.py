"""Tuning of fake strategies, whose best hyper-parameters are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.face import Tuned

FAKES = Path(__file__).with_name("fakes")
BEST = 2.0 - 0.5**2  # the variance of the data minus tau^2


def tables(*strategies: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a grid of fakes."""
    return {
        "title": "fakes",
        "seeds": 2,
        "dataset": [{"name": "drawn", **more.pop("data", {})}],
        "networks": {"latent": 2},
        "train": {"epochs": 1},
        "strategy": [{"name": "known", **strategy} for strategy in strategies or ({},)],
        **more,
    }


Tune = Callable[..., Tuned]


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tune:
    """Tune a grid in a run store of its own, in one process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "runs"))

    def tune(grid: Any = None, **how: Any) -> Tuned:
        usual: dict[str, Any] = {
            "jobs": 1,
            "progress": False,
            "plugins": [FAKES],
            "data_dir": tmp_path,
            "out": tmp_path,
        }
        how = usual | how
        return bench.tune(tables() if grid is None else grid, **how)

    return tune
