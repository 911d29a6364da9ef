"""A data set of few points, which are wrong or never come where it is told so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.protocol import Settings, Splits


class Few(Settings):
    """Enough points for one batch, and four to test on."""

    name: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    likelihood: ClassVar[str] = "gaussian"
    unit: ClassVar[str] = "nats"

    how: str = ""

    def refuses(self, networks: Any) -> str | None:
        return None

    def load(self, folder: Path) -> Splits:
        if self.how == "dies":
            os._exit(5)
        if self.how == "nothing":
            return None  # type: ignore[return-value]
        points = np.zeros((68, 2), np.float32)
        return Splits(points[:64], points[64:64], points[64:], sha256="5" * 64)

    def prepare(self, x: Any, noise: Any) -> Any:
        return x

    def fixed(self, x: Any) -> Any:
        return x
