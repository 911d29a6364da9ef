"""Stein's discrepancy on the latents of a finished VAE."""

from __future__ import annotations

from typing import Any, ClassVar

from bench.plugins import Registry
from bench.strategy import StagedStrategy

Stein: Any = Registry().find("strategy", "stein").load()


class FrozenStein(StagedStrategy, Stein):
    """`stein` in two stages: a VAE with a N(0, I) prior, then the energy, on frozen latents."""

    capturable: ClassVar = True
    reach: ClassVar = Stein.reach
