"""What cells may take of a machine, and what it has."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import files
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


def cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use, by its affinity and by the quotas of its control groups.

    Args:
        root: below which `proc` and `sys` lie.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([there, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Give how many cores each control group of this process may use, where one has a quota."""
    try:
        lines = files.read(root / "proc/self/cgroup").decode("utf-8", "replace").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, kinds, place = (*line.split(":", 2), "", "")[:3]
        if not kinds:  # of version 2, which has one tree
            mounts, names = [mounted], ["cpu.max"]
        elif "cpu" in kinds.split(","):
            mounts, names = [mounted / kinds, mounted / "cpu"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        # within a container the groups above its own are not to be seen, and its own may lie at the mount
        parts = [part for part in place.split("/") if part not in ("", "..")]
        for mount, depth in itertools.product(mounts, range(len(parts) + 1)):
            yield from _cores(*(mount.joinpath(*parts[:depth], name) for name in names))


def _cores(*paths: Path) -> Iterator[float]:
    """Give quota by period, where files hold both; `max` or a negative quota is none."""
    try:
        quota, period = (float(word) for path in paths for word in files.read(path).split())
    except (OSError, ValueError):
        return
    if 0 < quota < math.inf and period > 0:
        yield quota / period
