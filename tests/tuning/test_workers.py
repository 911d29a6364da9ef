"""Several processes on one study, some of which are killed: no trial is lost, and none counts twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.sweep.store import Store
from tests.tuning.conftest import FAKES
from tests.workers import workers

GRID = """title = "fakes"
[[dataset]]
name = "drawn"
[networks]
latent = 2
[[strategy]]
name = "known"
seconds = {seconds}
"""

#: the command, whose workers load no library that these cells do without
BENCH = """
import sys
import bench.sweep.processes
from bench.cli import main
bench.sweep.processes.LIBRARIES = ()
sys.argv[0] = "bench"
main()
"""


class Shell:
    """Runs `bench tune` in processes of its own, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[str]] = []
        self.environment = os.environ | {"BENCH_PLUGINS": str(FAKES), "XDG_CACHE_HOME": str(folder / "cache")}

    def start(self, *words: str, seconds: float = 1.0) -> subprocess.Popen[str]:
        """Start `bench tune`."""
        (self.folder / "fakes.toml").write_text(GRID.format(seconds=seconds))
        command = [sys.executable, "-c", BENCH, "tune", "--grid", "fakes.toml", "--pruner", "none", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.running.append(subprocess.Popen(command, cwd=self.folder, env=self.environment, **pipes))  # type: ignore[call-overload]
        return self.running[-1]

    def end(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """Wait for its end, and return what it said."""
        said, _ = process.communicate(timeout=120)
        assert process.returncode == code, said
        return said

    @property
    def store(self) -> Store:
        """The run store of the trials."""
        return Store(self.folder / "runs" / "fakes-trials")

    def going(self) -> list[Path]:
        """Return the cells that are being trained."""
        return sorted(self.folder.glob("runs/fakes-trials/cells/*/*/epoch"))

    def attempts(self) -> dict[int, list[str]]:
        """Return how the attempts at each trial ended."""
        return {
            record.seed - 1_000_000: [attempt.how for attempt in self.store.history(record.cell)]
            for record in self.store.records()
        }


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    for process in shell.running:
        process.kill()
        process.communicate()


def wait(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_trial_of_a_killed_process_goes_on_in_another_exactly_once(shell: Shell) -> None:
    first = shell.start("--trials", "6", "--jobs", "1")
    wait(lambda: shell.going())
    workers(psutil.Process(first.pid))[0].suspend()  # so that its trial has not ended when its process does
    (held,) = shell.going()
    second = shell.start("--trials", "6", "--jobs", "1")
    wait(lambda: set(shell.going()) - {held})
    first.send_signal(signal.SIGKILL)  # its worker ends with it
    said = shell.end(second)
    ends = shell.attempts()
    assert sorted(ends) == [0, 1, 2, 3, 4, 5]
    assert sorted(ends.values()) == [["lost", "ok"], *[["ok"]] * 5]
    lost = next(record for record in shell.store.records() if record.attempt == 2)
    assert lost.restarts == 1
    assert "6 of 6 trials ended (0 pruned, 0 failed)" in said
    assert (shell.folder / "fakes-tuned.toml").is_file()


def test_a_worker_that_is_killed_costs_its_trial_an_attempt(shell: Shell) -> None:
    process = shell.start("--trials", "3", "--jobs", "1")
    wait(lambda: shell.going())
    (worker,) = workers(psutil.Process(process.pid))
    worker.kill()
    shell.end(process)
    assert shell.attempts() == {0: ["lost", "ok"], 1: ["ok"], 2: ["ok"]}


def test_an_interrupted_study_goes_on_and_adds_exactly_the_missing_trials(shell: Shell) -> None:
    process = shell.start("--trials", "4", "--jobs", "2")
    wait(lambda: len(shell.going()) >= 2)
    process.send_signal(signal.SIGINT)
    said = shell.end(process, 130)
    assert said.endswith("stopped; to go on: bench tune --grid fakes.toml --pruner none --trials 4 --jobs 2\n")
    shell.end(shell.start("--trials", "4", "--jobs", "2"))
    ends = shell.attempts()
    assert sorted(ends) == [0, 1, 2, 3]
    assert [ends[0], ends[1]] == [["stopped", "ok"]] * 2
    resumed = [record.stability["resumed_at"] for record in shell.store.records() if record.attempt == 2]
    assert all(resumed)


@pytest.mark.slow
def test_processes_that_begin_together_share_one_study(shell: Shell) -> None:
    processes = [shell.start("--trials", "8", "--jobs", "1", seconds=0.2) for _ in range(3)]
    for process in processes:
        shell.end(process)
    ends = shell.attempts()
    assert sorted(ends) == list(range(8))
    assert {*map(tuple, ends.values())} == {("ok",)}
    journal = (shell.folder / "runs/fakes-trials/studies.journal").read_text().splitlines()
    assert sum(json.loads(line)["op_code"] == 0 for line in journal) <= 3  # three tried to make it, one did
