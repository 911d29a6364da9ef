"""A small task: the bundled digits, tiny networks, a few steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.networks.mlp import Mlp
from bench.plugins import Registry
from bench.protocol import Ais, AisNll, Budget, Checkpoint, Evaluation, Networks, Task


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def task() -> Task:
    """Two epochs of 23 steps on the digits, saved every 5 steps; scored on 20 images."""
    dataset: Any = Registry().find("dataset", "digits").load()()
    small = Mlp(hidden=[16])
    return Task(
        dataset,
        dataset.load(Path()),
        Networks(encoder=small, decoder=small, latent=4),
        Budget(epochs=2, checkpoint=Checkpoint(steps=5)),
        Evaluation(
            images=20,
            vlb_samples=2,
            importance_samples=8,
            ais=Ais(temperatures=10, chains=4),
            ais_nll=AisNll(images=4, simulated=4, temperatures=4, chains=2),
        ),
    )


@pytest.fixture
def strategy() -> Callable[..., Any]:
    """Build a built-in strategy: `strategy("vampprior", components=3)`."""

    def build(name: str, **hyper: Any) -> Any:
        return Registry().find("strategy", name).load()(**hyper)

    return build
