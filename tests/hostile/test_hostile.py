"""Hostile plugins in one sweep with honest ones: one right record a cell, nobody else harmed, no process left."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import bench.grid as grids
from bench.plugins import Registry
from bench.sweep.attempts import Job
from bench.sweep.circumstances import provenance
from bench.sweep.limits import Limits
from bench.sweep.pool import Pool, SweepError
from bench.sweep.record import Record
from bench.sweep.screen import Screen
from bench.sweep.status import survey
from bench.sweep.store import Store
from bench.sweep.worker import Setup
from tests.workers import servers, workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has guards of workers")

PLUGINS = Path(__file__).with_name("plugins")
#: kind -> status and the beginning of the reason
DEATHS = {
    "killed": "the process was killed by SIGKILL",
    "segfault": "the process was killed by SIGSEGV",
    "abort": "the process was killed by SIGABRT",
    "exit-0": "the process ended with exit code 0",
    "exit-3": "the process ended with exit code 3",
    "fork-and-die": "the process was killed by SIGKILL",
    "daemon-and-die": "the process was killed by SIGKILL",
    "kill-parent": "the process was killed by SIGKILL",
    "kill-group": "the process was killed by SIGKILL",
    "alarm": "the process was killed by SIGALRM",
    "stack-overflow": "the process was killed by SIGSEGV",
    "cpu-limit": "the process was killed by SIG",
    "garbage": "what its process sent to the sweep is no message",
    "wrong-message": "what its process sent to the sweep is no message",
    "half-message": "the process was killed by SIGKILL",
    "no-open": "the process ended with exit code 1",
    "no-link": "the process ended with exit code 1",
}
MEMORY = {
    "memory": "MemoryError: no room",
    "address-limit": "MemoryError",
    "eat-alone": "its process held ",
    "eat-in-child": "its 2 processes held ",
    "eat-in-daemon": "its 2 processes held ",
}
ENDLESS = (
    *("hang", "deaf", "deaf-thread", "stopped-itself", "stop-parent", "ignore-signals", "swallow", "children-hang"),
    *("chain", "endless-words"),
)
ERRORS = {
    "raise": "ValueError: a mistake",
    "unsayable": "Unsayable: its message cannot be had (RuntimeError)",
    "rude": "Rude: no manners",
    "sys-exit": "SystemExit: 3",
    "interrupt": "KeyboardInterrupt",
    "generator-exit": "GeneratorExit",
    "stopped-unasked": "Stopped: by itself",
    "surrogate": "ValueError: bad ?",
    "long-words": "ValueError: word word",
    "false-step": "ValidationError: ",
    "false-curves": "TypeError: ",
    "false-stability": "ValueError: ",
    "no-space-elsewhere": "OSError: [Errno 28] No space left on device: '/somewhere/else'",
    "progress-text": "TypeError: ",
    "progress-none": "TypeError: ",
    "progress-huge": "ValueError: progress was told of step 1e+30",
    "few-files": "the run store ",
    "files-left-open": "the run store ",
    "small-files": "the run store ",
    "low-recursion": "RecursionError: ",
    "traced": "RuntimeError: traced",
    "skip-number": "AttributeError: ",
    "skip-raise": "LookupError: no taste",
    "state-none": "TypeError: ",
    "state-object": "",
    "state-lambda": "",
    "state-steps": "ValueError: ",
    "state-curves": "KeyError: 'step'",
    "state-overflow": "OverflowError: ",
    "scores-none": "TypeError: `evaluate` gave a NoneType; it must be bench.protocol.Scores",
    "scores-text": "`evaluate` gave 'good' for a score; it must be a bench.protocol.Score",
    "sideways": "the score of 'vlb' is wrong: better = 'sideways'; allowed: lower, higher, neither",
    "higher-bound": "the score of 'vlb' is wrong: better = 'higher'; everywhere else it is 'lower'",
    "negative-error": "the score of 'vlb' is wrong: stderr_mc = -1 is below 0, and a standard error is not",
    "upside-down": "the score of 'vlb' is wrong: its interval is upside down: sys_lower = 3 is above sys_upper = 1",
    "outside": "the score of 'vlb' is wrong: its value 2 lies outside of its interval from 3 to 4",
    "foreign-unit": "the score of 'vlb' is wrong: unit = 'bananas'; everywhere else it is in 'nats', and another unit",
    "twice": "the metric 'vlb' was scored twice; once is allowed",
    "value-text": "the score of 'vlb' is wrong: value = '2' is no number",
    "value-list": "the score of 'vlb' is wrong: value = [2.0, 3.0] is no number",
    "negative-n": "the score of 'vlb' is wrong: n = -4; a whole number from 0 on is allowed",
    "part-n": "the score of 'vlb' is wrong: n = 2.5; a whole number from 0 on is allowed",
    "escape-name": "'\\x1b[2Jvlb' is no name of a metric; letters, digits, `_`, `-` and `.` make one",
    "version-0": "the score of 'vlb' is wrong: version = 0; a whole number from 1 on is allowed",
    "array-file": "ValueError: 'file' is no name of an array; letters, digits, `_`, `-`, `.` and `+` make one",
    "array-path": "ValueError: '../../x' is no name of an array; letters, digits, `_`, `-`, `.` and `+` make one",
    "array-objects": "TypeError: the array 'samples' that `evaluate` gave holds Python objects",
    "array-ragged": "ValueError: ",
    "resources-text": "ValueError: ",
}
FINE = (
    *("not-finite", "close-files", "close-streams", "thread-stays", "exit-hook", "child-stays", "daemon-stays"),
    *("program-stays", "pool-stays", "elsewhere", "nowhere", "no-environment", "elu", "dtype", "no-gradients"),
    *("other-device", "numpy-raises", "same-random", "warnings-raise", "no-pickle", "other-signals", "own-folder-gone"),
    *("many-words", "many-figures", "strange-stage", "no-default-timeout", "write-data"),
)
KINDS = {
    **{kind: ("crashed", reason) for kind, reason in DEATHS.items()},
    **{kind: ("out-of-memory", reason) for kind, reason in MEMORY.items()},
    **{kind: ("error", reason) for kind, reason in ERRORS.items()},
    **dict.fromkeys(FINE, ("ok", "")),
}


class Place:
    """A run store for hostile cells, and what their processes left."""

    def __init__(self, folder: Path) -> None:
        self.pids = folder / "pids"
        self.pids.touch()
        self.registry = Registry([PLUGINS])
        self.store = Store(folder / "runs")
        self.setup = Setup("hostile", self.store.folder, self.registry, folder, "cpu", provenance("cpu"))

    def jobs(
        self, *strategies: Mapping[str, Any], seeds: int = 1, dataset: Mapping[str, Any] | None = None
    ) -> list[Job]:
        """Return the cells of strategies that have no record."""
        source = {
            "title": "hostile",
            "seeds": seeds,
            "dataset": [dataset or {"name": "few"}],
            "networks": {"latent": 2, "encoder": {"hidden": [4]}, "decoder": {"hidden": [4]}},
            "train": {"epochs": 1},
            "evaluate": {"bound_alone": True, "images": 10},
            "strategy": list(strategies),
        }
        grid = grids.expand(source, self.registry, name="hostile", where="hostile.toml")
        return survey(grid, self.store, self.registry).jobs()

    def hostile(self, kinds: Sequence[str]) -> list[Job]:
        """Return a cell of each kind."""
        return self.jobs({"name": "hostile", "how": list(kinds)})

    def records(self) -> dict[str, Record]:
        """Return the final record of each cell."""
        records = self.store.records()
        by_cell = {record.cell: record for record in records}
        assert len(by_cell) == len(records)
        return by_cell

    def left(self) -> list[str]:
        """Return what goes on of the processes that hostile plugins started, after a moment's patience."""
        deadline = time.monotonic() + 5
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _left(self) -> list[str]:
        pids = {int(line) for line in self.pids.read_text().split()}
        for place in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if os.readlink(place) == str(self.pids):
                    pids.add(int(place.parts[2]))
            except OSError:
                continue
        return [process.name() for process in map(psutil.Process, filter(psutil.pid_exists, pids))]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = Place(tmp_path)
    monkeypatch.setenv("HOSTILE_PIDS", str(place.pids))
    return place


