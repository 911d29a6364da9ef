"""Worker processes, as those who kill them see them."""

from __future__ import annotations

import sys

import psutil


def servers(parent: psutil.Process) -> list[psutil.Process]:
    """Return the servers that a process has started to fork its workers."""
    children = [child for child in parent.children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "forkserver" in " ".join(child.cmdline())]


def workers(parent: psutil.Process) -> list[psutil.Process]:
    """Return the workers of a sweep that run: below what its server forked, or what it started itself, their guards."""
    guards = [child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())]
    guards += [guard for server in servers(parent) for guard in server.children()]
    return [worker for guard in guards for worker in guard.children()] if sys.platform == "linux" else guards
