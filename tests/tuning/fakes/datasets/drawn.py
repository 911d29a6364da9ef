"""Points of a known variance to train on and to validate on; those to test on may be anything."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.protocol import Items, Settings, Splits

VARIANCE = 2.0


class Drawn(Settings):
    """Validation items +-sqrt(2): their mean square is the variance, exactly."""

    name: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    likelihood: ClassVar[str] = "gaussian"
    unit: ClassVar[str] = "nats"

    validation: int = 4
    test: float = 0.0

    def refuses(self, networks: Any) -> str | None:
        return None

    def holds(self) -> Items:
        return Items((1,), 64, 4, self.validation)

    def load(self, folder: Path) -> Splits:
        signs = np.where(np.arange(64) % 2, 1.0, -1.0)[:, None]
        points = (signs * VARIANCE**0.5).astype(np.float32)
        test = np.full((4, 1), self.test, np.float32)
        digest = hashlib.sha256(points.tobytes() + test.tobytes()).hexdigest()
        return Splits(points, points[: self.validation], test, sha256=digest)

    def prepare(self, x: Any, noise: Any) -> Any:
        return x

    def fixed(self, x: Any) -> Any:
        return x
