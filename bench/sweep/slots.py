"""A slot of the local pool: one spawned worker process, its pipes, and the cell that it carries out."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any

from bench.sweep.attempts import Attempt, Job
from bench.sweep.logs import Log
from bench.sweep.worker import Message, Order, Setup, serve

READS = 256  # of 64 KiB each, before others have their turn: a cell may print faster than anybody reads


@dataclass(frozen=True)
class Work:
    """What a slot is at.

    Attributes:
        job: the cell.
        attempt: its claim to the cell.
        log: takes the output.
        kills: the system's count of out-of-memory kills when the cell began.
        began: monotonic seconds.
    """

    job: Job
    attempt: Attempt
    log: Log
    kills: int | None
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
    """

    def __init__(self, number: int, setup: Setup) -> None:
        self.number, self.setup = number, setup
        self.ready = False
        self.work: Work | None = None
        self.last_step: int | None = None
        self.printed = b""  # the end of what was printed outside of cells
        self._mute = False  # its output is closed
        context = multiprocessing.get_context("spawn")
        self._connection, there = context.Pipe()
        self._output, printed = context.Pipe(duplex=False)
        os.set_blocking(self._output.fileno(), False)
        self.process = context.Process(target=serve, args=(there, printed, setup), name=f"bench-{number}")
        # a Ctrl-C while the process starts is the parent's to answer, not the child's: it inherits the mask. The
        # tracker is started first, because starting it lifts the mask.
        resource_tracker.ensure_running()
        with _blocked(signal.SIGINT):
            self.process.start()
        there.close()
        printed.close()

    @property
    def watched(self) -> tuple[Any, ...]:
        """What is readable once the worker said or printed something, or died."""
        events = (self.process.sentinel, self._connection)
        return events if self._mute else (*events, self._output)

    @property
    def resident(self) -> int:
        """The memory that the process holds, in bytes; 0 where it is gone."""
        import psutil

        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def send(self, order: Order) -> None:
        """Tell the worker what to do; one that just died is left to its sentinel."""
        with contextlib.suppress(OSError):
            self._connection.send(order)

    def messages(self) -> Iterator[Message]:
        """Yield what the worker said."""
        with contextlib.suppress(EOFError, OSError):
            while self._connection.poll():
                yield self._connection.recv()

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
        """End the process at once."""
        self.process.kill()
        self.process.join()

    def close(self, patience: float) -> None:
        """End the process: in peace within `patience` seconds where it waits for cells, else at once."""
        if self.work or not self.ready:
            self.process.kill()
        deadline = time.monotonic() + patience
        while self.process.is_alive() and time.monotonic() < deadline:
            wait([event for event in self.watched if event is not self._connection], 0.2)
            self.drain()  # a process cannot end while what it prints is not taken
        self.kill()
        self.drain()
        self._connection.close()
        self._output.close()
        self.process.close()


@contextlib.contextmanager
def _blocked(number: int) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
