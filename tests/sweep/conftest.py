"""Cells of a fake strategy that ends in whatever way it is told to, and a run store for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench.grid as grids
from bench.plugins import Registry
from bench.sweep.circumstances import provenance
from bench.sweep.status import Survey, survey
from bench.sweep.store import Store
from bench.sweep.worker import Setup

FAKES = Path(__file__).with_name("fakes")

Look = Callable[..., Survey]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Registry([FAKES])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs" / "fakes")


@pytest.fixture
def look(store: Store, registry: Registry) -> Look:
    """Survey the cells of the strategy `actor` that end in the given ways."""

    def look(*how: str, seeds: int = 1, evaluate: dict[str, Any] | None = None, **hyper: Any) -> Survey:
        source = {
            "title": "fakes",
            "seeds": seeds,
            "dataset": [{"name": "points"}],
            "networks": {"latent": 2},
            "train": {"epochs": 1},
            "evaluate": evaluate or {},
            "strategy": [{"name": "actor", "how": list(how), **hyper}],
        }
        return survey(grids.expand(source, registry, name="fakes", where="fakes.toml"), store, registry)

    return look


@pytest.fixture
def setup(store: Store, registry: Registry, tmp_path: Path) -> Setup:
    return Setup("fakes", store.folder, registry, tmp_path, "cpu", provenance("cpu"))
