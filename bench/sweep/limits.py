"""What cells may take of a machine, and what it has."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from bench.plugins.shapes import Spelling, typed
from bench.protocol import UserError

MOST = 1_000_000_000  # minutes or gigabytes; infinity and NaN are no limits


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


def limited(timeout: float | None, memory: float | None, retries: int, spelling: Spelling) -> Limits:
    """Return limits of cells from minutes, gigabytes and a count.

    Raises:
        UserError: one is out of bounds.
    """
    for name, value in {"timeout": timeout, "memory": memory}.items():
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST
        ):
            raise UserError(f"{spelling(name, value)} is not allowed; it must be a number above 0, at most {MOST:,}")
    if type(retries) is not int or not 0 <= retries <= MOST:
        raise UserError(f"{spelling('retries', retries)} is not allowed; it must be a whole number, at least 0")
    return Limits(timeout and 60 * timeout, int(memory * 1e9) if memory else None, retries)


def devices(device: str, spelling: Spelling = typed) -> list[str]:
    """Return the devices that a name stands for: `cuda` for every GPU. torch is asked about one that may not be there.

    Raises:
        UserError: the device is unknown or not there.
    """
    if device == "cpu":
        return [device]
    # `isdigit` takes a superscript for one, too
    match = re.fullmatch(r"(cuda)(?::(0|[1-9][0-9]{0,8}))?|mps", device) if isinstance(device, str) else None
    if match is None:
        raise UserError(f"{spelling('device', device)} is unknown; allowed: cpu, cuda, cuda:N, mps")
    import torch

    kind, index = match[1] or "mps", match[2]
    there = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if int(index or 0) >= there:
        has = f"{there} {kind} {'device' if there == 1 else 'devices'}"
        raise UserError(f"{spelling('device', device)} is not there: torch sees {has} on this machine")
    return [f"cuda:{number}" for number in range(there)] if device == "cuda" else [device]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
