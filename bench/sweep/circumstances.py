"""The circumstances of a record: when it was made, on what machine, and by which commit."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import bench


def now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(device: str) -> dict[str, Any]:
    """Return what every record of a sweep says about where it was made; no torch is imported for it."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = None
    return {
        "device": device,
        "device_kind": device if device == "cpu" else None,
        "torch": torch,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": _git(),
    }


def unversioned() -> str:
    """Return why records do not say which commit made them, though `bench` runs from a checkout; else nothing."""
    root = Path(bench.__file__).resolve().parents[1]
    if _git() or not (root / ".git").exists():
        return ""
    why = "git does not answer" if shutil.which("git") else "there is no git"
    return f"records will not say which commit of {root} made them: {why}"


@functools.cache
def _git() -> dict[str, Any] | None:
    """Return commit and dirty flag of the checkout that `bench` is imported from, or None if it is installed."""
    root = Path(bench.__file__).resolve().parents[1]

    def ask(*arguments: str) -> str:
        # a checkout of another owner is asked as well: its code is what runs
        command = ["git", "-c", "safe.directory=*", "--no-optional-locks", *arguments]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # an installed copy may lie inside somebody else's repository: only one that tracks this package counts
        ask("ls-files", "--error-unmatch", "bench/__init__.py")
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
