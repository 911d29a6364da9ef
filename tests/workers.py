"""Worker processes, as those who kill them see them."""

from __future__ import annotations

import psutil


def servers(parent: psutil.Process) -> list[psutil.Process]:
    """Return the servers that a process has started to fork its workers."""
    children = [child for child in parent.children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "forkserver" in " ".join(child.cmdline())]


def workers(parent: psutil.Process) -> list[psutil.Process]:
    """Return the workers of a sweep that run: what its server forked, or what it started itself."""
    own = [child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())]
    return own + [worker for server in servers(parent) for worker in server.children()]
