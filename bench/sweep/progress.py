"""What a sweep shows while it runs: bars with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from bench.sweep.attempts import Ending, Job
from bench.sweep.worker import Figures

if TYPE_CHECKING:
    from rich.progress import TaskID

BEAT = 60.0  # seconds between two plain lines about what is running
FIT_SHARE = 0.8  # of a cell's time, until one has ended
SETTLED = 2.0  # seconds before a time left is worth saying


class Screen(Protocol):
    """What is told about a sweep while it runs."""

    def begin(self, slot: int, job: Job) -> None:
        """A cell begins in a slot."""

    def advance(self, slot: int, figures: Figures) -> None:
        """A cell tells how far it is."""

    def end(self, slot: int, job: Job, ending: Ending) -> None:
        """A cell ended."""

    def lose(self, slot: int, job: Job, reason: str) -> None:
        """A cell's process is gone; the cell will go on."""

    def note(self, sentence: str) -> None:
        """Something happened that the user should know."""

    def tick(self) -> None:
        """Time passed."""


class Pace:
    """How far a sweep is, and how long it will take at the pace so far.

    Args:
        cells: how many there are.
        clock: seconds.
    """

    def __init__(self, cells: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.cells = cells
        self.ended = 0
        self._clock, self._start = clock, clock()
        self._ours = 0.0  # cells' worth of work that this sweep has done, in cells that ended
        self._running: dict[int, float] = {}
        self._found: dict[int, float | None] = {}  # done by earlier attempts of a running cell, once known
        self._stages = {"fit_seconds": 0.0, "evaluate_seconds": 0.0}

    def begin(self, slot: int, job: Job) -> None:
        """A cell begins."""
        self._running[slot] = 0.0
        self._found[slot] = None if job.attempt > 1 else 0.0

    def advance(self, slot: int, figures: Figures) -> float:
        """Take how far a cell is within a stage; return how far it is as a whole, from 0 to 1."""
        within = min(max(figures.done / figures.total, 0.0), 1.0) if figures.total > 0 else 0.0
        seconds = sum(self._stages.values())
        share = self._stages["fit_seconds"] / seconds if seconds else FIT_SHARE
        far = share * within if figures.stage == "fit" else share + (1 - share) * within
        self._running[slot] = max(self._running.get(slot, 0.0), far)  # a stage may begin anew
        if self._found.get(slot) is None:
            self._found[slot] = far  # resumed there: this sweep's pace does not explain it
        return self._running[slot]

    def lose(self, slot: int) -> None:
        """A cell's process is gone."""
        self._running.pop(slot, None)
        self._found.pop(slot, None)

    def end(self, slot: int, ending: Ending) -> None:
        """A cell ended."""
        begun = self._running.pop(slot, None) is not None
        self.ended += 1
        if begun:
            self._ours += 1 - (self._found.pop(slot, None) or 0.0)
        for stage in self._stages:
            self._stages[stage] += ending.resources.get(stage, 0.0)

    @property
    def done(self) -> float:
        """Cells done, with parts of running ones."""
        return self.ended + sum(self._running.values())

    @property
    def left(self) -> float | None:
        """Seconds left, or None while there is nothing to go by."""
        elapsed = self._clock() - self._start
        ours = self._ours + sum(far - (self._found[slot] or 0.0) for slot, far in self._running.items())
        if elapsed < SETTLED or ours <= 0:
            return None
        return elapsed * (self.cells - self.done) / ours


def duration(seconds: float) -> str:
    """Return `8 s`, `3 min`, `2 h 05 min` or `3 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


class Lines(AbstractContextManager["Lines"]):
    """One plain line for every cell that ends, and now and then one for each that runs.

    Args:
        cells: how many are to be carried out.
        name: what a line calls a job.
        log: where a job's output lies.
        stream: takes the lines.
    """

    def __init__(
        self, cells: int, name: Callable[[Job], str], log: Callable[[Job], str], stream: TextIO | None = None
    ) -> None:
        self.pace = Pace(cells)
        self._name, self._log, self._stream = name, log, stream or sys.stderr
        self._running: dict[int, tuple[str, str]] = {}
        self._beat = time.monotonic()

    def __exit__(self, *_: object) -> None:
        """Nothing has to be put away."""

    def begin(self, slot: int, job: Job) -> None:
        """Remember the cell."""
        self.pace.begin(slot, job)
        again = f" (attempt {job.attempt})" if job.attempt > 1 else ""
        self._running[slot] = self._name(job) + again, "begins"

    def advance(self, slot: int, figures: Figures) -> None:
        """Remember how far the cell is."""
        self.pace.advance(slot, figures)
        if slot in self._running:
            self._running[slot] = self._running[slot][0], told(figures)

    def end(self, slot: int, job: Job, ending: Ending) -> None:
        """Print how the cell ended."""
        self.pace.end(slot, ending)
        self._running.pop(slot, None)
        width = len(str(self.pace.cells))
        left = self.pace.left
        rest = f", about {duration(left)} left" if left and self.pace.ended < self.pace.cells else ""
        self.note(
            f"[{self.pace.ended:{width}}/{self.pace.cells}] {ended(self._name(job), job, ending, self._log)}{rest}"
        )

    def lose(self, slot: int, job: Job, reason: str) -> None:
        """Print that the cell will go on."""
        self.pace.lose(slot)
        self._running.pop(slot, None)
        self.note(f"lost     {self._name(job)} in attempt {job.attempt}: {reason}; it will go on")

    def note(self, sentence: str) -> None:
        """Print a sentence."""
        print(sentence, file=self._stream, flush=True)

    def tick(self) -> None:
        """Now and then print what is running."""
        if time.monotonic() - self._beat > BEAT:
            self._beat = time.monotonic()
            for name, state in self._running.values():
                self.note(f"running: {name}: {state}")


class Bars(AbstractContextManager["Bars"]):
    """A bar for the sweep with the time left, one for each running cell, and a line above for each that ended.

    Args:
        cells: how many are to be carried out.
        name: what a line calls a job.
        log: where a job's output lies.
    """

    def __init__(self, cells: int, name: Callable[[Job], str], log: Callable[[Job], str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.pace = Pace(cells)
        self._name, self._log = name, log
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            TextColumn("{task.fields[state]}", markup=False),
            console=Console(stderr=True, highlight=False),
            transient=True,
            refresh_per_second=4,
        )
        self._all = self._bars.add_task(self._counted(), total=cells, state="")
        self._running: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bars away."""
        self._bars.stop()

    def begin(self, slot: int, job: Job) -> None:
        """Add the cell's bar."""
        self.pace.begin(slot, job)
        self._running[slot] = self._bars.add_task(f"  {self._name(job)}", total=1.0, state="begins")

    def advance(self, slot: int, figures: Figures) -> None:
        """Move the cell's bar."""
        far = self.pace.advance(slot, figures)
        if slot in self._running:
            self._bars.update(self._running[slot], completed=far, state=told(figures))

    def end(self, slot: int, job: Job, ending: Ending) -> None:
        """Replace the cell's bar by a line."""
        self.pace.end(slot, ending)
        if slot in self._running:
            self._bars.remove_task(self._running.pop(slot))
        self.note(ended(self._name(job), job, ending, self._log))

    def lose(self, slot: int, job: Job, reason: str) -> None:
        """Take the cell's bar away and say that the cell will go on."""
        self.pace.lose(slot)
        if slot in self._running:
            self._bars.remove_task(self._running.pop(slot))
        self.note(f"lost     {self._name(job)} in attempt {job.attempt}: {reason}; it will go on")

    def note(self, sentence: str) -> None:
        """Print a sentence above the bars."""
        self._bars.console.print(sentence, markup=False, soft_wrap=True)

    def tick(self) -> None:
        """Move the sweep's bar."""
        left = self.pace.left
        state = f"about {duration(left)} left" if left is not None else ""
        self._bars.update(self._all, description=self._counted(), completed=self.pace.done, state=state)

    def _counted(self) -> str:
        return f"{self.pace.ended} of {self.pace.cells} cells"


def told(figures: Figures) -> str:
    """Return how far a cell is in words: `fit 120/900, epoch 3, bound 101.2`."""
    shown = "".join(f", {name} {value:.5g}" for name, value in figures.figures.items())
    return f"{figures.stage} {figures.done:,}/{figures.total:,}{shown}"


def ended(name: str, job: Job, ending: Ending, log: Callable[[Job], str]) -> str:
    """Return how a cell ended, in one line."""
    if ending.status == "elsewhere":
        return f"{name}: finished by another `bench run`"
    seconds = f"{ending.seconds:.1f} s" if ending.seconds < 90 else duration(ending.seconds)
    line = f"{ending.status:8} {name} ({seconds})"
    if ending.reason:
        line += f": {ending.reason}"
    return f"{line}; its output: {log(job)}" if ending.failed and ending.status != "diverged" else line


def screen(cells: int, name: Callable[[Job], str], log: Callable[[Job], str]) -> Lines | Bars:
    """Return what suits the standard error stream: bars on a terminal, else lines."""
    bars = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return Bars(cells, name, log) if bars else Lines(cells, name, log)
