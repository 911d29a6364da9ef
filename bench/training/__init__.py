"""The loop, its seeds, clocks, checkpoints and record of stability."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.training.buffer import Buffer
    from bench.training.clocks import Clocks
    from bench.training.loop import Loop, Losses
    from bench.training.memory import guarded, peak
    from bench.training.model import Batch, Model
    from bench.training.stability import energy_gap, measure

__all__ = [
    "Batch",
    "Buffer",
    "Clocks",
    "Loop",
    "Losses",
    "Model",
    "energy_gap",
    "guarded",
    "measure",
    "peak",
]

__getattr__ = lazy_members(__name__, __file__)
