"""Worker processes, as those who kill them see them."""

from __future__ import annotations

import sys

import psutil


def servers(parent: psutil.Process) -> list[psutil.Process]:
    """Return the servers that a process has started to fork its workers."""
    return [child for child in parent.children() if "forkserver" in _command(child)]


def workers(parent: psutil.Process) -> list[psutil.Process]:
    """Return the workers of a sweep that run: below what its server forked, or what it started itself, their guards."""
    guards = [child for child in parent.children() if "spawn_main" in _command(child)]
    guards += [guard for server in servers(parent) for guard in server.children()]
    return [worker for guard in guards for worker in guard.children()] if sys.platform == "linux" else guards


def _command(process: psutil.Process) -> str:
    """Return a process's command; nothing where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # or a zombie, which is one of these
        return ""
