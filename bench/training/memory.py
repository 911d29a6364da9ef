"""Out of memory, whatever the device calls it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from bench.protocol import OutOfMemory


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
