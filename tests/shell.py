"""The command line, in processes of its own, beside files that nothing may execute."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

FAKES = Path(__file__).parent / "sweep" / "fakes"

GRID = """title = "fakes"
seeds = {seeds}
[[dataset]]
name = "points"
[networks]
latent = 2
[train]
epochs = 1
[[strategy]]
name = "actor"
how = {how}
seconds = {seconds}
"""


#: what no process of a command may execute, though it lies in the working directory and is called like a library
HOSTILE = 'import os\nopen(os.path.join(os.path.dirname(__file__), "executed"), "a").write(__name__)\n'
LIBRARIES = ("json", "multiprocessing", "numpy", "random", "signal", "torch")


class Shell:
    """Runs `bench` in a folder with hostile files and the fake plugins, copied so that they can be edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = folder / "plugins"
        shutil.copytree(FAKES, self.plugins, ignore=shutil.ignore_patterns("__pycache__"))
        for name in LIBRARIES:
            (folder / f"{name}.py").write_text(HOSTILE)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "PYTHON"))}
        self.environment = kept | {
            "BENCH_PLUGINS": str(self.plugins),
            "BENCH_DATA": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COLUMNS": "200",
        }

    def grid(self, *how: str, seeds: int = 1, seconds: float = 0.0) -> None:
        """Write the grid `fakes.toml`."""
        content = GRID.format(how=json.dumps(list(how)), seeds=seeds, seconds=seconds)
        (self.folder / "fakes.toml").write_text(content)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `bench` in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run `bench` and return exit code, output and errors."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def records(self, pattern: str = "record-????????????????.json") -> list[Path]:
        """Return the files of records."""
        return sorted((self.folder / "runs" / "fakes" / "cells").glob(f"*/{pattern}"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.02)
