"""What a sweep shows: bars with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench.sweep.attempts import Ending, Job
from bench.sweep.progress import Lines, Notebook, Pace, duration, screen
from bench.sweep.status import Survey
from bench.sweep.wire import Figures

Look = Callable[..., Survey]


@pytest.fixture
def job(look: Look) -> Job:
    return look("ok").jobs()[0]


def half(stage: str = "fit") -> Figures:
    return Figures(stage, 450, 900, {"epoch": 3.0, "bound": 101.234567})


def test_time_left_follows_the_pace_so_far(job: Job) -> None:
    seconds = 0.0
    pace = Pace(4, clock=lambda: seconds)
    pace.begin(0, job)
    assert pace.left is None
    seconds = 10.0
    pace.end(0, Ending("ok", seconds=10, resources={"fit_seconds": 5.0, "evaluate_seconds": 5.0}))
    assert pace.left == 30.0
    pace.begin(0, job)
    assert pace.advance(0, half("evaluate")) == 0.75  # by how the first cell's time was split
    seconds = 17.5
    assert pace.left == pytest.approx(17.5 / 1.75 * 2.25)


def test_cells_that_others_finish_and_earlier_attempts_do_not_speed_up_the_pace(job: Job) -> None:
    seconds = 0.0
    pace = Pace(3, clock=lambda: seconds)
    pace.end(0, Ending("elsewhere"))
    pace.begin(0, replace(job, attempt=2))
    resumed = pace.advance(0, half())
    seconds = 10.0
    assert pace.left is None
    pace.end(0, Ending("ok"))
    assert pace.left == pytest.approx(10 / (1 - resumed))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (120, "2 min"), (3599, "60 min"), (7500, "2 h 05 min"), (400_000, "4 d 15 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_plain_lines_say_how_each_cell_ended(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(2, lambda job: "points actor seed 0", lambda job: f"log-{job.attempt}.txt") as lines:
        lines.begin(0, job)
        lines.advance(0, half())
        lines.tick()
        lines.end(0, job, Ending("ok", seconds=1.25))
        lines.end(0, job, Ending("crashed", "the process was killed by SIGKILL", 200.0))
    assert capsys.readouterr().err.splitlines() == [
        "[1/2] ok       points actor seed 0 (1.2 s)",
        "[2/2] crashed  points actor seed 0 (3 min): the process was killed by SIGKILL; its output: log-1.txt",
    ]


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_shows_bars_and_respects_no_color(colour: bool) -> None:
    code = """
from types import SimpleNamespace
from bench.sweep.progress import screen
from bench.sweep.attempts import Ending
from bench.sweep.worker import Figures
job = SimpleNamespace(attempt=1)
with screen(2, lambda job: "points actor[how=ok] seed 0", lambda job: "log") as shown:
    shown.begin(0, job)
    shown.advance(0, Figures("fit", 450, 900, {"bound": 101.234567}))
    shown.tick()
    shown._bars.refresh()
    shown.end(0, job, Ending("ok", seconds=1.0))
"""
    parent, child = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "120"} | ({} if colour else {"NO_COLOR": "1"})
    with subprocess.Popen([sys.executable, "-c", code], stderr=child, env=environment) as process:
        os.close(child)
        shown = b""
        try:
            while part := os.read(parent, 65536):
                shown += part
        except OSError:
            pass  # how Linux says that the other side is closed
        os.close(parent)
        assert process.wait() == 0
    text = shown.decode()
    assert "0 of 2 cells" in text
    assert "fit 450/900, bound 101.23" in text
    assert "ok       points actor[how=ok] seed 0 (1.0 s)" in text
    assert ("\x1b[3" in text or "\x1b[9" in text) == colour


def test_who_only_drives_kernels_is_in_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython

    ipython: Any = IPython
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))  # nbclient imports it to find kernels
    named: Any = lambda job: "points actor"  # noqa: E731
    monkeypatch.setattr(ipython, "get_ipython", lambda: None)
    assert isinstance(screen(1, named, named), Lines)
    monkeypatch.setattr(ipython, "get_ipython", lambda: SimpleNamespace())  # IPython in a terminal
    assert isinstance(screen(1, named, named), Lines)
    monkeypatch.setattr(ipython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    assert isinstance(screen(1, named, named), Notebook)
