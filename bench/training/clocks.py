"""Seconds that mean something on a device that works behind the host's back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch


def synchronised(device: torch.device | str) -> float:
    """Wait until `device` has done all it was asked to, then return seconds of a monotonic clock."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Clocks:
    """Named clocks of which one runs at a time; what they show is summed over attempts.

    Args:
        device: synchronised at every reading.
        seconds: what earlier attempts used, by name.
    """

    def __init__(self, device: torch.device | str, seconds: dict[str, float] | None = None) -> None:
        self.device = device
        self.seconds = dict(seconds or {})

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Let clock `name` run for the block."""
        start = synchronised(self.device)
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + synchronised(self.device) - start
