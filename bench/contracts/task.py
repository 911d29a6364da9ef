"""The small task on which a strategy is checked: striped images of 4x4 pixels, tiny networks, twelve steps."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from bench.data import Binarised, split
from bench.data.dequantised import Dequantised
from bench.networks.mlp import Mlp
from bench.plugins.settings import validated
from bench.protocol import Budget, Checkpoint, Dataset, Evaluation, Networks, Splits, Strategy, Task

LATENT = 2  # quadrature is exact there
BATCH = 64
ITEMS = 400  # six steps an epoch, and sixteen items too many
NETWORKS = Networks(encoder=Mlp(hidden=[8]), decoder=Mlp(hidden=[8]), latent=LATENT)


class Striped:
    """Noisy stripes, 4x4 pixels."""

    version: ClassVar[str] = "1"

    def load(self, folder: Path) -> Splits:
        """Return uint8 images `(N, 4, 4)`; `folder` is not used."""
        draw = np.random.default_rng(0)
        n = ITEMS + 40
        lines, across = draw.integers(2, size=(n, 4, 1)), draw.integers(2, size=n).astype(bool)
        images = np.where(lines == 1, 235, 20).repeat(4, axis=2).astype(np.uint8)
        images[across] = images[across].transpose(0, 2, 1)
        return split(images[:ITEMS], images[ITEMS:])


class Stripes(Striped, Binarised):
    """Of black and white pixels."""

    name: ClassVar[str] = "stripes"
    capturable: ClassVar[bool] = True


class Shades(Striped, Dequantised):
    """The same, dequantised."""

    name: ClassVar[str] = "shades"
    capturable: ClassVar[bool] = True


def small(strategy: Strategy) -> Task:
    """Return two epochs of six steps, saved every five; scored on 16 images.

    They are of black and white pixels, or dequantised where the strategy skips those.
    """
    binary, dequantised = (tiny(dataset, dataset.load(Path())) for dataset in (Stripes(), Shades()))
    return dequantised if strategy.skip(binary) and not strategy.skip(dequantised) else binary


def tiny(dataset: Dataset, splits: Splits, batch: int = BATCH, simulated: int = 0) -> Task:
    """Return two epochs on a data set with tiny networks, scored on 16 items with the least effort."""
    budget = Budget(epochs=2, batch_size=batch, checkpoint=Checkpoint(steps=5))
    annealing = {"images": 4, "simulated": simulated, "temperatures": 4, "chains": 2}
    effort = {"images": 16, "vlb_samples": 2, "importance_samples": 4, "ais_nll": annealing}
    effort["ais"] = {"temperatures": 10, "chains": 4}
    return Task(dataset, splits, NETWORKS, budget, validated(Evaluation, effort, "check", "evaluate"))


def shorter(task: Task, steps: int) -> Task:
    """Return the task with one epoch of so many steps."""
    return replace(task, budget=Budget(epochs=1, batch_size=len(task.splits.train) // steps))


def scramble(seed: int) -> None:
    """Put the global generators of torch, numpy and Python into another state: nothing may depend on it."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what nothing may depend on
    random.seed(seed)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread, as a cell on a CPU does: another number of threads gives other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
