"""Several cells on a GPU: how many, by a short measurement, and the service that lets their kernels run together."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.sweep.attempts import Ending, Job
from bench.sweep.pool import Pool
from bench.sweep.processes import end_with_parent
from bench.sweep.screen import Screen, Tally
from bench.sweep.wire import Figures
from bench.sweep.worker import Setup

COUNTS = (1, 2, 4, 8, 16)  # of cells on a GPU that are measured, as long as more of them bring more
GAIN = 1.1  # more steps a second, that twice as many cells must bring
SECONDS = 8.0  # of a measurement, from when every cell trains
PATIENCE = 120.0  # seconds until every cell trains
CONTROL = "nvidia-cuda-mps-control"
ANSWER = 15.0  # seconds that the service has to answer
PROBE = (sys.executable, "-P", "-c", "import torch; torch.zeros((), device='cuda').add_(1).item()")

Share = int | Literal["auto"]


class Interrupted(Exception):
    """A signal came while cells were measured."""

    def __init__(self, tally: Tally) -> None:
        super().__init__("stopped while cells were measured")
        self.tally = tally


@dataclass(frozen=True)
class Choice:
    """How many cells are to share a GPU.

    Attributes:
        cells: so many.
        rates: number of cells -> their steps a second together; empty where none could be measured.
    """

    cells: int
    rates: Mapping[int, float]

    def __str__(self) -> str:
        """Say what was measured and what follows."""
        follows = f"{self.cells} {'cell shares' if self.cells == 1 else 'cells share'} a GPU"
        if not self.rates:
            return f"{follows}: cells end, or do not fit, before their steps can be counted"
        measured = ", ".join(f"{count}: {rate:,.0f}" for count, rate in self.rates.items())
        return f"{follows}; steps a second by cells: {measured}"


def choose(measure: Callable[[int], float | None], most: int) -> Choice:
    """Return how many cells are to share a GPU: twice as many as long as that brings `GAIN`, and not above `most`.

    Args:
        measure: number of cells -> their steps a second together; None where they do not fit, or cannot be measured.
        most: cells there are for a GPU.
    """
    rates: dict[int, float] = {}
    cells = 1
    for count in COUNTS:
        rate = measure(count) if count <= max(most, 1) else None
        if rate is None:
            break
        rates[count] = rate
        if count > 1 and rate < GAIN * rates[cells]:
            break
        cells = count
    return Choice(cells, rates)


@contextlib.contextmanager
def slots(setup: Setup, jobs: Sequence[Job], devices: Sequence[str], per_gpu: Share, screen: Screen) -> Iterator[int]:
    """Give how many of these cells run at a time on these GPUs, and let them run side by side in the block.

    Args:
        setup: what all cells share.
        jobs: the cells.
        devices: the GPUs.
        per_gpu: cells on each; `auto` measures.
        screen: is told what was measured, and how processes share a GPU.

    Raises:
        Interrupted: a signal came meanwhile.
        SweepError: no worker starts.
    """
    several = len(jobs) > len(devices) and per_gpu != 1
    with served(screen.note) if several else contextlib.nullcontext():
        if per_gpu == "auto":
            most = -(-len(jobs) // len(devices))
            choice = choose(lambda count: rate(setup.on(devices[0]), jobs[:count]), most) if several else Choice(1, {})
            if several:
                screen.note(str(choice))
            per_gpu = choice.cells
        yield min(len(devices) * per_gpu, len(jobs))


# ---------------------------------------------------------------- a measurement


class _Over(Exception):
    """Enough was seen."""


class Meter(Screen):
    """Counts the steps of cells that train at the same time, for a while.

    Args:
        cells: how many.
        seconds: how long.
    """

    def __init__(self, cells: int, seconds: float) -> None:
        self.cells, self.seconds = cells, seconds
        self.began = time.monotonic()
        self.opened: float | None = None  # when all of them trained
        self.first: dict[
            int, tuple[float, int]
        ] = {}  # slot -> when the first figures within the window came, and steps
        self.last: dict[int, tuple[float, int]] = {}
        self.failed = False

    def advance(self, slot: int, figures: Figures) -> None:
        """Take where a cell is."""
        if figures.stage != "fit":
            raise _Over
        mark = (time.monotonic(), figures.done)
        if slot in self.last and figures.done < self.last[slot][1]:
            raise _Over  # another stage of training begins
        self.last[slot] = mark
        if self.opened is None and len(self.last) == self.cells:
            self.opened = mark[0]
        if self.opened is not None:
            self.first.setdefault(slot, mark)

    def end(self, slot: int, job: Job, ending: Ending) -> None:
        """Stop: a cell is over."""
        self.failed = ending.status != "ok"
        raise _Over

    def lose(self, slot: int, job: Job, reason: str) -> None:
        """Stop: a cell's process is gone."""
        self.failed = True
        raise _Over

    def tick(self) -> None:
        """Stop where it has been long enough."""
        now = time.monotonic()
        if now - self.began > PATIENCE if self.opened is None else now - self.opened > self.seconds:
            raise _Over

    @property
    def rate(self) -> float | None:
        """Steps a second of all cells together; None where that was not to be seen."""
        if self.failed or self.opened is None:
            return None
        spans = [(self.last[slot][0] - since, self.last[slot][1] - done) for slot, (since, done) in self.first.items()]
        if len(spans) < self.cells or not all(seconds > 0 and steps > 0 for seconds, steps in spans):
            return None
        return sum(steps / seconds for seconds, steps in spans)


