"""Whatever lies in the working directory, no process of a sweep executes it (`tests/test_cli.py` for the command)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.sweep.processes import BOOT
from tests.shell import FAKES, GRID

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = 'import os\nopen(os.path.join(os.path.dirname(__file__), f"{__name__}.executed"), "w").close()\n'
#: what each process of a sweep imports, or a library in it
NAMES = ("json", "multiprocessing", "numpy", "queue", "random", "signal", "socket", "struct", "tempfile", "torch")

#: a notebook's path begins with the working directory, and so may $PYTHONPATH; what it has imported is its own matter
SCRIPT = """
import os, sys, threading
import bench.face, bench.report, bench.sweep.pool, bench.sweep.progress, bench.sweep.wire, multiprocessing.forkserver
import multiprocessing.popen_forkserver, multiprocessing.popen_spawn_posix, multiprocessing.resource_sharer, pandas
from bench.sweep import processes
processes.LIBRARIES = ("random", "numpy")
sys.path.insert(0, "")
os.environ["PYTHONPATH"] = os.pathsep
thread = threading.Thread(
    target=bench.run, args=("fakes.toml",), kwargs=dict(plugins=[{fakes!r}], store={store!r}, progress=False)
)
{run}
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working directory with files that are called like libraries."""
    here = tmp_path / "here"
    here.mkdir()
    for name in NAMES:
        (here / f"{name}.py").write_text(HOSTILE)
    (here / "fakes.toml").write_text(GRID.format(how='["ok"]', seeds=1, seconds=0.0))
    return here


def swept(here: Path, *command: str, **environment: str) -> None:
    """Run a sweep there, which ends well and executes nothing of what lies there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "PYTHON"))}
    own = {"XDG_CACHE_HOME": str(here.parent / "cache"), "BENCH_PLUGINS": str(FAKES), **environment}
    ended = subprocess.run(command, cwd=here, env=kept | own, text=True, capture_output=True, timeout=100)
    assert sorted(path.name for path in here.glob("*.executed")) == [], ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert len([*(here.parent / "store").glob("cells/*/record-*.json")]) == 1, ended.stderr


@pytest.mark.parametrize("run", ["thread.run()", "thread.start(); thread.join()"], ids=["forked", "spawned"])
def test_workers_of_a_script_import_nothing_from_the_working_directory(here: Path, run: str) -> None:
    script = here.parent / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text(SCRIPT.format(fakes=str(FAKES), store=str(here.parent / "store"), run=run))
    boot = f"import runpy; runpy.run_path({str(BOOT)!r}); runpy.run_path({str(script)!r})"
    swept(here, sys.executable, "-P", "-c", boot)
