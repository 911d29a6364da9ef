"""The run store: files that are whole or not there, one final record a cell, and a reason for every state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.sweep.records import Job, draft
from bench.sweep.status import Survey
from bench.sweep.store import CorruptRecord, Standing, Store, StoreError

Look = Callable[..., Survey]


def finished(job: Job, status: str = "ok", date: str = "2026-01-01T00:00:00+00:00") -> dict[str, Any]:
    return draft("fakes", job, {}) | {"status": status, "finished": date}


def job_of(look: Look, **changes: Any) -> Job:
    return replace(look("ok").jobs()[0], **changes)


def standing(look: Look, **evaluate: Any) -> Standing:
    return look("ok", evaluate=evaluate).standings[0]


def process(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ---------------------------------------------------------------- states and their reasons


def test_looking_at_a_store_makes_nothing(look: Look, store: Store) -> None:
    found = standing(look)
    assert (found.state, found.why) == ("missing", "never ran")
    assert store.records() == []
    assert not store.folder.exists()


def test_a_recorded_cell_is_finished_and_says_how(look: Look, store: Store) -> None:
    job = job_of(look, attempt=2)
    assert store.finish(job, finished(job, "diverged") | {"reason": "not finite at step 3"})
    found = standing(look)
    assert found.state == "finished"
    assert found.why == "diverged (not finite at step 3) in attempt 2, 2026-01-01T00:00:00+00:00"
    assert found.record == store.record(job.cell.id, job.key)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("fit",), "the training code"),
        (("evaluate",), "the scoring code"),
        (("fit", "evaluate"), "the training code and the scoring code"),
    ],
)
def test_a_record_of_an_earlier_harness_is_stale(
    look: Look, store: Store, changed: tuple[str, ...], words: str
) -> None:
    job = job_of(look)
    earlier = replace(job, key="0" * 16, fingerprints=replace(job.fingerprints, **dict.fromkeys(changed, "0" * 64)))
    store.finish(earlier, finished(earlier))
    found = standing(look)
    assert found.state == "stale"
    assert found.why == f"{words} of bench changed since the record of 2026-01-01T00:00:00+00:00"
    assert found.record is not None
    assert look("ok").jobs() == []
    assert [job.cell.id for job in look("ok").jobs(stale=True)] == [job.cell.id]


def test_a_record_of_another_plugin_file_is_kept_and_the_cell_is_missing(look: Look, store: Store) -> None:
    job = job_of(look)
    earlier = replace(job, key="0" * 16, fingerprints=replace(job.fingerprints, plugin="0" * 64))
    store.finish(earlier, finished(earlier))
    found = standing(look)
    assert found.state == "missing"
    assert found.why == "the strategy's or data set's file changed since the record of 2026-01-01T00:00:00+00:00"
    assert len(store.records()) == 1


def test_other_evaluation_settings_are_named(look: Look, store: Store) -> None:
    job = job_of(look)
    store.finish(job, finished(job))
    found = standing(look, importance_samples=50, ais={"chains": 20})
    assert found.state == "missing"
    assert found.why.endswith("2026-01-01T00:00:00+00:00: importance_samples 1000 -> 50, ais.chains 200 -> 20")


def test_an_attempt_without_a_record_goes_on(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    assert [store.begin(cell), store.begin(cell)] == [1, 2]
    assert standing(look).why == "attempt 2 left no record: it was stopped or killed, and goes on"
    assert json.loads((store.cell(cell.id) / "request.json").read_text()) == cell.request


def test_half_written_files_of_killed_attempts_are_cleared_away(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    store.begin(cell)
    checkpoints = store.cell(cell.id) / "code"
    checkpoints.mkdir()
    for name in ("checkpoint.pt", ".checkpoint.pt.0123.part"):
        (checkpoints / name).touch()
    store.begin(cell)
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint.pt"]


def test_a_cell_is_running_while_a_process_holds_its_lock(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    store.begin(cell)
    code = """import sys
