"""Plugins that are small, and a grid of them."""

# ruff: noqa: E501 - a source stands as it is written

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.grid import Cell, load
from bench.plugins import Registry
from bench.protocol import UserError

PLUGINS = {
    "strategies/plain.py": """
from bench.protocol import Settings
class Plain(Settings):
    def fit(self): ...
    def evaluate(self): ...
""",
    "strategies/fancy_one.py": """
from typing import Literal
from pydantic import Field
from bench.protocol import Settings
class Energy(Settings):
    kind: Literal["grbm"] = "grbm"
    hidden: int = Field(64, ge=1)
    widths: list[int] = [8]
class Fancy(Settings):
    components: int = Field(16, ge=1, le=1000)
    rate: float = Field(2e-4, gt=0)
    variant: Literal["sliced", "exact"] = "sliced"
    energy: Energy = Energy(hidden=32)
    def fit(self): ...
    def evaluate(self): ...
""",
    "strategies/broken.py": "import no_such_library",
    "datasets/dots.py": """
from pydantic import Field
from bench.protocol import Settings
class Dots(Settings):
    validation: int = Field(0, ge=0)
    def refuses(self, networks):
        return None if networks.latent <= 99 else f"networks.latent = {networks.latent} is too large; at most 99 is allowed"
    def load(self, folder): ...
    def prepare(self, x, noise): ...
""",
}

BASE = """
title = "A test"
seeds = 2
[[dataset]]
name = "dots"
[networks]
latent = 4
[train]
epochs = 3
[evaluate]
importance_samples = 10
[[strategy]]
name = "plain"
[[strategy]]
name = "fancy-one"
"""

Load = Callable[..., tuple[Cell, ...]]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    for name, source in PLUGINS.items():
        file = tmp_path / "plugins" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return Registry([tmp_path / "plugins"])


@pytest.fixture
def cells(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write a grid (the base, with more at its end) and return its cells."""
    monkeypatch.chdir(tmp_path)

    def cells(more: str = "", base: str = BASE, **arguments: Any) -> tuple[Cell, ...]:
        (tmp_path / "g.toml").write_text(base + more)
        return load("g.toml", registry, **arguments).cells

    return cells


def refused(load: Callable[[], object]) -> str:
    with pytest.raises(UserError) as raised:
        load()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def hyper(cells: tuple[Cell, ...], key: str) -> list[Any]:
    """One hyper-parameter of the fancy cells of seed 0."""
    return [cell.hyper[key] for cell in cells if cell.strategy == "fancy-one" and cell.seed == 0]
