"""What a run takes: seconds that mean something on a device that works behind the host's back, and memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

from bench.protocol import OutOfMemory


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


@contextlib.contextmanager
def guarded(device: str) -> Iterator[None]:
    """Turn torch's ways of running out of memory in the block into `protocol.OutOfMemory`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"out of memory on {device}: {str(error).splitlines()[0]}") from error
    except RuntimeError as error:  # the CPU allocator has no exception of its own
        if "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(f"out of memory on {device}: {str(error).splitlines()[0]}") from error


def peak(device: str) -> int:
    """Return the most bytes that tensors took on `device` in this process; 0 on a CPU, where the process tells."""
    return torch.cuda.max_memory_allocated(device) if torch.device(device).type == "cuda" else 0
