"""The local pool: one spawned process and one pipe per slot, each carrying out many cells.

The parent watches every process through its sentinel. A process that dies costs one cell its attempt: the parent
writes that cell's record and starts another process. Each process ends with its parent.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol

from bench.grid import Cell
from bench.sweep.deaths import death, kills
from bench.sweep.logs import Log
from bench.sweep.records import Ending, Job, draft, now
from bench.sweep.store import Store, StoreError
from bench.sweep.worker import Figures, Message, Ready, Setup, serve

if TYPE_CHECKING:
    import filelock

TICK = 0.2  # seconds the parent sleeps at most, so that a signal or a deadline is noticed
POLL = 1.0  # seconds between two looks at cells that another process carries out
STARTS = 8  # processes in a row that may die before they are ready
ENDING = 10.0  # seconds an idle process has to end


class SweepError(Exception):
    """The sweep cannot go on; one sentence."""


class Screen(Protocol):
    """What is told about a sweep while it runs."""

    def begin(self, slot: int, job: Job) -> None:
        """A cell begins in a slot."""

    def advance(self, slot: int, figures: Figures) -> None:
        """A cell tells how far it is."""

    def end(self, slot: int, job: Job, ending: Ending) -> None:
        """A cell ended."""

    def note(self, sentence: str) -> None:
        """Something happened that the user should know."""

    def tick(self) -> None:
        """Time passed."""


@dataclass
class Tally:
    """How a sweep ended.

    Attributes:
        endings: of every attempt, in the order in which they ended.
        signal: that asked the sweep to stop, or None.
    """

    endings: list[tuple[Cell, Ending]] = field(default_factory=list)
    signal: int | None = None


@dataclass(eq=False)
class _Slot:
    """A worker process, and the cell it carries out."""

    number: int
    process: multiprocessing.process.BaseProcess
    connection: Connection
    output: Connection
    ready: bool = False
    job: Job | None = None
    lock: filelock.BaseFileLock | None = None
    log: Log | None = None
    record: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0
    kills: int | None = None  # the system's count of out-of-memory kills when the cell began
    last_step: int | None = None
    mute: bool = False  # its output is closed
    printed: bytes = b""  # the end of what was printed outside of cells


class Pool:
    """Carries out cells in local processes.

    Args:
        setup: what all cells share.
        jobs: processes.
        screen: is told what happens.
        timeout: seconds an attempt may take, or None.
    """

    def __init__(self, setup: Setup, jobs: int, screen: Screen, timeout: float | None = None) -> None:
        self.setup, self.jobs, self.screen, self.timeout = setup, jobs, screen, timeout
        self.store = Store(setup.store)
        self.tally = Tally()
        self._waiting: deque[Job] = deque()
        self._elsewhere: deque[Job] = deque()  # carried out by another `bench run`
        self._polled = 0.0
        self._shared = False  # and that was said
        self._slots: list[_Slot | None] = []
        self._failed_starts = 0
        self._signals = 0  # asked to stop so many times
        self._asked = False  # and the workers know
        self._fatal = ""

    def run(self, jobs: Sequence[Job]) -> Tally:
        """Carry out `jobs`, each exactly once between all processes that share the store.

        Raises:
            SweepError: the store cannot be written, the code changed, or no worker starts. Cells that were running
                were asked to stop first; what was finished stays.
        """
        self._waiting.extend(jobs)
        self._slots = [None] * min(self.jobs, len(jobs))
        with self._stoppable():
            try:
                while self._step():
                    pass
            finally:
                self._close()
        if self._fatal:
            raise SweepError(self._fatal)
        return self.tally

    # ---------------------------------------------------------------- the loop

    def _step(self) -> bool:
        """Do what there is to do and wait for the next event; return whether the sweep goes on."""
        if self._signals or self._fatal:
            self._wind_down()
        else:
            self._fill()
        busy = [slot for slot in self._slots if slot and slot.job]
        if not busy and (self._signals or self._fatal or not (self._waiting or self._elsewhere)):
            return False
        watched: dict[Any, _Slot] = {}
        for slot in filter(None, self._slots):
            watched |= dict.fromkeys((slot.process.sentinel, slot.connection), slot)
            watched |= {} if slot.mute else {slot.output: slot}
        for slot in dict.fromkeys(watched[event] for event in wait(list(watched), TICK)):
            self._attend(slot)
        self._enforce()
        self.screen.tick()
        return True

    def _fill(self) -> None:
        """Give every idle slot a cell."""
        for number, slot in enumerate(self._slots):
            if not self._waiting and not self._due():
                return
            if slot is None:
                self._slots[number] = self._start(number)
            elif slot.ready and not slot.job:
                self._give(slot)

    def _due(self) -> bool:
        """Return whether to look again at the cells that another process carries out."""
        return bool(self._elsewhere) and time.monotonic() - self._polled > POLL

    def _give(self, slot: _Slot) -> None:
        """Give `slot` the first cell that no other process carries out or has finished."""
        if not self._waiting:
            self._polled = time.monotonic()
            self._waiting, self._elsewhere = self._elsewhere, deque()
        try:
            while self._waiting:
                job = self._waiting.popleft()
                lock = self.store.lock(job.cell.id)
                if lock is None:
                    if not self._shared:
                        self._shared = True
                        self.screen.note("another `bench run` is at work in this store; its cells are left to it")
                    self._elsewhere.append(job)
                    continue
                if not self.store.vacate(job):
                    lock.release()  # finished elsewhere since the sweep was planned
                    self._ended(slot.number, job, Ending("elsewhere"))
                    continue
                slot.lock = lock
                job = replace(job, attempt=self.store.begin(job.cell))
                slot.log = Log(self.store.log(job.cell.id, job.attempt))
                break
            else:
                return
        except (StoreError, OSError) as error:
            self._release(slot)
            self._fatal = str(error)
            return
        slot.job, slot.began, slot.kills, slot.last_step = job, time.monotonic(), kills(), None
        slot.record = draft(self.setup.grid, job, self.setup.circumstances)
        self.screen.begin(slot.number, job)
        with contextlib.suppress(OSError):  # it just died: its sentinel tells
            slot.connection.send(job)

    def _attend(self, slot: _Slot) -> None:
        """Take what a worker said and printed, and see whether it is still there."""
        dead = not slot.process.is_alive()  # asked first: what it said before it died is read below
        for message in _messages(slot.connection):
            self._drain(slot)
            self._hear(slot, message)
        self._drain(slot)
        if dead:
            self._bury(slot)

    def _hear(self, slot: _Slot, message: Message) -> None:
        if isinstance(message, Ready):
            slot.ready, self._failed_starts = True, 0
        elif isinstance(message, Figures):
            if message.stage == "fit":
                slot.last_step = message.done
            self.screen.advance(slot.number, message)
        elif slot.job:
            if isinstance(message, Ending):
                self._ended(slot.number, slot.job, message)
                if message.status == "out-of-memory":
                    slot.ready = False  # it may hold on to memory: the next cell gets a fresh process
                    with contextlib.suppress(OSError):
                        slot.connection.send(None)
            else:
                self._fatal = self._fatal or message.sentence
            self._release(slot)

    def _bury(self, slot: _Slot) -> None:
        """Clear away a dead process; the cell it was at has crashed."""
        slot.process.join()
        code = slot.process.exitcode
        if slot.job:
            starved = code == -signal.SIGKILL and slot.kills is not None and (kills() or 0) > slot.kills
            if starved:
                self._fail(slot, "out-of-memory", "the system killed the process for lack of memory")
            else:
                self._fail(slot, "crashed", death(code))
        elif not slot.ready and code != 0:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                said = slot.printed.decode(errors="replace").strip().splitlines()
                self._fatal = f"no worker process starts: {death(code)}{': ' + said[-1] if said else ''}"
        self._remove(slot)

    def _enforce(self) -> None:
        """Kill the worker of every cell that has had its time."""
        for slot in filter(None, self._slots):
            if self.timeout and slot.job and time.monotonic() - slot.began > self.timeout:
                slot.process.kill()
                slot.process.join()
                for message in _messages(slot.connection):  # it may have finished just now
                    self._hear(slot, message)
                self._drain(slot)
                if slot.job:
                    self._fail(slot, "timeout", f"longer than {self.timeout / 60:g} minutes")
                self._remove(slot)

    def _fail(self, slot: _Slot, status: str, reason: str) -> None:
        """Write the record of a cell whose process is gone."""
        assert slot.job
        seconds = time.monotonic() - slot.began
        resources = {"overhead_seconds": seconds}
        slot.record |= {
            "status": status,
            "reason": reason,
            "last_step": slot.last_step,
            "resources": resources,
            "finished": now(),
        }
        try:
            first = self.store.finish(slot.job, slot.record)
        except StoreError as error:
            self._fatal = self._fatal or str(error)
        else:
            ending = Ending(status, reason, seconds, resources) if first else Ending("elsewhere")
            self._ended(slot.number, slot.job, ending)
        self._release(slot)

    def _ended(self, number: int, job: Job, ending: Ending) -> None:
        self.tally.endings.append((job.cell, ending))
        self.screen.end(number, job, ending)

    def _release(self, slot: _Slot) -> None:
        if slot.log:
            slot.log.close()
        if slot.lock:
            slot.lock.release()
        slot.job = slot.log = slot.lock = None

    # ---------------------------------------------------------------- processes

    def _start(self, number: int) -> _Slot:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        output, printed = context.Pipe(duplex=False)
        os.set_blocking(output.fileno(), False)
        process = context.Process(target=serve, args=(there, printed, self.setup), name=f"bench-{number}")
        # a Ctrl-C while the process starts is the parent's to answer, not the child's: it inherits the mask. The
        # tracker is started first, because starting it lifts the mask.
        resource_tracker.ensure_running()
        with _blocked(signal.SIGINT):
            process.start()
        there.close()
        printed.close()
        return _Slot(number, process, here, output)

    def _drain(self, slot: _Slot) -> None:
        """Put what was printed into the cell's log."""
        while True:
            try:
                printed = os.read(slot.output.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not printed:
                slot.mute = True
                return
            if slot.log:
                slot.log.write(printed)
            else:
                slot.printed = (slot.printed + printed)[-4096:]

    def _remove(self, slot: _Slot) -> None:
        slot.connection.close()
        slot.output.close()
        slot.process.close()
        self._slots[slot.number] = None

    def _close(self) -> None:
        """End every process: in peace where it is idle, at once where it is not."""
        slots = [slot for slot in self._slots if slot]
        for slot in slots:
            if slot.job or not slot.ready:
                slot.process.kill()
            with contextlib.suppress(OSError):
                slot.connection.send(None)
        deadline = time.monotonic() + ENDING
        for slot in slots:
            while slot.process.is_alive() and time.monotonic() < deadline:
                wait([slot.process.sentinel] if slot.mute else [slot.process.sentinel, slot.output], TICK)
                self._drain(slot)  # a process cannot end while what it prints is not taken
            slot.process.kill()
            slot.process.join()
            self._release(slot)
            self._remove(slot)

    # ---------------------------------------------------------------- stopping

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Count Ctrl-C and SIGTERM for the block, in place of what they do otherwise."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def count(number: int, _: object) -> None:
            self._signals += 1
            self.tally.signal = number

        before = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wind_down(self) -> None:
        """Ask running cells to stop; at the second signal, kill them."""
        busy = [slot for slot in self._slots if slot and slot.job]
        if not self._asked:
            self._asked = True
            if busy:
                cells = "1 running cell" if len(busy) == 1 else f"{len(busy)} running cells"
                again = "" if self._fatal else "again "
                self.screen.note(f"stopping: {cells} will save a checkpoint first (Ctrl-C {again}kills)")
            for slot in busy:
                with contextlib.suppress(OSError):
                    slot.connection.send("stop")
        if self._signals > (0 if self._fatal else 1):
            for slot in busy:
                assert slot.job
                self._ended(slot.number, slot.job, Ending("stopped", "killed"))
                slot.process.kill()
                slot.process.join()
                self._drain(slot)
                self._release(slot)
                self._remove(slot)


def _messages(connection: Connection) -> Iterator[Message]:
    """Yield what has arrived."""
    with contextlib.suppress(EOFError, OSError):
        while connection.poll():
            yield connection.recv()


@contextlib.contextmanager
def _blocked(number: int) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
