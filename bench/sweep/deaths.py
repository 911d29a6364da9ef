"""How processes die: in words, and whether it was for lack of memory."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path


def death(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is not None and code < 0:
        try:
            return f"the process was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"the process was killed by signal {-code}"
    return f"the process ended with exit code {code}"


def kills() -> int | None:
    """Return how many processes the system has killed for lack of memory, or None where it does not say.

    The count of our own control group where there is one, else that of the whole machine.
    """
    if sys.platform != "linux":
        return None
    for path in _counters():
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None


def _counters() -> Iterator[Path]:
    """Yield the files that may hold the count, the nearest first (version 2 and version 1 of control groups)."""
    groups: dict[str, str] = {}
    with contextlib.suppress(OSError):
        lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
        groups = {controller: path for _, controllers, path in lines for controller in controllers.split(",")}
    yield Path(f"/sys/fs/cgroup{groups.get('', '')}/memory.events")
    yield Path(f"/sys/fs/cgroup/memory{groups.get('memory', '')}/memory.oom_control")
    yield Path("/proc/vmstat")
