"""Strategies draw from the noise that is handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contracts.task import BATCH, scramble, small
from bench.plugins import Registry
from bench.protocol import Run
from bench.strategy import Strategy
from bench.streams import Stream, stream
from bench.training import Batch
from bench.training.model import latents

NAMES = [
    name for name in Registry().names("strategy") if issubclass(Registry().find("strategy", name).load(), Strategy)
]


@pytest.mark.parametrize("name", NAMES)
def test_losses_draws_and_diagnostics_depend_on_the_stream_alone(name: str, tmp_path: Path) -> None:
    plugin: Any = Registry().find("strategy", name).load()()
    task, run = small(plugin), Run(0, "cpu", tmp_path)
    found = []
    for state in (1, 2):
        model = plugin.model(task, run)
        items = torch.from_numpy(task.splits.train[:BATCH])
        x = task.dataset.prepare(items, stream(0, "binarise"))
        batch = Batch(x, Stream(0, "posterior"), Stream(0, "prior"))
        scramble(state)  # the global generators
        numbers = [loss.detach() for _, loss in plugin.losses(model, batch)]
        with torch.no_grad():
            _, posterior, z = latents(model, task, 100, stream(0, "latents"))
            later = plugin.objective(model, z, posterior, stream(0, "objective"))
            with torch.enable_grad():
                numbers += [loss.detach() for _, loss in later]
            numbers += plugin.draws(model, 3, stream(0, "draws")).values()
        found.append(numbers)
    assert len(found[0]) > 1
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)
