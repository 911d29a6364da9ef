"""The local pool: worker processes that carry out many cells each, in a user's shell or within a SLURM job.

The parent watches every process through its sentinel. A process that dies costs one cell its attempt: the cell goes
on in another process, or, when it was lost too often, the parent writes its record. Each process ends with its parent.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from multiprocessing.connection import wait

from bench.grid import Cell
from bench.sweep.attempts import BEAT, Attempt, Ending, Job, given_up, identify, interruptions
from bench.sweep.feed import Feed
from bench.sweep.limits import Limits
from bench.sweep.live import Teller
from bench.sweep.screen import Screen, Tally
from bench.sweep.signals import Signals
from bench.sweep.slots import Log, Slot, Work, kills
from bench.sweep.storage import StoreError
from bench.sweep.store import Store
from bench.sweep.wire import Figures, Garbled, Halt, Message, Note, Ready
from bench.sweep.worker import Setup

TICK = 0.2  # seconds the parent sleeps at most, so that a signal or a deadline is noticed
POLL = 1.0  # seconds between two looks at cells that another process carries out
STARTS = 8  # processes in a row that may die before they are ready
ENDING = 10.0  # seconds an idle process has to end


class SweepError(Exception):
    """The sweep cannot go on; one sentence."""


@dataclass(eq=False)
class Pool:
    """Carries out cells in local processes.

    Attributes:
        setup: what all cells share.
        jobs: processes.
        screen: is told what happens.
        limits: what a cell may take.
        devices: the processes share them in turn; by default `setup.device` is everybody's.
        sweep: its id; attempts of the same sweep count together.
        stops: the signals that ask the sweep to stop, besides SIGINT and SIGTERM, and how an attempt ends then (see
            `attempts.Attempt.how`).
        feed: decides on further cells while others run.
    """

    setup: Setup
    jobs: int
    screen: Screen
    limits: Limits = field(default_factory=Limits)
    _: KW_ONLY
    devices: Sequence[str] = ()
    sweep: str = field(default_factory=identify)
    stops: Mapping[int, Callable[[], str]] = field(default_factory=dict)
    feed: Feed = field(default_factory=Feed)

    def __post_init__(self) -> None:
        self.store = Store(self.setup.store)
        self.tally = Tally()
        self._waiting: deque[Job] = deque()
        self._elsewhere: deque[Job] = deque()  # carried out by another `bench run`
        self._polled = 0.0
        self._shared = False  # and that was said
        self._beaten = 0.0
        self._numbers = range(0)
        self._slots: dict[int, Slot] = {}  # by number
        self._failed_starts = 0
        self._signals = Signals(self.tally, self.stops)
        self._asked: float | None = None  # when the workers were told
        self._fatal = ""

    def run(self, jobs: Sequence[Job]) -> Tally:
        """Carry out `jobs`, each exactly once between all processes that share the store.

        Raises:
            SweepError: the store cannot be written, the code changed, or no worker starts. Cells that were running
                were asked to stop first; what was finished stays.
        """
        self._waiting.extend(jobs)
        self._numbers = range(self.jobs if self.feed.open else min(self.jobs, len(jobs)))
        with self._signals.counted():
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
        return [(slot, slot.work) for slot in self._slots.values() if slot.work]

    @property
    def _stopping(self) -> bool:
        return bool(self._signals.number or self._fatal)

    def _step(self) -> bool:
        """Do what there is to do and wait for the next event; return whether the sweep goes on."""
        if self._stopping:
            self._wind_down()
        else:
            self._fill()
        left = self._waiting or self._elsewhere or self.feed.open
        if not self._busy and (self._stopping or not left):
            return False
        watched = {event: slot for slot in self._slots.values() for event in slot.watched}
        heard = {watched[event].number for event in wait(list(watched), TICK)}
        for number, slot in list(self._slots.items()):
            # each is asked: a pipe may be held open by what its process started. And first: what it said is read below
            dead = not slot.process.is_alive()
            if dead or number in heard:
                self._attend(slot)
            if dead and self._slots.get(number) is slot:
                self._bury(slot)
        self._enforce()
        self._beat()
        self.screen.tick()
        return True

    def _fill(self) -> None:
        """Give every idle slot the first cell that no other process carries out or has finished."""
        if not self._waiting and time.monotonic() - self._polled > POLL:
            self._polled = time.monotonic()
            self._waiting, self._elsewhere = self._elsewhere, self._waiting
        for number in self._numbers:
            if number not in self._slots and (self._waiting or self.feed.open):
                self._start(number)
            slot = self._slots.get(number)
            try:
                while slot and slot.ready and not slot.work and self._more():
                    if slot.used and self._waiting[0].apart:
                        self._remove(slot, ENDING)
                        break
                    self._offer(slot, self._waiting.popleft())
            except (StoreError, OSError) as error:
                self._fatal = str(error)

    def _more(self) -> bool:
        """Tell whether a cell waits; where none does, the feed is asked."""
        if not self._waiting:
            self._waiting.extend(self.feed.more())
        return bool(self._waiting)

    def _start(self, number: int) -> None:
        """Start the process of a slot."""
        device = self.devices[number % len(self.devices)] if self.devices else self.setup.device
        self._signals.interrupting = True
        try:
            self._slots[number] = Slot(number, self.setup.on(device))
        except ChildProcessError:  # the server that forks workers is no child of this process
            why = "this process was forked from one that has run a sweep; start a process of its own"
            self._fatal = self._fatal or f"no worker process starts: {why}"
        except EOFError:
            self._started_in_vain("the server that forks them ended")
        except OSError as error:
            self._started_in_vain(error.strerror or str(error))
        finally:
            self._signals.interrupting = False

    def _started_in_vain(self, reason: str) -> None:
        """Give up once too many processes in a row did not come to be ready."""
        self._failed_starts += 1
        if self._failed_starts >= STARTS:
            self._fatal = self._fatal or f"no worker process starts: {reason}"

    def _offer(self, slot: Slot, job: Job) -> None:
        """Give `slot` the cell, unless it is another's, or finished, or was lost too often."""
        if self.store.taken(job):  # finished elsewhere since the sweep was planned
            self._end(slot, job, Ending("elsewhere"))
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
            live = Teller(self.store.cell(job.cell.id), job.attempt)
            slot.work = Work(job, attempt, Log(self.store.log(job.cell.id, job.attempt)), kills(), live)
        except BaseException:
            self.store.end(job.cell.id, attempt, "lost")
            raise
        self.screen.begin(slot.number, job)
        interrupted = self._interruptions(job.cell)
        if len(interrupted) > self.limits.retries:
            self._fail(slot, slot.work, *given_up(interrupted))
        else:
            slot.used = True
            slot.send(job)

    def _interruptions(self, cell: Cell) -> list[Attempt]:
        return interruptions(self.store.history(cell.id), self.sweep)

    def _attend(self, slot: Slot) -> None:
        """Take what a worker said and printed."""
        try:
            for message in slot.messages():
                self._hear(slot, message)
                if self._slots.get(slot.number) is not slot:
                    return
        except Garbled:
            slot.kill()
            if slot.work:
                self._fail(slot, slot.work, "crashed", "what its process sent to the sweep is no message")
            self._remove(slot)

    def _hear(self, slot: Slot, message: Message) -> None:
        if isinstance(message, Ready):
            slot.ready, slot.session, self._failed_starts = True, message.session, 0
        elif not (work := slot.work):
            return
        elif isinstance(message, Figures):
            if message.stage == "fit":
                work.last_step = message.done
            work.live.hear(message)
            self.feed.hear(work.job, message)
            self.screen.advance(slot.number, message)
        elif isinstance(message, Note):
            self.screen.note(message.sentence)
        elif isinstance(message, Halt):
            if self.store.storage.at_fault(self.store.cell(work.job.cell.id), message.errno):
                self._fatal = self._fatal or message.sentence
                self._release(slot, "stopped")
            else:
                slot.kill()
                self._fail(slot, work, "error", f"{message.sentence}; only this cell's process cannot")
                self._remove(slot)
        elif not isinstance(message, Ending):
            raise Garbled
        elif message.status == "stopped" and not self._stopping:
            self._lose(slot, work, "its process was told to stop")
            self._remove(slot)
        else:
            self._end(slot, work.job, message, self._signals.how if message.status == "stopped" else message.status)
            # no other cell runs where a plugin may have changed what it computes with, or holds on to memory
            if work.job.apart or message.status == "out-of-memory":
                self._remove(slot)

    def _bury(self, slot: Slot) -> None:
        """Clear away a dead process; the cell it was at is lost."""
        slot.process.join()
        if work := slot.work:
            if slot.starved:
                self._fail(slot, work, "out-of-memory", "the system killed the process for lack of memory")
            elif self._signals.number or len(self._interruptions(work.job.cell)) < self.limits.retries:
                self._lose(slot, work, slot.exit)
            else:
                self._fail(slot, work, "crashed", slot.exit)
        elif not slot.ready and slot.process.exitcode != 0:
            said = slot.printed.decode(errors="replace").strip().splitlines()
            self._started_in_vain(f"{slot.exit}{': ' + said[-1] if said else ''}")
        self._remove(slot)

    def _enforce(self) -> None:
        """Kill the worker of every cell that has had its time or holds more memory than it may."""
        timeout, memory = self.limits.timeout, self.limits.memory
        for slot, work in self._busy:
            if timeout and work.seconds > timeout:
                self._cut(slot, "timeout", f"longer than {timeout / 60:g} minutes")
            elif memory and (held := slot.holds(memory))[0] > memory:
                who = "its process" if held[1] == 1 else f"its {held[1]} processes"
                reason = f"{who} held {held[0] / 1e9:.2f} GB, and {memory / 1e9:.2f} GB are allowed"
                self._cut(slot, "out-of-memory", reason)
            elif reason := self.feed.verdict(work.job, work.seconds):
                self._cut(slot, "pruned", reason)

    def _cut(self, slot: Slot, status: str, reason: str) -> None:
        slot.kill()
        self._attend(slot)  # it may have finished just now
        if slot.work:
            self._fail(slot, slot.work, status, reason)
        if self._slots.get(slot.number) is slot:  # one that carries out a single cell goes with it
            self._remove(slot)

    def _beat(self) -> None:
        """Now and then show others that our cells go on; one that was taken from us is left to whoever did."""
        if time.monotonic() - self._beaten < BEAT:
            return
        self._beaten = time.monotonic()
        for slot, work in self._busy:
            if not self.store.beat(work.job.cell.id, work.attempt):
                self._drop(slot, work, Ending("elsewhere"), "lost")

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
            last_step=work.last_step,
            resources=resources,
        )
        try:
            first = self.store.finish(work.job, record)
        except StoreError as error:
            self._fatal = self._fatal or str(error)
            self._release(slot, "lost")
        else:
            ending = Ending(status, reason, work.seconds, resources) if first else Ending("elsewhere")
            self._end(slot, work.job, ending, status)

    def _drop(self, slot: Slot, work: Work, ending: Ending, how: str) -> None:
        """Kill a worker that is at a cell, and write no record."""
        slot.kill()
        slot.drain()
        self._end(slot, work.job, ending, how)
        self._remove(slot)

    def _end(self, slot: Slot, job: Job, ending: Ending, how: str = "") -> None:
        """Say how a cell ended, and how the attempt at it, if it had begun."""
        if ending.status == "elsewhere" and slot.work and not self._recorded(job):
            self._elsewhere.append(job)
            self.screen.lose(slot.number, job, "another process has taken it over")
            self._release(slot, "lost")
            return
        self.tally.endings.append((job.cell, ending))
        self.screen.end(slot.number, job, ending)
        self._release(slot, how)
        self.feed.ended(job)

    def _recorded(self, job: Job) -> bool:
        """Tell whether a cell has its record, so far as that can be read."""
        try:
            return self.store.taken(job)
        except StoreError as error:
            self._fatal = self._fatal or str(error)
            return False

    def _lose(self, slot: Slot, work: Work, reason: str) -> None:
        """Let a cell go on later."""
        self._waiting.append(work.job)
        self.screen.lose(slot.number, work.job, reason)
        self._release(slot, "lost")

    def _release(self, slot: Slot, how: str) -> None:
        if slot.work:
            slot.work.log.close()
            slot.work.live.end()
            self.store.end(slot.work.job.cell.id, slot.work.attempt, how)
        slot.work = None

    def _remove(self, slot: Slot, patience: float = 0.0) -> None:
        slot.close(patience)
        self._release(slot, self._signals.how)
        del self._slots[slot.number]

    def _close(self) -> None:
        """End every process: in peace where it is idle, at once where it is not."""
        slots = list(self._slots.values())
        for slot in slots:
            slot.send(None)
        deadline = time.monotonic() + ENDING
        for slot in slots:
            self._remove(slot, deadline - time.monotonic())

    # ---------------------------------------------------------------- stopping

    def _wind_down(self) -> None:
        """Ask running cells to stop; when they do not, kill them."""
        patience = self.limits.patience
        if self._asked is None:
            self._asked = time.monotonic()
            if number := len(self._busy):
                again = "" if self._fatal else "again "
                hint = "" if patience else f" (Ctrl-C {again}kills)"
                cells = f"{number} running {'cell' if number == 1 else 'cells'}"
                self.screen.note(f"stopping: {cells} will save a checkpoint first{hint}")
            for slot, _ in self._busy:
                slot.send("stop")
        if patience is None:
            tired = self._signals.number > (0 if self._fatal else 1)
        else:
            tired = time.monotonic() - self._asked > patience
        for slot, work in self._busy if tired else ():
            self._drop(slot, work, Ending("stopped", "killed"), self._signals.how)
