"""What a cell is going to take, by a few steps of its training in a run store of their own, which is deleted."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.protocol.data import MAY_DOWNLOAD
from bench.sweep.attempts import Ending, Job
from bench.sweep.pool import Pool, SweepError
from bench.sweep.screen import Screen
from bench.sweep.wire import Figures
from bench.sweep.worker import STEP_SECONDS, Setup

STEPS = 20  # that are measured
PATIENCE = 45.0  # seconds that they may take
_NOWHERE = "http://127.0.0.1:9"  # where nothing listens


@dataclass(frozen=True)
class Measured:
    """What a cell takes.

    Attributes:
        seconds: of training; of all of it where it was over before so many steps. None where it was not to be seen.
        size: bytes that the cell held on disk meanwhile.
        whole: it was carried out to its end, scoring included.
        reason: why it was not to be seen.
    """

    seconds: float | None
    size: int = 0
    whole: bool = False
    reason: str = ""


class _Over(Exception):
    """Enough was seen."""


class _Watch(Screen):
    """Takes what the cell tells until it has taken its steps, or has ended."""

    def __init__(self) -> None:
        self.result = Measured(None, reason="its steps could not be counted")
        self._last: Figures | None = None
        self._began = time.monotonic()

    def advance(self, slot: int, figures: Figures) -> None:
        """Take how far the cell is."""
        if figures.stage == "fit":
            self._last = figures
        else:  # it was trained in fewer steps
            self.result = Measured(
                None, reason="it trains for a moment only, and scoring takes longer than is measured"
            )

    def lose(self, slot: int, job: Job, reason: str) -> None:
        """The cell has taken its steps, or its process is gone."""
        if self._last and STEP_SECONDS in self._last.figures:
            self.result = Measured(self._last.figures[STEP_SECONDS] * self._last.total)
        else:
            self.result = Measured(None, reason=reason)
        raise _Over

    def end(self, slot: int, job: Job, ending: Ending) -> None:
        """The cell was quicker, or failed."""
        if ending.failed:
            self.result = Measured(None, reason=f"{ending.status}: {ending.reason}")
        else:
            self.result = Measured(ending.seconds, whole=True)

    def tick(self) -> None:
        """Stop where it takes too long."""
        if time.monotonic() - self._began > PATIENCE:
            raise _Over


def measured(setup: Setup, job: Job) -> Measured:
    """Return what a cell takes, by `STEPS` steps on the setup's device; nothing is downloaded for that."""
    watch = _Watch()
    with tempfile.TemporaryDirectory(prefix="bench-measured-", ignore_cleanup_errors=True) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.symlink((setup.store / "data").resolve(strict=True), Path(folder) / "data")  # arrays of the user's own
        try:
            with offline():
                tally = Pool(replace(setup, store=Path(folder), steps=STEPS), 1, watch).run([job])
            if tally.signal is not None:
                raise KeyboardInterrupt
        except _Over:
            pass
        except SweepError as error:
            return Measured(None, reason=str(error))
        return replace(watch.result, size=held(Path(folder) / "cells" / job.cell.id))


def held(folder: Path) -> int:
    """Return how many bytes the files in a folder hold."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Keep this process and those that start in the block from downloading, where they ask us or the environment."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    before = {name: os.environ.get(name) for name in (*names, "NO_PROXY", "no_proxy")}
    os.environ.update(dict.fromkeys(names, _NOWHERE))
    os.environ.update({"NO_PROXY": "", "no_proxy": ""})
    allowed = MAY_DOWNLOAD.set(False)
    try:
        yield
    finally:
        MAY_DOWNLOAD.reset(allowed)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
