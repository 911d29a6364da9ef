"""What a worker and its parent say to each other, over a pipe that a plugin may have written into or closed.

The parent sends jobs and, once, the word to stop; the worker sends `Ready`, now and then `Figures`, and for each job
one `Ending` or `Halt`.
"""

from __future__ import annotations

import os
import pickle
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.sweep.attempts import Ending, Job

READS = 256  # of 64 KiB each, before others have their turn: a cell may say more than anybody reads
MOST = 1 << 26  # bytes of a message
_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True)
class Ready:
    """The worker waits for jobs; its `session` is that of all that it starts."""

    session: int


@dataclass(frozen=True)
class Figures:
    """How far a cell is."""

    stage: str
    done: int
    total: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Halt:
    """Why the cell came to nothing: the code has changed, or the store cannot be written; one sentence.

    Attributes:
        sentence: which ends the sweep.
        errno: of the system, where a worker cannot write the store: the sweep sees whether it can itself.
    """

    sentence: str
    errno: int | None = None


@dataclass(frozen=True)
class Note:
    """What the user should read about a running cell; one sentence."""

    sentence: str


Message = Ready | Figures | Note | Ending | Halt
Order = Job | str | None  # a cell, "stop", or None to end


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
