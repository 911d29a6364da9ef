"""A folder of plugins, and sources for them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.plugins import Description, Registry

STRATEGY = '''
"""A strategy for tests."""
from __future__ import annotations
from typing import Annotated, ClassVar, Literal
from pydantic import Field
from bench.protocol import Search, Settings

class Energy(Settings):
    kind: Literal["grbm"] = Field("grbm", description="the family")
    hidden: int = Field(64, ge=1, description="hidden units")

class _Private(Settings):
    def fit(self): ...
    def evaluate(self): ...

class Toy(_Private):
    """The first line.

    More.
    """

    name: ClassVar[str]
    rate: Annotated[float, Field(gt=0, le=1, description="a rate"), Search(low=1e-4, high=0.1, log=True)] = 1e-3
    energy: Energy = Energy(hidden=16)
    widths: list[int] = Field([8, 8], min_length=1)
'''

DATASET = '''
from bench.protocol import Settings

class Points(Settings):
    """Points."""

    count: int = 10

    def load(self, folder): ...
    def prepare(self, x, noise): ...
'''

BODY = "\n    def fit(self): ...\n    def evaluate(self): ...\n"
BARE = f"from bench.protocol import Settings\nclass Bare(Settings):{BODY}"

Write = Callable[[str, str], Path]

NULL_BYTES = SyntaxError if sys.version_info >= (3, 11, 4) else ValueError  # what Python says of such a source


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plugin folder."""
    home = tmp_path / "plugins"
    (home / "strategies").mkdir(parents=True)
    (home / "datasets").mkdir()
    return home


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a strategy's file into the plugin folder."""

    def write(name: str, source: str) -> Path:
        file = folder / "strategies" / f"{name}.py"
        file.write_text(source)
        return file

    return write


def first(code: str) -> str:
    """The strategy of these tests, with some code before all other."""
    return STRATEGY.replace("from typing", f"{code}\nfrom typing", 1)


def described(folder: Path, name: str) -> Description:
    (found,) = [each for each in Registry([folder]).describe("strategy") if each.name == name]
    return found
