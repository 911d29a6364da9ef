"""Seconds that mean something on a device that works behind the host's back."""

from __future__ import annotations

import time

import torch


def synchronised(device: torch.device | str) -> float:
    """Wait until `device` has done all it was asked to, then return seconds of a monotonic clock."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Clocks:
    """Named clocks that share out all time from the start on: each lap goes to the clock it names.

    Args:
        device: synchronised at every lap.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._since = synchronised(device)

    def lap(self, name: str) -> None:
        """Add the seconds since the last lap to clock `name`."""
        now = synchronised(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now
