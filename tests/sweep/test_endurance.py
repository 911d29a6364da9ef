"""Faults as normal events: lost processes, too much memory, output or time, and disks that are full or read-only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bench.protocol import UserError
from bench.sweep.circumstances import provenance
from bench.sweep.limits import Limits, devices
from bench.sweep.pool import Pool, SweepError
from bench.sweep.progress import Lines
from bench.sweep.status import Survey
from bench.sweep.store import Store
from bench.sweep.worker import Setup
from tests.shell import GRID
from tests.walks import walked
from tests.workers import workers

Look = Callable[..., Survey]


def lines(cells: int = 9) -> Lines:
    """Return a screen that prints."""
    return Lines(cells, lambda job: str(job.cell.hyper["how"]), lambda job: "")


def ends(store: Store) -> dict[str, list[str]]:
    """Return how the attempts at each cell ended, by what it was told to do."""
    return {record.hyper["how"]: [attempt.how for attempt in store.history(record.cell)] for record in store.records()}


def statuses(store: Store) -> dict[str, str]:
    return {record.hyper["how"]: record.status for record in store.records()}


# ---------------------------------------------------------------- lost cells


def test_a_lost_cell_goes_on_as_often_as_is_allowed(
    look: Look, setup: Setup, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Pool(setup, 1, lines(), Limits(retries=1)).run(look("flaky", "killed", "diverge", "raise").jobs())
    assert ends(store) == {
        "flaky": ["lost", "ok"],
        "killed": ["lost", "crashed"],
        "diverge": ["diverged"],
        "raise": ["error"],
    }
    assert len(tally.endings) == 4
    printed = capsys.readouterr().err
    assert "lost     flaky in attempt 1: the process was killed by SIGKILL; it will go on\n" in printed
    assert "crashed  killed" in printed


def test_a_sweep_counts_its_own_losses_alone(look: Look, setup: Setup, store: Store) -> None:
    """However often the user's machine went down before, a cell gets its chance."""
    job = look("ok").jobs()[0]
    for sweep in ("one", "one", "two"):
        attempt = store.begin(job.cell, sweep)
        assert attempt is not None
        store.end(job.cell.id, attempt, "lost")
    Pool(setup, 1, lines(), Limits(retries=1), sweep="one").run([job])
    record = store.record(job.cell.id, job.key)
    assert record is not None
    assert record.status == "crashed"
    assert record.reason == "lost with its process; interrupted 2 times in this sweep, and no retry is left"
    Pool(setup, 1, lines(), Limits(retries=1), sweep="three").run(look("ok").jobs(retry=True))
    assert [attempt.how for attempt in store.history(job.cell.id)] == ["lost", "lost", "lost", "crashed", "ok"]


# ---------------------------------------------------------------- too much


def test_a_worker_that_holds_too_much_memory_is_killed(look: Look, setup: Setup, store: Store) -> None:
    Pool(setup, 2, lines(), Limits(memory=400_000_000)).run(look("eat", "ok").jobs())
    assert statuses(store) == {"eat": "out-of-memory", "ok": "ok"}
    reason = next(record.reason for record in store.records() if record.status == "out-of-memory")
    assert reason.startswith("its process held 0.")
    assert reason.endswith(" GB, and 0.40 GB are allowed")


@pytest.mark.parametrize("megabytes", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_cell_that_prints_without_end_fills_no_disk_and_delays_no_other(
    look: Look, setup: Setup, store: Store, megabytes: int
) -> None:
    jobs = look("flood", "hang", "ok", lines=megabytes).jobs()
    Pool(setup, 3, lines(), Limits(timeout=60)).run([job for job in jobs if job.cell.hyper["how"] != "hang"])
    assert statuses(store) == {"flood": "ok", "ok": "ok"}
    size = sum(file.stat().st_size for file in store.folder.rglob("log-*.txt"))
    assert size < 11_000_000


def test_devices_are_shared_in_turn(look: Look, setup: Setup, store: Store) -> None:
    jobs = look("long", seeds=4, seconds=3).jobs()
    Pool(setup, 4, lines(), devices=["cuda:0", "cuda:1"]).run(jobs)
    assert sorted(str(record.device) for record in store.records()) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]


def test_a_device_that_is_not_there_is_a_mistake() -> None:
    assert devices("cpu") == ["cpu"]
    with pytest.raises(UserError, match=r"^--device gpu is unknown; allowed: cpu, cuda, cuda:N, mps$"):
        devices("gpu")
    with pytest.raises(
        UserError, match=r"^--device cuda:99 is not there: torch sees \d+ cuda devices? on this machine$"
    ):
        devices("cuda:99")


# ---------------------------------------------------------------- disks


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A file system of our own, whose size and rights can be changed."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*words: str) -> Path:
        done = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs a small file system of its own: {done.stderr.strip()}")
        return folder

    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts file systems, on Linux")
