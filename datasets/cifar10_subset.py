"""A subset of CIFAR-10 that a CPU can do: 8,068 training and 1,017 test images."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from bench.data import split
from bench.data.cifar import subset
from bench.data.dequantised import Dequantised
from bench.protocol import Items, Splits


class Cifar10Subset(Dequantised):
    """A subset of CIFAR-10, whose scores are no scores on CIFAR-10: 8,068 train, 1,017 test.

    Training images 0-3999, 10000-11016, 20000-21016, 30000-31016 and 40000-41016 and test images 0-1016, in the
    original order, dequantised as those of `cifar10` are.
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    validation: int = Field(0, ge=0, le=4_000, description="so many images, the last, are kept from training")

    def holds(self) -> Items:
        """Return how many images there are."""
        return Items((3, 32, 32), 8_068 - self.validation, 1_017, self.validation)

    def load(self, folder: Path) -> Splits:
        """Return uint8 images `(N, 3, 32, 32)`."""
        return split(*subset(folder), self.validation)
