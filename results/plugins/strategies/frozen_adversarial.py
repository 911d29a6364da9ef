"""The adversary on the latents of a finished VAE."""

from __future__ import annotations

from typing import Any, ClassVar

from bench.plugins import Registry
from bench.strategy import StagedStrategy

Adversarial: Any = Registry().find("strategy", "adversarial").load()


class FrozenAdversarial(StagedStrategy, Adversarial):
    """`adversarial` in two stages: a VAE with a N(0, I) prior, then the energy, on frozen latents."""

    capturable: ClassVar = True
    reach: ClassVar = Adversarial.reach