def woven(hostile: Sequence[Job], honest: Sequence[Job]) -> list[Job]:
    """Return all, with the honest cells spread among the hostile ones."""
    share = len(hostile) // len(honest) + 1
    return [job for n, fair in enumerate(honest) for job in (*hostile[n * share : (n + 1) * share], fair)]


def undisturbed(records: Mapping[str, Record]) -> None:
    """Check the scores of honest cells to the last bit."""
    spec = importlib.util.spec_from_file_location("honest", PLUGINS / "strategies" / "honest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    honest = [record for record in records.values() if record.strategy == "honest"]
    assert honest
    for record in honest:
        assert (record.status, record.reason) == ("ok", "")
        (score,) = record.scores
        assert score.value == module.computed(record.seed, np.zeros((64, 2), np.float32))


def test_there_are_at_least_sixty_kinds() -> None:
    assert len(KINDS) + len(ENDLESS) >= 60


def test_every_cell_of_hostile_plugins_has_its_record_and_no_other_is_harmed(place: Place) -> None:
    hostile, honest = place.hostile([*KINDS]), place.jobs({"name": "honest"}, seeds=8)
    built_in = place.jobs({"name": "normal"}, dataset={"name": "digits"}, seeds=2)
    traps = [place.jobs({"name": "honest"}, dataset={"name": "few", "how": how})[0] for how in ("dies", "nothing")]
    jobs = [*woven([*traps, *hostile], honest), *built_in]
    tally = Pool(place.setup, 3, Screen(), Limits(timeout=60, memory=1_200_000_000)).run(jobs)
    assert len(tally.endings) == len(jobs)
    records = place.records()
    assert {job.cell.id for job in jobs} == set(records)
    ends = {record.hyper["how"]: record for record in records.values() if record.strategy == "hostile"}
    wrong = {
        kind: (record.status, record.reason)
        for kind, record in ends.items()
        if record.status != KINDS[kind][0] or not record.reason.startswith(KINDS[kind][1])
    }
    assert wrong == {}
    assert [records[job.cell.id].status for job in traps] == ["crashed", "error"]
    undisturbed({cell: record for cell, record in records.items() if cell not in {job.cell.id for job in traps}})
    assert [records[job.cell.id].status for job in built_in] == ["ok", "ok"]
    assert place.left() == []
    assert workers(psutil.Process()) == []


def test_cells_that_never_end_are_ended_with_all_they_started(place: Place) -> None:
    honest = place.jobs({"name": "honest"}, seeds=3)
    jobs = woven([*place.hostile(ENDLESS), *place.jobs({"name": "sleeper"})], honest)
    Pool(place.setup, 4, Screen(), Limits(timeout=4)).run([*jobs, *place.jobs({"name": "leaver"})])
    records = place.records()
    assert len(records) == len(jobs) + 1
    leaver = next(record for record in records.values() if record.strategy == "leaver")
    assert leaver.status == "error"
    assert leaver.reason.endswith("leaver.py does not load: its import ends the process, with exit code 6")
    rest = [record for record in records.values() if record.strategy in ("hostile", "sleeper")]
    assert {record.hyper.get("how", ""): record.status for record in rest} == dict.fromkeys(("", *ENDLESS), "timeout")
    undisturbed(records)
    assert place.left() == []


def test_what_cells_started_ends_with_a_sweep_that_is_killed(place: Place, tmp_path: Path) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from bench.sweep import processes
        from bench.sweep.pool import Pool
        from bench.sweep.screen import Screen
        from tests.hostile.test_hostile import Place
        processes.LIBRARIES = ()
        place = Place(Path({str(tmp_path)!r}))
        Pool(place.setup, 2, Screen()).run(place.hostile(["children-hang", "ignore-signals"]))
        """)
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))}
    with subprocess.Popen([sys.executable, str(script)], env=environment, cwd=tmp_path) as sweep:
        deadline = time.monotonic() + 60
        while len(place.pids.read_text().split()) < 2 or len(workers(psutil.Process(sweep.pid))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        every = psutil.Process(sweep.pid).children(recursive=True)
        sweep.kill()
    _, alive = psutil.wait_procs(every, timeout=10)
    assert alive == []
    assert place.left() == []
    assert place.records() == {}


# ---------------------------------------------------------------- storage


@pytest.mark.parametrize("how", ["full-disk", "full-checkpoint"])
def test_a_full_disk_stops_the_sweep_and_costs_no_cell_its_attempt(place: Place, how: str) -> None:
    jobs = place.hostile([how, "exit-3"])
    with pytest.raises(SweepError, match=r"^the run store .* cannot be written \(No space left on device: .*/cells/"):
        Pool(place.setup, 1, Screen()).run(jobs)
    assert place.records() == {}
    assert [attempt.how for attempt in place.store.history(jobs[0].cell.id)] == ["stopped"]


@pytest.fixture
def _small_disk(tmp_path: Path) -> Any:
    disk = tmp_path / "runs"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only a system's administrator can make a small disk")
    yield
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.usefixtures("_small_disk")
def test_a_disk_that_a_library_fills_stops_the_sweep_until_there_is_room(place: Place) -> None:
    jobs = place.hostile(["torch-save"])
    with pytest.raises(SweepError, match=r"^the run store .* cannot be written \(No space left on device"):
        Pool(place.setup, 1, Screen()).run(jobs)
    assert place.records() == {}
    subprocess.run(["mount", "-o", "remount,size=200m", str(place.store.folder)], check=True)
    Pool(place.setup, 1, Screen()).run(place.hostile(["torch-save"]))
    assert [record.status for record in place.records().values()] == ["ok"]


def test_relative_folders_are_where_the_user_stood(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place.setup = replace(place.setup, store=Path("runs"), data=Path("data"))
    jobs = place.hostile(["elsewhere"])
    Pool(place.setup, 1, Screen()).run(jobs)
    assert [record.status for record in place.records().values()] == ["ok"]


def test_servers_are_all_that_a_sweep_leaves(place: Place) -> None:
    Pool(place.setup, 1, Screen()).run(place.hostile(["child-stays"]))
    names = {" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)}
    assert len(servers(psutil.Process())) <= 1
    assert all("forkserver" in name or "resource_tracker" in name for name in names)