from pathlib import Path
from bench.sweep.store import Store
lock = Store(Path(sys.argv[1])).lock(sys.argv[2])
print("held", flush=True)
sys.stdin.read()"""
    with process(code, store.folder, cell.id) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        assert store.lock(cell.id) is None
        assert (standing(look).state, standing(look).why) == ("running", "attempt 1 is running")
        holder.kill()  # a lock ends with its process, however that ends
    assert standing(look).state == "missing"


# ---------------------------------------------------------------- records that are none


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        ('{"schema": 1, "cell": "', "it is not whole JSON"),
        ("[]", "it has no `schema` 1"),
        ('{"schema": 2}', "it has no `schema` 1"),
        ('{"schema": 1, "cell": "other"}', "its `cell` or `status` is wrong, or a field is missing"),
    ],
)
def test_a_corrupt_record_is_named_and_set_aside(look: Look, store: Store, content: str, reason: str) -> None:
    job = job_of(look)
    path = store.record_path(job.cell.id, job.key)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    found = standing(look)
    assert (found.state, found.corrupt) == ("missing", path)
    assert found.why.startswith(f"corrupt record {path.name}: {reason}")
    assert store.scan() == ([], [path])
    with pytest.raises(CorruptRecord, match=reason.partition(":")[0]):
        store.record(job.cell.id, job.key)

    assert store.vacate(job)
    assert not path.exists()
    assert path.with_suffix(".corrupt").read_text() == content
    path.write_text("again")
    assert store.vacate(job)
    assert path.with_suffix(".corrupt").read_text() == content
    assert path.with_suffix(".2.corrupt").read_text() == "again"


def test_only_the_record_that_is_to_be_replaced_makes_place(look: Look, store: Store) -> None:
    job = job_of(look, attempt=3)
    store.finish(job, finished(job, "crashed"))
    assert not store.vacate(job)
    assert not store.vacate(replace(job, replaces=2))
    assert store.vacate(replace(job, replaces=3))
    aside = store.record_path(job.cell.id, job.key).with_suffix(".attempt-3.json")
    assert json.loads(aside.read_text())["status"] == "crashed"
    assert store.records() == []


# ---------------------------------------------------------------- writing


def test_the_first_final_record_stays(look: Look, store: Store) -> None:
    job = job_of(look)
    curve = [{"epoch": 0, "step": 1, "metric": "bound", "value": 2.0}]
    assert store.finish(job, finished(job), curve, {"samples": np.eye(2)})
    assert not store.finish(job, finished(job, "error"), [], {"samples": np.ones(3)})
    record = store.record(job.cell.id, job.key)
    assert record is not None
    assert record["status"] == "ok"
    path = store.record_path(job.cell.id, job.key)
    assert json.loads(path.with_name(f"curves-{job.key}.json").read_text()) == curve
    with np.load(path.with_name(f"arrays-{job.key}.npz")) as arrays:
        np.testing.assert_array_equal(arrays["samples"], np.eye(2))


def test_of_processes_that_race_to_record_a_cell_exactly_one_wins(tmp_path: Path) -> None:
    code = """import os, sys
from pathlib import Path
from bench.files import creating
print("ready", flush=True)
sys.stdin.readline()
for n in range(50):
    try:
        with creating(Path(sys.argv[1], str(n))) as file:
            file.write(str(os.getpid()).encode())
    except FileExistsError:
        continue
    print(n)"""
    racers = [process(code, tmp_path) for _ in range(3)]
    for racer in racers:
        assert racer.stdout
        racer.stdout.readline()
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [int(line) for racer in racers for line in racer.communicate()[0].split()]
    assert sorted(won) == list(range(50))
    assert {path.read_text() for path in tmp_path.iterdir()} <= {str(racer.pid) for racer in racers}


@pytest.mark.parametrize("seconds", [0.0, 0.003, 0.01, 0.03])
def test_a_writer_that_is_killed_leaves_whole_files_only(tmp_path: Path, seconds: float) -> None:
    code = """import sys
from pathlib import Path
from bench.files import creating, replacing
print("ready", flush=True)
n = 0
while True:
    n += 1
    for write in (creating, replacing):
        with write(Path(sys.argv[1], f"{write.__name__}-{n}")) as file:
            file.write(b"x" * 100_000)
            file.write(b"x" * 100_000)"""
    with process(code, tmp_path) as writer:
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(seconds)
        os.kill(writer.pid, signal.SIGKILL)
    whole = [path for path in tmp_path.iterdir() if path.suffix != ".part"]
    assert all(path.stat().st_size == 200_000 for path in whole)


def test_a_store_that_cannot_be_written_is_one_sentence(look: Look, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "runs")
    job = job_of(look)
    for write in (
        store.check_writable,
        lambda: store.write_grid({}),
        lambda: store.lock(job.cell.id),
        lambda: store.begin(job.cell),
        lambda: store.finish(job, finished(job)),
    ):
        with pytest.raises(StoreError, match=r"^the run store .*/file/runs cannot be written \(Not a directory: "):
            write()


def test_a_store_can_be_shared(look: Look, store: Store) -> None:
    job = job_of(look)
    mask = os.umask(0o022)
    try:
        store.finish(job, finished(job))
    finally:
        os.umask(mask)
    assert store.record_path(job.cell.id, job.key).stat().st_mode & 0o777 == 0o644


def test_looking_at_many_cells_is_quick(look: Look, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # making the store is not what is measured
    jobs = look("ok", seeds=1000).jobs()
    for job in jobs:
        store.finish(job, finished(job))
    start = time.process_time()
    counts = look("ok", seeds=1000).counts()
    assert time.process_time() - start < 0.5  # a tenth is used; `bench status` has 2 s for 10,000 cells
    assert counts == {"ok": 1000}
