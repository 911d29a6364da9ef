"""The log of an attempt: all that its process printed, or its beginning and its end where that is too much."""

from __future__ import annotations

import contextlib
from collections import deque
from pathlib import Path

CAP = 10_000_000  # bytes


class Log:
    """A file that takes at most about `cap` bytes: the first half as it comes, the last half when it is closed.

    The end matters most, for that is where a traceback stands. What cannot be written, on a full disk, is lost: a log
    is not worth a sweep.
    """

    def __init__(self, path: Path, cap: int = CAP) -> None:
        self._file = path.open("ab", buffering=0)
        self._half = cap // 2
        self._written = 0
        self._tail: deque[bytes] = deque()
        self._kept = 0  # bytes in the tail
        self._left_out = 0

    def write(self, content: bytes) -> None:
        """Take what was printed."""
        head = content[: self._half - self._written]
        if head:
            self._put(head)
            self._written += len(head)
        rest = content[len(head) :]
        if rest:
            self._tail.append(rest)
            self._kept += len(rest)
        while self._tail and self._kept - len(self._tail[0]) >= self._half:
            dropped = len(self._tail.popleft())
            self._kept -= dropped
            self._left_out += dropped

    def close(self) -> None:
        """Write the end and close the file."""
        if self._left_out:
            self._put(f"\n[... {self._left_out:,} bytes left out ...]\n".encode())
        self._put(b"".join(self._tail))
        self._file.close()

    def _put(self, content: bytes) -> None:
        with contextlib.suppress(OSError):
            self._file.write(content)