def test_a_full_disk_ends_the_sweep_with_a_sentence_and_loses_nothing(
    disk: Callable[..., Path], look: Look, setup: Setup, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = disk("-o", "remount,size=1m")
    store.folder.parent.mkdir(parents=True)
    store.folder.symlink_to(folder)
    jobs = look("walk", seeds=40, seconds=0.05, lines=1).jobs()
    (folder / "ballast").write_bytes(b"x" * 700_000)
    with pytest.raises(SweepError, match=r"^the run store .* cannot be written \(No space left on device"):
        Pool(setup, 2, lines()).run(jobs)
    before = {record.cell: record for record in store.records()}
    assert len(store.records()) == len([*store.scan()])  # no half a record
    assert 0 < len(before) < 40
    (folder / "ballast").unlink()
    disk("-o", "remount,size=20m")
    # that attempts ended could not be written, and the process that began them, this one, is still there
    monkeypatch.setattr("bench.sweep.attempts.LEASE", 1.0)
    Pool(setup, 2, lines()).run(look("walk", seeds=40, seconds=0.05, lines=1).jobs(retry=True))
    after = {record.cell: record for record in store.records()}
    assert {record.seed: record.scores[0].value for record in after.values()} == {n: walked(n) for n in range(40)}
    assert all(after[cell] == record for cell, record in before.items() if record.status == "ok")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts file systems, on Linux")
def test_a_read_only_store_can_be_looked_at(disk: Callable[..., Path], look: Look, setup: Setup, store: Store) -> None:
    folder = disk("-o", "remount,size=20m")
    store.folder.parent.mkdir(parents=True)
    store.folder.symlink_to(folder)
    Pool(setup, 1, lines()).run(look("ok").jobs())
    disk("-o", "remount,ro")
    assert look("ok", "skip").counts() == {"ok": 1, "missing": 1}
    with pytest.raises(SweepError, match=r"^the run store .* cannot be written \(Read-only file system: "):
        Pool(setup, 1, lines()).run(look("skip").jobs())


# ---------------------------------------------------------------- many


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `bench` in an empty folder with the fake plugins."""
    shutil.copytree(Path(__file__).with_name("fakes"), tmp_path / "plugins")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "PYTHON"))}
    ours = {"BENCH_PLUGINS": str(tmp_path / "plugins"), "BENCH_DATA": str(tmp_path)}
    environment = kept | ours | {name: str(tmp_path / name) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME")}

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bench", *words, "--grid", "fakes.toml"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes)  # type: ignore[call-overload,no-any-return]

    return start


@pytest.mark.slow
def test_two_hundred_cells_survive_forty_kills_and_that_of_their_parent(
    bench: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "fakes.toml").write_text(GRID.format(seeds=200, how='"walk"', seconds=0.6))
    store, dice = Store(tmp_path / "runs" / "fakes"), random.Random(0)
    seen: dict[str, bytes] = {}

    def look() -> None:
        """Remember every record as it was when it was first seen."""
        for file in store.folder.glob("cells/*/record-*.json"):
            seen.setdefault(str(file), file.read_bytes())

    sweep, killed, parents = bench("run", "--jobs", "2", "--retries", "9"), 0, 0
    while killed < 40 or not parents:
        time.sleep(dice.uniform(0.3, 1.0))
        look()
        assert sweep.poll() is None, "the sweep ended before all kills were done"
        if killed == 20 and not parents:
            sweep.kill()
            sweep.communicate()
            parents += 1
            sweep = bench("run", "--jobs", "2", "--retries", "9")
            continue
        # those that are old enough to be at a cell
        old = [child for child in workers(psutil.Process(sweep.pid)) if time.time() - child.create_time() > 2]
        if old:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                dice.choice(old).kill()
            killed += 1
    said, _ = sweep.communicate()
    assert sweep.returncode == 0, said
    look()
    records = store.records()
    assert {record.seed: record.scores[0].value for record in records} == {n: walked(n) for n in range(200)}
    assert len(records) == len(seen) == 200
    assert all(Path(file).read_bytes() == content for file, content in seen.items())
    lost = sum(attempt.how == "lost" for record in records for attempt in store.history(record.cell))
    print(f"{lost} attempts were lost, {max(record.attempt for record in records)} at most of one cell")
    assert lost > 20


def seconds(bench: Callable[..., subprocess.Popen[str]], *words: str) -> tuple[float, str]:
    """Return the processor's seconds that a command and its workers took, and what it printed.

    Workers are not its children but those of a server, which ends after it: where it can, this process adopts that.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    ours = psutil.Process().children()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = bench(*words)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    for orphan in psutil.Process().children():
        if orphan not in ours:
            orphan.wait(timeout=20)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, said


@pytest.mark.slow
def test_a_cell_of_a_plugin_that_does_nothing_costs_a_process(
    bench: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """A plugin that does not come with bench has a process for each cell, forked where torch is loaded: .2 to .3 s.

    What is asserted is the processor's time: the clock on the wall also measures what else the machine is at.
    """
    (tmp_path / "fakes.toml").write_text(GRID.format(seeds=100, how='"ok"', seconds=0))
    taken, _ = seconds(bench, "run", "--jobs", "2")
    again, said = seconds(bench, "run", "--jobs", "2")
    work = (taken - again) / 100
    print(f"100 cells: of the processor {1000 * work:.0f} ms each; again: {again:.2f} s")
    assert "100 cells: 100 ok" in said
    assert work < 0.5
    assert again < 2


@pytest.mark.slow
def test_ten_thousand_cells_are_looked_at_in_two_seconds(
    bench: Callable[..., subprocess.Popen[str]], look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fakes.toml").write_text(GRID.format(seeds=10_000, how='"ok"', seconds=0))
    monkeypatch.setattr(os, "fsync", lambda file: None)  # making the store is not what is measured
    store = Store(tmp_path / "runs" / "fakes")
    for job in look("ok", seeds=10_000).jobs():
        attempt = store.begin(job.cell, "sweep")
        assert attempt is not None
        store.finish(job, job.record("fakes", provenance("cpu"), "ok"))
        store.end(job.cell.id, attempt, "ok")
    taken, said = seconds(bench, "status")
    print(f"10,000 cells: {taken:.2f} s")
    assert "10000 cells: 10000 ok" in said
    assert taken < 2
