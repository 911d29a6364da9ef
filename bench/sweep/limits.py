"""What cells may take of a machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a cell may take.

    Attributes:
        timeout: seconds an attempt may take.
        memory: bytes that a worker process may hold.
        retries: how often a cell goes on within one sweep after it was lost, preempted or cut off by the time limit.
        patience: seconds that cells have to save a checkpoint when the sweep is told to stop; without it, the second
            signal kills them.
    """

    timeout: float | None = None
    memory: int | None = None
    retries: int = 0
    patience: float | None = None
