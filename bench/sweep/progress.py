"""What a sweep shows while it runs: bars with time left on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from bench.sweep.attempts import Ending, Job
from bench.sweep.screen import Screen
from bench.sweep.wire import Figures

BEAT = 60.0  # seconds between two plain lines about what is running
FIT_SHARE = 0.8  # of a cell's time, until one has ended
LINES = 12  # that a notebook shows
PICTURE = 0.5  # seconds between two of its pictures
SETTLED = 2.0  # seconds before a time left is worth saying


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
        self._far: dict[int, float] = {}  # how far the cell in a slot is, from 0 to 1
        self._from: dict[int, float | None] = {}  # how far it was when this sweep took it over, once that is clear
        self._stages = {"fit_seconds": 0.0, "evaluate_seconds": 0.0}

    def begin(self, slot: int, job: Job) -> None:
        """A cell begins."""
        self._far[slot] = 0.0
        self._from[slot] = None if job.attempt > 1 else 0.0

    def advance(self, slot: int, figures: Figures) -> float:
        """Take how far a cell is within a stage; return how far it is as a whole, from 0 to 1."""
        within = min(max(figures.done / figures.total, 0.0), 1.0) if figures.total > 0 else 0.0
        seconds = sum(self._stages.values())
        share = self._stages["fit_seconds"] / seconds if seconds else FIT_SHARE
        far = share * within if figures.stage == "fit" else share + (1 - share) * within
        self._far[slot] = max(self._far[slot], far)  # a stage may begin anew
        if self._from[slot] is None:
            self._from[slot] = far  # resumed there: this sweep's pace does not explain it
        return self._far[slot]

    def lose(self, slot: int) -> None:
        """A cell's process is gone."""
        del self._far[slot], self._from[slot]

    def end(self, slot: int, ending: Ending) -> None:
        """A cell ended."""
        self.ended += 1
        if slot in self._far:
            self._ours += 1 - (self._from[slot] or 0.0)
            self.lose(slot)
        for stage in self._stages:
            self._stages[stage] += ending.resources.get(stage, 0.0)

    @property
    def done(self) -> float:
        """Cells done, with parts of running ones."""
        return self.ended + sum(self._far.values())

    @property
    def left(self) -> float | None:
        """Seconds left, or None while there is nothing to go by."""
        elapsed = self._clock() - self._start
        ours = self._ours + sum(far - (self._from[slot] or 0.0) for slot, far in self._far.items())
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


def spoken(stage: str, done: int, total: int, figures: Mapping[str, float], left: float | None = None) -> str:
    """Return how far a cell is in words: `fit 120/900, about 3 min of it left, epoch 3, bound 101.2`."""
    time_left = f", about {duration(left)} of it left" if left is not None else ""
    words = "".join(f", {name} {value:.5g}" for name, value in figures.items())
    return f"{stage} {done:,}/{total:,}{time_left}{words}"


# ---------------------------------------------------------------- displays


class Display(Screen):
    """A screen in words, to be entered for the time of the sweep; it says in one line how each cell ended.

    Args:
        cells: how many are to be carried out.
        name: what a line calls a job.
        log: where a job's output lies.
    """

    def __init__(self, cells: int, name: Callable[[Job], str], log: Callable[[Job], str]) -> None:
        self.pace = Pace(cells)
        self._name, self._log = name, log
        self._beat = time.monotonic()
        self._running: dict[int, tuple[str, str, float]] = {}  # name, figures in words and how far it is, by slot

    def begin(self, slot: int, job: Job) -> None:
        """Show the cell from now on."""
        self.pace.begin(slot, job)
        again = f" (attempt {job.attempt})" if job.attempt > 1 else ""
        self._running[slot] = self._name(job) + again, "begins", 0.0

    def advance(self, slot: int, figures: Figures) -> None:
        """Show how far the cell is: `fit 120/900, epoch 3, bound 101.2`."""
        words = spoken(figures.stage, figures.done, figures.total, figures.figures)
        self._running[slot] = self._running[slot][0], words, self.pace.advance(slot, figures)

    def end(self, slot: int, job: Job, ending: Ending) -> None:
        """Say how the cell ended."""
        self.pace.end(slot, ending)
        self._running.pop(slot, None)
        self.note(self._ended(job, ending))

    def lose(self, slot: int, job: Job, reason: str) -> None:
        """Say that the cell will go on."""
        self.pace.lose(slot)
        del self._running[slot]
        self.note(f"lost     {self._name(job)} in attempt {job.attempt}: {reason}; it will go on")

    def _ended(self, job: Job, ending: Ending) -> str:
        name = self._name(job)
        if ending.status == "elsewhere":
            return f"{name}: has a record already, of another `bench run` or attempt"
        seconds = f"{ending.seconds:.1f} s" if ending.seconds < 90 else duration(ending.seconds)
        reason = f": {ending.reason}" if ending.reason else ""
        output = f"; its output: {self._log(job)}" if ending.failed and ending.status != "diverged" else ""
        return f"{ending.status:8} {name} ({seconds}){reason}{output}"

    @property
    def _left(self) -> str:
        left = self.pace.left
        return f"about {duration(left)} left" if left is not None else ""


