"""Cells of a fake strategy that ends in whatever way it is told to, and a run store for them."""

from __future__ import annotations

import shutil
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
from tests.report.conftest import Synthetic

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


POINT = {"epoch": 1, "step": 1, "metric": "bound", "value": 3.0}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run store with records, curves, arrays, a failed cell with its log, and what is not to be given away."""
    mine = Synthetic(tmp_path_factory.mktemp("mine") / "runs" / "mnist")
    mine.put("normal", 0, 95.0, curves=[POINT])
    mine.put("normal", 1, 97.0, spread=2.0, curves=[POINT])
    failed = mine.put("vampprior[components=16]", 0, status="crashed", reason="signal 9")
    for name in ("log-1.txt", "log-2.txt", "attempt-1.json", "request.json", "state.pt", "workspace/model.pt"):
        (failed.parent / name).parent.mkdir(exist_ok=True)
        (failed.parent / name).write_text(f"this is {name}")
    mine.store.extend((2, 3))
    mine.store.keep(b"somebody's images")
    (mine.folder / "launches").mkdir()
    return mine.folder


@pytest.fixture
def mine(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_STORE", raising=False)
    shutil.copytree(original, tmp_path / "mine" / "mnist")
    return tmp_path / "mine" / "mnist"
