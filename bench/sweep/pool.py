"""The local pool: worker processes that carry out many cells each, in a user's shell or within a SLURM job.

The parent watches every process through its sentinel. A process that dies costs one cell its attempt: the cell goes
on in another process, or, when it was lost too often, the parent writes its record. Each process ends with its parent.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait

from bench.grid import Cell
from bench.sweep.attempts import BEAT, Attempt, Ending, Job, given_up, identify, interruptions
from bench.sweep.deaths import death, kills
from bench.sweep.logs import Log
from bench.sweep.progress import Screen
from bench.sweep.slots import Slot, Work
from bench.sweep.store import Store, StoreError
from bench.sweep.worker import Figures, Message, Ready, Setup

TICK = 0.2  # seconds the parent sleeps at most, so that a signal or a deadline is noticed
POLL = 1.0  # seconds between two looks at cells that another process carries out
STARTS = 8  # processes in a row that may die before they are ready
ENDING = 10.0  # seconds an idle process has to end


class SweepError(Exception):
    """The sweep cannot go on; one sentence."""


@dataclass(frozen=True)
class Limits:
    """What a cell may take.

    Attributes:
        timeout: seconds an attempt may take.
        memory: bytes that a worker process may hold.
        retries: how often a cell goes on within one sweep after it was lost, preempted or cut off by the time limit.
        patience: seconds that cells have to save a checkpoint when the sweep is told to stop; without it, the second
            signal kills them.
    """

    timeout: float | None = None
    memory: int | None = None
    retries: int = 0
    patience: float | None = None


@dataclass
class Tally:
    """How a sweep ended.

    Attributes:
        endings: of every cell, in the order in which they ended.
        signal: that asked the sweep to stop, or None.
    """

    endings: list[tuple[Cell, Ending]] = field(default_factory=list)
    signal: int | None = None


def _stopped() -> str:
    return "stopped"


class Pool:
    """Carries out cells in local processes.

    Args:
        setup: what all cells share.
        jobs: processes.
        screen: is told what happens.
        limits: what a cell may take.
        devices: the processes share them in turn; by default `setup.device` is everybody's.
        sweep: its id; attempts of the same sweep count together.
        stops: the signals that ask the sweep to stop, and how an attempt ends then (see `attempts.Attempt.how`).
    """

    def __init__(
        self,
        setup: Setup,
        jobs: int,
        screen: Screen,
        limits: Limits | None = None,
        *,
        devices: Sequence[str] = (),
        sweep: str = "",
        stops: Mapping[int, Callable[[], str]] | None = None,
    ) -> None:
        self.setup, self.jobs, self.screen, self.limits = setup, jobs, screen, limits or Limits()
        self.devices, self.sweep = devices or (setup.device,), sweep or identify()
        self.stops = stops or {signal.SIGINT: _stopped, signal.SIGTERM: _stopped}
        self.store = Store(setup.store)
        self.tally = Tally()
        self._waiting: deque[Job] = deque()
        self._elsewhere: deque[Job] = deque()  # carried out by another `bench run`
        self._polled = 0.0
        self._shared = False  # and that was said
        self._beaten = 0.0
        self._slots: list[Slot | None] = []
        self._failed_starts = 0
        self._signals = 0  # asked to stop so many times
        self._asked: float | None = None  # when the workers were told
        self._how = "stopped"
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

    @property
    def _busy(self) -> list[tuple[Slot, Work]]:
        return [(slot, slot.work) for slot in self._slots if slot and slot.work]

    def _step(self) -> bool:
        """Do what there is to do and wait for the next event; return whether the sweep goes on."""
        if self._signals or self._fatal:
            self._wind_down()
        else:
            self._fill()
        if not self._busy and (self._signals or self._fatal or not (self._waiting or self._elsewhere)):
            return False
        watched = {event: slot for slot in self._slots if slot for event in slot.watched}
        for slot in dict.fromkeys(watched[event] for event in wait(list(watched), TICK)):
            self._attend(slot)
        self._enforce()
        self._beat()
        self.screen.tick()
        return True

    def _fill(self) -> None:
        """Give every idle slot a cell."""
        for number, slot in enumerate(self._slots):
            if not self._waiting and not self._due():
                return
            if slot is None:
                device = self.devices[number % len(self.devices)]
                self._slots[number] = Slot(number, self.setup.on(device))
            elif slot.ready and not slot.work:
                self._give(slot)

    def _due(self) -> bool:
        """Return whether to look again at the cells that another process carries out."""
        return bool(self._elsewhere) and time.monotonic() - self._polled > POLL

    def _give(self, slot: Slot) -> None:
        """Give `slot` the first cell that no other process carries out or has finished."""
        if not self._waiting:
            self._polled = time.monotonic()
            self._waiting, self._elsewhere = self._elsewhere, deque()
        try:
            while self._waiting and not slot.work:
                self._offer(slot, self._waiting.popleft())
        except (StoreError, OSError) as error:
            self._fatal = str(error)

    def _offer(self, slot: Slot, job: Job) -> None:
        """Give `slot` the cell, unless it is another's, or finished, or was lost too often."""
        if self.store.taken(job):  # finished elsewhere since the sweep was planned
            self._ended(slot.number, job, Ending("elsewhere"))
            return
        attempt = self.store.begin(job.cell, self.sweep)
        if attempt is None:
            if not self._shared:
                self._shared = True
                self.screen.note("another `bench run` is at work in this store; its cells are left to it")
            self._elsewhere.append(job)
            return
        try:
            self.store.vacate(job)
            job = replace(job, attempt=attempt.number)
            slot.work = Work(job, attempt, Log(self.store.log(job.cell.id, job.attempt)), kills())
        except BaseException:
            self.store.end(job.cell.id, attempt, "lost")
            raise
        slot.last_step = None
        self.screen.begin(slot.number, job)
        lost = self._interruptions(job.cell)
        if lost and len(lost) > self.limits.retries:
            self._fail(slot, slot.work, *given_up(lost))
        else:
            slot.send(job)

    def _interruptions(self, cell: Cell) -> list[Attempt]:
        return interruptions(self.store.history(cell.id), self.sweep)

    def _attend(self, slot: Slot) -> None:
        """Take what a worker said and printed, and see whether it is still there."""
        dead = not slot.process.is_alive()  # asked first: what it said before it died is read below
        for message in slot.messages():
            slot.drain()
            self._hear(slot, message)
        slot.drain()
        if dead:
            self._bury(slot)

    def _hear(self, slot: Slot, message: Message) -> None:
        if isinstance(message, Ready):
            slot.ready, self._failed_starts = True, 0
        elif isinstance(message, Figures):
            if message.stage == "fit":
                slot.last_step = message.done
            self.screen.advance(slot.number, message)
        elif slot.work:
            work = slot.work
            if not isinstance(message, Ending):
                self._fatal = self._fatal or message.sentence
                self._release(slot, "stopped")
            elif message.status == "stopped" and not (self._signals or self._fatal):
                self._lose(slot, work, "its process was told to stop")
                self._retire(slot)
            else:
                self._ended(slot.number, work.job, message)
                self._release(slot, self._how if message.status == "stopped" else message.status)
                if message.status == "out-of-memory":
                    self._retire(slot)  # it may hold on to memory: the next cell gets a fresh process

    def _retire(self, slot: Slot) -> None:
        slot.ready = False
        slot.send(None)

    def _bury(self, slot: Slot) -> None:
        """Clear away a dead process; the cell it was at is lost."""
        slot.process.join()
        code = slot.process.exitcode
        if work := slot.work:
            starved = code == -signal.SIGKILL and work.kills is not None and (kills() or 0) > work.kills
            if starved:
                self._fail(slot, work, "out-of-memory", "the system killed the process for lack of memory")
            elif self._signals or len(self._interruptions(work.job.cell)) < self.limits.retries:
                self._lose(slot, work, death(code))
            else:
                self._fail(slot, work, "crashed", death(code))
        elif not slot.ready and code != 0:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                said = slot.printed.decode(errors="replace").strip().splitlines()
                self._fatal = f"no worker process starts: {death(code)}{': ' + said[-1] if said else ''}"
        self._remove(slot)

    def _enforce(self) -> None:
        """Kill the worker of every cell that has had its time or holds more memory than it may."""
        timeout, memory = self.limits.timeout, self.limits.memory
        for slot, work in self._busy:
            if timeout and work.seconds > timeout:
                self._cut(slot, "timeout", f"longer than {timeout / 60:g} minutes")
            elif memory and (held := slot.resident) > memory:
                reason = f"its process held {held / 1e9:.2f} GB, and {memory / 1e9:.2f} GB are allowed"
                self._cut(slot, "out-of-memory", reason)

    def _cut(self, slot: Slot, status: str, reason: str) -> None:
        slot.kill()
        for message in slot.messages():  # it may have finished just now
            self._hear(slot, message)
        slot.drain()
        if slot.work:
            self._fail(slot, slot.work, status, reason)
        self._remove(slot)

    def _beat(self) -> None:
        """Now and then show others that our cells go on; one that was taken from us is dropped."""
        if time.monotonic() - self._beaten < BEAT:
            return
        self._beaten = time.monotonic()
        for slot, work in self._busy:
            if not self.store.beat(work.job.cell.id, work.attempt):
                slot.kill()
                self._ended(slot.number, work.job, Ending("elsewhere"))
                self._release(slot, "lost")
                self._remove(slot)

    # ---------------------------------------------------------------- how attempts end

    def _fail(self, slot: Slot, work: Work, status: str, reason: str) -> None:
        """Write the record of a cell whose process is gone."""
        resources = {"overhead_seconds": work.seconds}
        record = work.job.record(
            self.setup.grid,
            slot.setup.circumstances,
            status,
            reason,
            started=work.attempt.began,
            last_step=slot.last_step,
            resources=resources,
        )
        try:
            first = self.store.finish(work.job, record)
        except StoreError as error:
            self._fatal = self._fatal or str(error)
            status = "lost"
        else:
            ending = Ending(status, reason, work.seconds, resources) if first else Ending("elsewhere")
            self._ended(slot.number, work.job, ending)
        self._release(slot, status)

    def _lose(self, slot: Slot, work: Work, reason: str) -> None:
        """Let a cell go on later."""
        self._waiting.append(work.job)
        self.screen.lose(slot.number, work.job, reason)
        self._release(slot, "lost")

    def _ended(self, number: int, job: Job, ending: Ending) -> None:
        self.tally.endings.append((job.cell, ending))
        self.screen.end(number, job, ending)

    def _release(self, slot: Slot, how: str) -> None:
        if slot.work:
            slot.work.log.close()
            self.store.end(slot.work.job.cell.id, slot.work.attempt, how)
        slot.work = None

    def _remove(self, slot: Slot) -> None:
        slot.close(0)
        self._slots[slot.number] = None

    def _close(self) -> None:
        """End every process: in peace where it is idle, at once where it is not."""
        slots = [slot for slot in self._slots if slot]
        for slot in slots:
            slot.send(None)
        deadline = time.monotonic() + ENDING
        for slot in slots:
            slot.close(deadline - time.monotonic())
            self._release(slot, self._how)
            self._slots[slot.number] = None

    # ---------------------------------------------------------------- stopping

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Count the signals that ask to stop for the block, in place of what they do otherwise."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def count(number: int, _: object) -> None:
            if not self._signals:
                self._how = self.stops[number]()
                self.tally.signal = number
            self._signals += 1

        before = {number: signal.signal(number, count) for number in self.stops}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wind_down(self) -> None:
        """Ask running cells to stop; when they do not, kill them."""
        if self._asked is None:
            self._asked = time.monotonic()
            if self._busy:
                cells = "1 running cell" if len(self._busy) == 1 else f"{len(self._busy)} running cells"
                again = "" if self._fatal else "again "
                kills = "" if self.limits.patience else f" (Ctrl-C {again}kills)"
                self.screen.note(f"stopping: {cells} will save a checkpoint first{kills}")
            for slot, _ in self._busy:
                slot.send("stop")
        patience = self.limits.patience
        tired = self._signals > (0 if self._fatal else 1) if patience is None else self._since_asked > patience
        for slot, work in self._busy if tired else ():
            self._ended(slot.number, work.job, Ending("stopped", "killed"))
            slot.kill()
            slot.drain()
            self._release(slot, self._how)
            self._remove(slot)

    @property
    def _since_asked(self) -> float:
        return time.monotonic() - (self._asked or 0.0)
