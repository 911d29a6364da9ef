"""Messages of a worker to its parent, over a pipe that a plugin may have written into or closed."""

from __future__ import annotations

import os
import pickle
import struct
import threading
from collections.abc import Iterator
from typing import Any

READS = 256  # of 64 KiB each, before others have their turn: a cell may say more than anybody reads
MOST = 1 << 26  # bytes of a message
_LENGTH = struct.Struct("!Q")


class Garbled(Exception):
    """What came is no message."""


class Outbox:
    """The worker's end. A strategy may report progress from a thread of its own."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._sending = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a message whole.

        Raises:
            OSError: the pipe is closed.
        """
        content = pickle.dumps(message)
        rest = memoryview(_LENGTH.pack(len(content)) + content)
        with self._sending:
            while rest:
                rest = rest[os.write(self._file, rest) :]


class Inbox:
    """The parent's end, which never waits: not for the rest of a message either, whose sender may be gone."""

    def __init__(self, file: int) -> None:
        os.set_blocking(file, False)
        self._file, self._came = file, bytearray()
        self.closed = False

    def messages(self) -> Iterator[Any]:
        """Yield what has come whole.

        Raises:
            Garbled: it is no message.
        """
        for _ in range(READS):
            try:
                came = os.read(self._file, 1 << 16)
            except BlockingIOError:
                break
            except OSError:
                came = b""
            if not came:
                self.closed = True
                break
            self._came += came
            yield from self._whole()

    def _whole(self) -> Iterator[Any]:
        while len(self._came) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._came)
            if length > MOST:
                raise Garbled
            end = _LENGTH.size + length
            if len(self._came) < end:
                return
            content = bytes(self._came[_LENGTH.size : end])
            del self._came[:end]
            try:
                message = pickle.loads(content)
            except Exception as error:
                raise Garbled from error
            yield message
