"""CIFAR-10, from its binary version."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from bench.data import split
from bench.data.cifar import whole
from bench.data.dequantised import Dequantised
from bench.protocol import Items, Splits


class Cifar10(Dequantised):
    """32x32 photographs in colour (Krizhevsky, 2009), dequantised, in logit space: 50,000 train, 10,000 test.

    Uniform noise is drawn anew in every batch; that of the test images once and for all.
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    validation: int = Field(0, ge=0, le=40_000, description="so many images, the last, are kept from training")

    def holds(self) -> Items:
        """Return how many images there are."""
        return Items((3, 32, 32), 50_000 - self.validation, 10_000, self.validation)

    def load(self, folder: Path) -> Splits:
        """Return uint8 images `(N, 3, 32, 32)`."""
        return split(*whole(folder), self.validation)
