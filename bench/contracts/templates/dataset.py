"""Points on a ring: an example to change into your own data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench.data import Dataset, split
from bench.protocol import Items, Noise, Splits

# torch is imported for type checkers only, or inside a method, so that `bench list` stays quick
if TYPE_CHECKING:
    from torch import Tensor


# For grey images whose brightness is the probability of a white pixel extend `bench.data.Binarised` instead: it brings
# likelihood, unit and `prepare`.
class Example(Dataset):
    """A noisy ring in two dimensions: 1,000 train, 200 test."""

    version: ClassVar[str] = "1"  # another one whenever `load` or `prepare` gives something else
    likelihood: ClassVar[Literal["bernoulli", "gaussian", "laplace"]] = "gaussian"
    unit: ClassVar[Literal["nats", "bits/dim"]] = "nats"

    # an option: its type, its default, its bounds and what it means
    width: float = Field(0.1, gt=0, le=1, description="standard deviation of the distance from the ring of radius 1")

    def holds(self) -> Items:
        """Return the shape of an item, and how many there are to train and to test on: a dry run asks before `load`."""
        return Items((2,), 1000, 200)

    def load(self, folder: Path) -> Splits:
        """Return float32 points `(N, 2)`, the same every time; `folder` is not used.

        Files that are downloaded lie in `folder`: `bench.data.fetch(folder, files, mirrors)` gets and verifies them.
        """
        import numpy as np

        draw = np.random.default_rng(0)  # a seed of its own: the data are the same for every seed of training
        angle, radius = draw.uniform(0, 2 * np.pi, 1200), draw.normal(1.0, self.width, 1200)
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
        return split(points[:1000], points[1000:])

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Turn stored points `(B, 2)` into what the likelihood scores, `(B, D)` float; draw from `noise` alone."""
        return x
