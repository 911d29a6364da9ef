"""Plugins written for a test, and the verdict on one contract of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bench.contracts import Verdict, datasets, energies, networks, strategies
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
from bench.energies.grbm import Grbm
from bench.protocol import Energy, Search, Settings
from bench.strategy import EnergyStrategy, Strategy
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
from bench.data.dequantised import Dequantised
from bench.protocol import Items, Splits
DRAW = np.random.default_rng(0)
POINTS = DRAW.normal(size=(100, 3)).astype(np.float32)
IMAGES = DRAW.integers(256, size=(100, 2, 2)).astype(np.uint8)
""",
}


HEADERS["network"] = """
from __future__ import annotations
import math
from typing import ClassVar
import torch
from pydantic import Field
from torch import nn
from bench.protocol import Network

class _Base(Network):
    def encoder(self, shape, outputs):
        return self.made(math.prod(shape), outputs)

    def decoder(self, inputs, shape):
        return self.made(inputs, math.prod(shape))

    def made(self, inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, 8), *self.middle(), nn.Linear(8, outputs))

    def middle(self):
        return [nn.Tanh()]
"""
HEADERS["energy"] = """
from __future__ import annotations
from typing import ClassVar
import torch
from pydantic import Field
from torch import nn
from bench.energies import GRBM, Neural
from bench.priors import Density, FullGaussian, StandardNormal
from bench.protocol import HIDDEN, TILT, Energy

class _Gaussian(FullGaussian):
    normalised = False

    def __init__(self, latent):
        super().__init__(latent)
        nn.init.normal_(self.mean)
"""

SUITES: dict[Kind, ModuleType] = {
    "strategy": strategies,
    "dataset": datasets,
    "network": networks,
    "energy": energies,
}


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
