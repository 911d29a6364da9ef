"""Where a pool's further cells come from, where that is decided while others run."""

from __future__ import annotations

from collections.abc import Sequence

from bench.sweep.attempts import Job
from bench.sweep.wire import Figures


class Feed:
    """Gives a pool one cell after another, and may end one early; this one has none to give."""

    @property
    def open(self) -> bool:
        """Whether further cells may come."""
        return False

    def more(self) -> Sequence[Job]:
        """Return the next cells; asked when a worker has nothing to do, and again later where there are none yet."""
        return ()

    def hear(self, job: Job, figures: Figures) -> None:
        """Take how far a cell is."""

    def verdict(self, job: Job, seconds: float) -> str:
        """Return why a cell that has run so long is to end now, as `pruned`; or nothing."""
        return ""

    def ended(self, job: Job) -> None:
        """Take that a cell ended, here or in another process; its record says how, if it has one."""
