"""The loop, its seeds, clocks, checkpoints and record of stability."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.training.loop import Loop, Losses
    from bench.training.model import Batch, Model
    from bench.training.resources import Clocks, guarded, peak
    from bench.training.stability import energy_gap, stopping_refused, watch

__all__ = ["Batch", "Clocks", "Loop", "Losses", "Model", "energy_gap", "guarded", "peak", "stopping_refused", "watch"]

__getattr__ = lazy_members(__name__, __file__)