def rate(setup: Setup, jobs: Sequence[Job], seconds: float = SECONDS) -> float | None:
    """Return how many steps of training a second these cells take at the same time on the setup's device.

    They train in a run store of their own, which is deleted; None where that cannot be seen.

    Raises:
        Interrupted: a signal came meanwhile.
        SweepError: no worker starts.
    """
    meter = Meter(len(jobs), seconds)
    with tempfile.TemporaryDirectory(prefix="bench-measured-", ignore_cleanup_errors=True) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.symlink((setup.store / "data").resolve(strict=True), Path(folder) / "data")  # arrays of the user's own
        try:
            tally = Pool(replace(setup, store=Path(folder)), len(jobs), meter).run(jobs)
        except _Over:
            return meter.rate
    if tally.signal is not None:
        raise Interrupted(tally)
    return meter.rate


# ---------------------------------------------------------------- CUDA's multi-process service


@contextlib.contextmanager
def served(note: Callable[[str], None], probe: Sequence[str] = PROBE) -> Iterator[None]:
    """Let processes that start in the block share GPUs through CUDA's multi-process service, where it can be started.

    It has a folder of its own, and ends with the block or with this process. Without it processes take turns on a GPU.

    Args:
        note: takes what is to be known of it, a sentence.
        probe: a command that computes on a GPU, to see whether the service lets it.
    """
    control = shutil.which(CONTROL)
    if control is None or "CUDA_MPS_PIPE_DIRECTORY" in os.environ:  # a site may have a service of its own
        if control is None:
            note(f"cells take turns on a GPU: there is no {CONTROL} on this machine")
        yield
        return
    with tempfile.TemporaryDirectory(prefix="bench-mps-", ignore_cleanup_errors=True) as folder:
        places = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
        for place in places.values():
            os.mkdir(place)
        environment = {**os.environ, **places}
        service = subprocess.Popen(
            [control, "-f"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_parent,
        )
        try:
            reason = _refusal(service, control, probe, environment)
            if reason:
                note(f"cells take turns on a GPU: CUDA's multi-process service {reason}")
                _quit(service, control, environment)
                yield
                return
            note("cells share a GPU through CUDA's multi-process service")
            os.environ.update(places)
            try:
                yield
            finally:
                for name in places:
                    os.environ.pop(name, None)
        finally:
            _quit(service, control, environment)


def _refusal(
    service: subprocess.Popen[bytes], control: str, probe: Sequence[str], environment: Mapping[str, str]
) -> str:
    """Return why the service cannot be used, a verb and what follows, or nothing."""
    deadline = time.monotonic() + ANSWER
    while _ask(control, "get_server_list", environment) != 0:
        if service.poll() is not None:
            return f"ended with exit code {service.returncode}"
        if time.monotonic() > deadline:
            return "does not answer"
        time.sleep(0.1)
    try:
        code = subprocess.run(probe, env=environment, capture_output=True, check=False, timeout=60).returncode
    except (OSError, subprocess.TimeoutExpired):
        return "lets no process compute"
    return "lets no process compute" if code else ""


def _ask(control: str, order: str, environment: Mapping[str, str]) -> int:
    try:
        command = subprocess.run(
            [control], input=f"{order}\n".encode(), env=environment, capture_output=True, check=False, timeout=ANSWER
        )
    except (OSError, subprocess.TimeoutExpired):
        return -1
    return command.returncode


def _quit(service: subprocess.Popen[bytes], control: str, environment: Mapping[str, str]) -> None:
    if service.poll() is None:
        _ask(control, "quit", environment)
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.wait(ANSWER)
    service.kill()
    service.wait()
