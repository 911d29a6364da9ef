"""Worker processes, as those who kill them see them."""

from __future__ import annotations

import psutil


def workers(parent: psutil.Process) -> list[psutil.Process]:
    """Return the workers of a sweep that run: what the server forked, which its parent started."""
    servers = [child for child in parent.children() if "forkserver" in " ".join(child.cmdline())]
    return [worker for server in servers for worker in server.children()]
