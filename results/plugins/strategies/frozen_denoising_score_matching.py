"""Denoising score matching on the latents of a finished VAE."""

from __future__ import annotations

from typing import Any, ClassVar

from bench.plugins import Registry
from bench.strategy import StagedStrategy

DenoisingScoreMatching: Any = Registry().find("strategy", "denoising-score-matching").load()


class FrozenDenoisingScoreMatching(StagedStrategy, DenoisingScoreMatching):
    """`denoising-score-matching` in two stages: a VAE with a N(0, I) prior, then the energy, on frozen latents."""

    capturable: ClassVar = True
    reach: ClassVar = DenoisingScoreMatching.reach