class Lines(Display):
    """One plain line for every cell that ends, and now and then one for each that runs."""

    def note(self, sentence: str) -> None:
        """Print a sentence."""
        print(sentence, file=sys.stderr, flush=True)

    def tick(self) -> None:
        """Now and then print what is running."""
        if time.monotonic() - self._beat > BEAT:
            self._beat = time.monotonic()
            for name, words, _ in self._running.values():
                self.note(f"running: {name}: {words}")

    def _ended(self, job: Job, ending: Ending) -> str:
        ended, cells = self.pace.ended, self.pace.cells
        left = f", {self._left}" if self._left and ended < cells else ""
        return f"[{ended:{len(str(cells))}}/{cells}] {super()._ended(job, ending)}{left}"


class Bars(Display):
    """A bar for the sweep with the time left, one for each running cell, and a line above for each that ended."""

    def __init__(self, cells: int, name: Callable[[Job], str], log: Callable[[Job], str]) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(cells, name, log)
        self._bars = Live(console=Console(stderr=True, highlight=False), transient=True, refresh_per_second=4)

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        self._bars.stop()

    def note(self, sentence: str) -> None:
        """Print a sentence above the bars."""
        self._bars.console.print(sentence, markup=False, soft_wrap=True)

    def tick(self) -> None:
        """Move the bars."""
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table
        from rich.text import Text

        table = Table.grid(Column(no_wrap=True), Column(), Column(no_wrap=True), padding=(0, 1))
        rows = [(f"{self.pace.ended} of {self.pace.cells} cells", self._left, self.pace.done / self.pace.cells)]
        rows += [(f"  {name}", words, share) for name, words, share in self._running.values()]
        for name, words, share in rows:
            table.add_row(Text(name), ProgressBar(total=1.0, completed=share, width=24), Text(words))
        self._bars.update(table)


class Notebook(Display):
    """What a notebook shows below its cell: the last lines, and how far the running cells are; it updates in place."""

    def __init__(self, cells: int, name: Callable[[Job], str], log: Callable[[Job], str]) -> None:
        super().__init__(cells, name, log)
        self._lines: list[str] = []
        self._output: Any = None
        self._drawn = 0.0

    def __enter__(self) -> Self:
        """Show it from now on."""
        self._output = _ipython().display(_ipython().HTML(""), display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing but lines."""
        self._running.clear()
        self._draw()

    def note(self, sentence: str) -> None:
        """Show a sentence."""
        self._lines.append(sentence)
        self._draw()

    def tick(self) -> None:
        """Now and then show how far the cells are."""
        if time.monotonic() - self._drawn > PICTURE:
            self._draw()

    def _draw(self) -> None:
        from html import escape

        self._drawn = time.monotonic()
        running = [f"running: {name}: {words}" for name, words, _ in self._running.values()]
        if running and self._left:
            running.append(self._left)
        if self._output is not None:
            text = "\n".join([*self._lines[-LINES:], *running])
            self._output.update(_ipython().HTML(f"<pre>{escape(text)}</pre>"))


def _in_notebook() -> bool:
    """Tell whether a kernel runs this process. Who only drives kernels, as nbclient does, has imported them as well."""
    running = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return running is not None and hasattr(running(), "kernel")


def _ipython() -> Any:
    """Return what shows things in a notebook; it is there where a notebook is."""
    return importlib.import_module("IPython.display")


def screen(cells: int, name: Callable[[Job], str], log: Callable[[Job], str]) -> Display:
    """Return what suits where this runs: in a notebook its own display, on a terminal bars, else lines."""
    if _in_notebook():
        return Notebook(cells, name, log)
    bars = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return Bars(cells, name, log) if bars else Lines(cells, name, log)
