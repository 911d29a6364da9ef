"""A real SLURM cluster for the tests of this folder, and a shell in which `bench` talks to it.

Where this machine cannot have one, the tests skip with the reason; with BENCH_REQUIRE_SLURM set, they fail.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

SCRIPT = Path(__file__).with_name("cluster.py")
FAKES = Path(__file__).parents[1] / "sweep" / "fakes"


class Cluster:
    """A running cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}

    def control(self, command: str, *names: str) -> subprocess.CompletedProcess[str]:
        """Carry out a command of the cluster's script: `kill n1`."""
        words = [sys.executable, str(SCRIPT), command, str(self.folder), *names]
        return subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)

    def ask(self, *command: str) -> str:
        """Return what a SLURM command prints."""
        environment = os.environ | self.environment
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    def processes(self) -> list[psutil.Process]:
        """Return the processes of `bench` in jobs: those that watch over cells, and their workers."""
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                ours = process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]
                job = ours and "SLURM_JOB_ID" in process.environ()
            except psutil.Error:
                continue
            if (
                job
                and words.startswith(sys.executable)
                and ("bench_boot" in words or "spawn_main" in words or "forkserver" in words)
            ):
                found.append(process)
        return found

    def parents(self) -> list[psutil.Process]:
        """Return the processes that watch over the cells of a job."""
        return [process for process in self.processes() if "bench_boot.py" in " ".join(process.cmdline())]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    # a short path, for sockets lie there, and outside of pytest's own folders, whose paths are long
    running = Cluster(Path(tempfile.mkdtemp(prefix="slurm-")))
    try:
        started = running.control("start")
        if started.returncode:
            reason = (started.stdout or started.stderr).strip().splitlines()[-1]
            if os.environ.get("BENCH_REQUIRE_SLURM"):
                pytest.fail(f"no SLURM cluster starts: {reason}", pytrace=False)
            pytest.skip(f"needs a SLURM cluster: {reason}")
        yield running
    finally:
        running.control("stop")
        shutil.rmtree(running.folder, ignore_errors=True)


class Shell:
    """Runs `bench` in an empty folder, with plugins that can be edited, on the cluster."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.plugins = folder / "plugins"
        shutil.copytree(FAKES, self.plugins, ignore=shutil.ignore_patterns("__pycache__"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "PYTHON", "SLURM"))}
        self.environment = kept | {
            **cluster.environment,
            "BENCH_PLUGINS": str(self.plugins),
            "BENCH_DATA": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COLUMNS": "200",
        }

    def grid(self, *how: str, seeds: int = 1, seconds: float = 0.0, slurm: str = "") -> None:
        """Write the grid `fakes.toml`."""
        (self.folder / "fakes.toml").write_text(
            f'title = "fakes"\nseeds = {seeds}\n[[dataset]]\nname = "points"\n'
            "[networks]\nlatent = 2\n[train]\nepochs = 1\n"
            f'[[strategy]]\nname = "actor"\nhow = {json.dumps(list(how))}\nseconds = {seconds}\n[slurm]\n{slurm}\n'
        )

    def __call__(self, verb: str, *arguments: str, check: int | None = 0) -> str:
        """Run `bench VERB --grid fakes.toml ...`, check its exit code, and return what it printed."""
        words = [sys.executable, "-m", "bench", verb, *arguments]
        if "--grid" not in arguments:
            words += ["--grid", "fakes.toml"]
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert check is None or done.returncode == check, done.stdout + done.stderr
        return done.stdout + done.stderr

    def cells(self, *arguments: str) -> list[dict[str, Any]]:
        """Return where every cell stands."""
        found: list[dict[str, Any]] = json.loads(self("status", "--json", *arguments))["cells"]
        return found

    def begun(self) -> int:
        """Return how many attempts at cells were begun; unlike `cells`, that takes nothing from the jobs."""
        return len(list(self.folder.glob("runs/fakes/cells/*/attempt-*.json")))

    def records(self, store: str = "runs/fakes") -> dict[Path, dict[str, Any]]:
        """Return the final records by their files."""
        files = (self.folder / store / "cells").glob("*/record-????????????????.json")
        return {file: json.loads(file.read_text()) for file in files}


@pytest.fixture
def shell(cluster: Cluster, tmp_path: Path) -> Iterator[Shell]:
    yield Shell(tmp_path, cluster)
    cluster.ask("scancel", "--user=root")


@pytest.fixture
def wait() -> Callable[..., None]:
    """Wait for a condition; what it last was is told when it does not come."""

    def wait(condition: Callable[[], object], seconds: float = 60) -> None:
        deadline, asked = time.monotonic() + seconds, time.monotonic()
        while not (seen := condition()):
            answered = time.monotonic()
            assert answered < deadline, f"not within {seconds} s: {seen}"
            time.sleep(max(0.2, answered - asked))  # to ask may take a command, which the jobs share the machine with
            asked = time.monotonic()

    return wait
