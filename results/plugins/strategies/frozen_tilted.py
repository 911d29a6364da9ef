"""Tilting of N(0, I) on the latents of a finished VAE."""

from __future__ import annotations

from typing import Any, ClassVar

from bench.plugins import Registry
from bench.strategy import StagedStrategy

Tilted: Any = Registry().find("strategy", "tilted").load()


class FrozenTilted(StagedStrategy, Tilted):
    """`tilted` in two stages: a VAE with a N(0, I) prior, then the energy, on frozen latents."""

    capturable: ClassVar = True
    reach: ClassVar = Tilted.reach
