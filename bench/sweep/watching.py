"""`bench status --watch`: where cells stand, drawn anew on a terminal and in plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from bench.sweep import status
from bench.sweep.progress import BEAT
from bench.sweep.requests import Request
from bench.sweep.slurm.commands import PAUSE
from bench.sweep.status import Survey

QUIET = 10.0  # seconds without a cell that runs, while some are missing, after which nothing is expected any more


def watch(request: Request, pause: float = PAUSE, quiet: float = QUIET) -> Survey:
    """Show where cells stand until none runs, or waits in a job that starts by itself; return how all stand then.

    Between two cells of a sweep none may run for a moment, and one that was just begun takes a while to its first.

    Args:
        request: the cells.
        pause: seconds between two looks, at least.
        quiet: seconds for which nothing may run while cells are missing.
    """
    said: set[str] = set()

    def once(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            request.say(sentence)

    looks = _looks(replace(request, say=once), pause, quiet)
    drawn = sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return _drawn(looks) if drawn else _printed(looks)


def _looks(request: Request, pause: float, quiet: float) -> Iterator[Survey]:
    lively = time.monotonic()
    while True:
        start = time.monotonic()
        survey = request.survey()
        yield survey
        moment = time.monotonic()
        if survey.goes_on:
            lively = moment
        elif not survey.counts()["missing"] or moment - lively > quiet:
            return
        time.sleep(max(pause, 5 * (moment - start)))  # a look at many cells is work, too


def _drawn(looks: Iterator[Survey]) -> Survey:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    survey = None
    with Live(console=Console(highlight=False), auto_refresh=False, transient=True) as screen:
        for survey in looks:
            lines = [status.table(survey), status.summary(survey.counts()), *status.running(survey)]
            screen.update(Text("\n".join(lines)), refresh=True)
    assert survey is not None
    return survey


def _printed(looks: Iterator[Survey]) -> Survey:
    """Print how many cells there are of each kind when that changes, and now and then a line for each that runs."""
    survey, before, beat = None, "", 0.0
    for survey in looks:
        moment, summary = time.monotonic(), status.summary(survey.counts())
        if summary != before or moment - beat > BEAT:
            before, beat = summary, moment
            print(summary, *status.running(survey), sep="\n", flush=True)
    assert survey is not None
    return survey
