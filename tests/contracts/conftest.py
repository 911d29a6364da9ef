"""Plugins written for a test, and the verdict on one contract of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bench.contracts import Verdict, datasets, strategies
from bench.contracts.attempts import apart
from bench.contracts.verdicts import judge
from bench.plugins import Kind, Registry

HEADERS: dict[Kind, str] = {
    "strategy": """
from __future__ import annotations
import os, signal, sys, time
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal
import numpy as np
import torch
from pydantic import ConfigDict, Field, field_validator
from bench import energies, objectives, priors
from bench.protocol import Search, Settings
from bench.strategy import Energy, EnergyStrategy, Strategy
ALL = {group: frozenset({"bound"}) for group in ("encoder", "decoder", "prior")}
APART = {"encoder": frozenset({"bound"}), "decoder": frozenset({"bound"}), "prior": frozenset({"own"})}
""",
    "dataset": """
from __future__ import annotations
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
import numpy as np
import torch
from pydantic import Field
from bench.data import Binarised, Dataset, split
from bench.protocol import Splits
DRAW = np.random.default_rng(0)
POINTS = DRAW.normal(size=(100, 3)).astype(np.float32)
IMAGES = DRAW.integers(256, size=(100, 2, 2)).astype(np.uint8)
""",
}


SUITES: dict[Kind, ModuleType] = {"strategy": strategies, "dataset": datasets}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _server() -> None:
    """Start the server that processes are forked from, so that no time limit of a test counts its imports."""
    apart(int, file=Path(), limit=120)


@pytest.fixture
def verdict(tmp_path: Path, _server: None) -> Callable[..., Verdict]:
    """Write a plugin's class into a file and return the verdict on one contract."""

    def judged(kind: Kind, contract: str, source: str, limit: float = 60.0, **values: Any) -> Verdict:
        file = tmp_path / "broken.py"
        file.write_text(HEADERS[kind] + source)
        plugin = Registry().find(kind, str(file))
        plugin.load()
        folder = tmp_path / "work"
        folder.mkdir()
        suite = SUITES[kind]
        (chosen,) = [candidate for candidate in suite.CONTRACTS if candidate.name == contract]
        subject = suite.Subject(plugin, values, folder, folder, limit)
        (outcome,) = judge([replace(chosen, needs=())], subject)
        return outcome

    return judged
