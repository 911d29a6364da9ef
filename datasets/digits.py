"""The 8x8 digits that are bundled with scikit-learn."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from bench.data import Binarised, split
from bench.protocol import Items, Splits


class Digits(Binarised):
    """8x8 handwritten digits bundled with scikit-learn, binarised dynamically: 1,500 train, 297 test.

    Stored pixels are counts of 0 .. 16; x = Bernoulli(count / 16). The file groups the digits by writer, so the items
    are put into the order of the SHA-256 of their index first: the first 1,500 train, the others test.
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True
    white: ClassVar[int] = 16

    validation: int = Field(0, ge=0, le=1000, description="so many images, the last, are kept from training")

    def holds(self) -> Items:
        """Return how many images there are."""
        return Items((8, 8), 1500 - self.validation, 297, self.validation)

    def load(self, folder: Path) -> Splits:
        """Return uint8 images `(N, 8, 8)`; `folder` is not used."""
        import numpy as np
        from sklearn.datasets import load_digits

        images = load_digits().images.astype(np.uint8)
        # no generator of a library decides the split, so that no library's new version changes it
        order = sorted(range(len(images)), key=lambda i: hashlib.sha256(f"digits/{i}".encode()).digest())
        images = images[order]
        return split(images[:1500], images[1500:], self.validation)
