"""A slot of the local pool: a worker process as its parent sees it, with its pipes, its cell, its log and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.sweep.attempts import Attempt, Job
from bench.sweep.fingerprints import remembered
from bench.sweep.live import Teller
from bench.sweep.processes import END, LAST, descendants, end, resident, start, starting
from bench.sweep.serving import serve
from bench.sweep.wire import Inbox, Message, Order
from bench.sweep.worker import Setup

READS = 256  # of 64 KiB each, before others have their turn: a cell may print faster than anybody reads
CAP = 10_000_000  # bytes of a log
_HIDING = threading.Lock()


class Log:
    """A file that takes at most `cap` bytes of what is printed: the first half as it comes, the last half at its close.

    The end matters most, for that is where a traceback stands. What cannot be written, on a full disk, is lost: a log
    is not worth a sweep.
    """

    def __init__(self, path: Path, cap: int = CAP) -> None:
        self._file = path.open("ab", buffering=0)
        self._half = self._room = cap // 2
        self._tail = bytearray()
        self._left_out = 0

    def write(self, content: bytes) -> None:
        """Take what was printed."""
        self._put(content[: self._room])
        self._tail += content[self._room :]
        self._room -= min(self._room, len(content))
        if (excess := len(self._tail) - self._half) > 0:
            del self._tail[:excess]
            self._left_out += excess

    def close(self) -> None:
        """Write the end and close the file."""
        if self._left_out:
            self._put(f"\n[... {self._left_out:,} bytes left out ...]\n".encode())
        self._put(self._tail)
        self._file.close()

    def _put(self, content: bytes | bytearray) -> None:
        with contextlib.suppress(OSError):
            self._file.write(content)


@dataclass
class Work:
    """What a slot is at.

    Attributes:
        job: the cell.
        attempt: its claim to the cell.
        log: takes the output.
        kills: the system's count of out-of-memory kills when the cell began.
        live: keeps for others how far it is.
        last_step: of training, as far as the worker told; or None.
        began: monotonic seconds.
    """

    job: Job
    attempt: Attempt
    log: Log
    kills: int | None
    live: Teller
    last_step: int | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        return time.monotonic() - self.began


class Slot:
    """A worker process, ready for cells once it says so.

    Args:
        number: of the slot.
        setup: what all of its cells share.

    Raises:
        EOFError: the server that was to fork the process is gone.
        OSError: the process cannot be started.
    """

    def __init__(self, number: int, setup: Setup) -> None:
        self.number, self.setup = number, setup
        self.ready = False
        self.used = False  # it has been at a cell
        self.session: int | None = None  # of the worker and what it starts
        self.work: Work | None = None
        self.printed = b""  # the end of what was printed outside of cells
        self._mute = False  # its output is closed
        context = starting(setup.device, setup.alone)
        self._connection, there = context.Pipe()
        self._output, printed = context.Pipe(duplex=False)
        os.set_blocking(self._output.fileno(), False)
        self._inbox = Inbox(self._connection.fileno())
        self.process = context.Process(
            target=serve, args=(there, printed, setup, dict(os.environ), remembered()), name=f"bench-{number}"
        )
        try:
            with _without_main():
                start(self.process)
        except BaseException:
            self._connection.close()
            self._output.close()
            raise
        finally:
            there.close()
            printed.close()

    @property
    def watched(self) -> tuple[Any, ...]:
        """What is readable once the worker said or printed something, or died."""
        events = (self.process.sentinel,) if self._inbox.closed else (self.process.sentinel, self._connection)
        return events if self._mute else (*events, self._output)

    def holds(self, limit: int) -> tuple[int, int]:
        """Return the memory that the worker and what it started hold, in bytes, and how many processes they are.

        It is exact where it is above `limit`.
        """
        return resident(self.process.pid or 0, limit)

    @property
    def starved(self) -> bool:
        """Whether the process, which is dead, was killed by the system for lack of memory while it was at a cell."""
        before = self.work.kills if self.work else None
        return self.process.exitcode == -signal.SIGKILL and before is not None and (kills() or 0) > before

    @property
    def exit(self) -> str:
        """How the process, which is dead, ended; in words."""
        return ending(self.process.exitcode)

    def send(self, order: Order) -> None:
        """Tell the worker what to do; one that just died is left to its sentinel."""
        with contextlib.suppress(OSError):
            self._connection.send(order)

    def messages(self) -> Iterator[Message]:
        """Yield what the worker said; what it printed before a message is in the log by then.

        Raises:
            Garbled: what it sent is no message.
        """
        for message in self._inbox.messages():
            self.drain()
            yield message
        self.drain()

    def drain(self) -> None:
        """Put what was printed into the cell's log."""
        for _ in range(READS):
            try:
                printed = os.read(self._output.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not printed:
                self._mute = True
                return
            if self.work:
                self.work.log.write(printed)
            else:
                self.printed = (self.printed + printed)[-4096:]

    def kill(self) -> None:
        """End the process at once, and whatever it has started."""
        guarded = sys.platform == "linux" and self.process.is_alive()
        if guarded:
            with contextlib.suppress(OSError):
                os.kill(self.process.pid or 0, END)
            self.process.join(2 * LAST)
        if self.process.is_alive():  # its guard was stopped, or there is none
            left = descendants(self.process.pid or 0)
            self.process.kill()
            end(left)
        self.process.join()
        if self.session:  # where its guard was killed
            with contextlib.suppress(OSError):
                os.killpg(self.session, signal.SIGKILL)

    def close(self, patience: float) -> None:
        """End the process: in peace within `patience` seconds where it waits for cells, else at once."""
        deadline = time.monotonic() + (patience if self.ready and not self.work else 0.0)
        while self.process.is_alive() and time.monotonic() < deadline:
            wait([event for event in self.watched if event is not self._connection], 0.2)
            self.drain()  # a process cannot end while what it prints is not taken
        self.kill()
        self.drain()
        self._connection.close()
        self._output.close()
        self.process.close()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module for the block: a process that starts in it would run a user's script or notebook again."""
    with _HIDING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


# ---------------------------------------------------------------- how processes end


def ending(code: int | None) -> str:
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
    for path in _counters() if sys.platform == "linux" else ():
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
