"""The run store: files that are whole or not there, one final record a cell, and a reason for every state."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.files import json_bytes
from bench.sweep import attempts
from bench.sweep.attempts import Job
from bench.sweep.circumstances import provenance
from bench.sweep.record import CorruptRecord, Point, Record
from bench.sweep.seal import sealed
from bench.sweep.standing import Standing
from bench.sweep.status import Survey
from bench.sweep.storage import StoreError
from bench.sweep.store import Store

Look = Callable[..., Survey]


def finished(job: Job, status: str = "ok", reason: str = "") -> Record:
    return job.record("fakes", provenance("cpu"), status, reason, finished="2026-01-01T00:00:00+00:00")


def sealed_as(content: bytes, change: dict[str, object] | None = None) -> bytes:
    """Return a record's file with other content and the digest of that."""
    return sealed(json_bytes({k: v for k, v in json.loads(content).items() if k != "sha256"} | (change or {})))


def job_of(look: Look, **changes: Any) -> Job:
    return replace(look("ok").jobs()[0], **changes)


def standing(look: Look, **evaluate: Any) -> Standing:
    return look("ok", evaluate=evaluate).standings[0]


def point(value: float) -> Point:
    return Point(epoch=0, step=1, metric="bound", value=value)


def process(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def race(code: str, folder: Path) -> list[subprocess.Popen[str]]:
    """Start three processes that say a line once they are ready, and let them go on together."""
    racers = [process(code, folder) for _ in range(3)]
    for racer in racers:
        assert racer.stdout
        racer.stdout.readline()
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("\n")
        racer.stdin.flush()
    return racers


# ---------------------------------------------------------------- records that are none


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        ('{"schema": 1, "cell": "', "it is not whole JSON"),
        ("[]", "it has no `schema` 1 or 2"),
        ('{"schema": 3}', "it has no `schema` 1 or 2"),
        ('{"schema": 2}', "its first line is not its SHA-256"),
        ('{"schema": 1, "cell": "other"}', "`grid`: field required"),
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
    ((cell, key, why),) = store.scan()
    assert (store.record_path(cell, key), str(why).startswith(reason)) == (path, True)
    assert store.records() == []
    with pytest.raises(CorruptRecord, match=reason.partition(":")[0]):
        store.record(job.cell.id, job.key)

    assert not store.taken(job)
    store.vacate(job)
    assert not path.exists()
    assert path.with_suffix(".corrupt").read_text() == content
    path.write_text("again")
    store.vacate(job)
    assert path.with_suffix(".corrupt").read_text() == content
    assert path.with_suffix(".2.corrupt").read_text() == "again"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cell": "000000000000"}, r"its `cell` is wrong: it is that of another folder"),
        ({"status": "fine"}, r"`status`: input should be 'ok', 'skipped', "),
        ({"dataset": 5}, r"`dataset`: input should be an object"),
        ({"seed": "0"}, r"`seed`: input should be a valid integer"),
        ({"attempt": None}, r"`attempt`: input should be a valid integer"),
        ({"fingerprints": {"plugin": "0", "fit": "0"}}, r"`fingerprints\.evaluate`: field required"),
        ({"stability": {"\x1b[31m": "much"}}, r"`stability\.\?\[31m`: input should be a valid number"),
        ({"what": 1}, r"`what`: extra inputs are not permitted"),
    ],
)
def test_what_no_writer_writes_no_reader_takes(
    look: Look, store: Store, change: dict[str, object], reason: str
) -> None:
    job = job_of(look)
    assert store.finish(job, finished(job))
    path = store.record_path(job.cell.id, job.key)
    path.write_bytes(sealed_as(path.read_bytes(), change))
    with pytest.raises(CorruptRecord, match=f"^{reason}"):
        store.record(job.cell.id, job.key)


def test_a_record_without_any_one_of_its_fields_is_none(look: Look, store: Store) -> None:
    job = job_of(look)
    assert store.finish(job, finished(job))
    path = store.record_path(job.cell.id, job.key)
    whole = json.loads(path.read_text())
    for lacking in whole.keys() - {"execution", "tuned"}:  # which earlier records of this schema do not have
        rest = {name: value for name, value in whole.items() if name != lacking}
        path.write_bytes(json_bytes(rest) if lacking == "sha256" else sealed_as(json_bytes(rest)))
        reasons = rf"^(`{lacking}`: field required|it has no `schema` 1 or 2|its first line is not its SHA-256)$"
        with pytest.raises(CorruptRecord, match=reasons):
            store.record(job.cell.id, job.key)


def test_only_the_record_that_is_to_be_replaced_makes_place(look: Look, store: Store) -> None:
    job = job_of(look, attempt=3)
    store.finish(job, finished(job, "crashed"))
    named = store.digest(job.cell.id, job.key)
    for other in (job, replace(job, replaces="0" * 64), replace(job, replaces="")):
        assert store.taken(other)
        store.vacate(other)
        assert len(store.records()) == 1
    assert not store.taken(replace(job, replaces=named))
    store.vacate(replace(job, replaces=named))
    aside = store.record_path(job.cell.id, job.key).with_suffix(".attempt-3.json")
    assert json.loads(aside.read_text())["status"] == "crashed"
    assert store.records() == []


@pytest.mark.parametrize("status", ["ok", "diverged", "crashed"])
def test_no_job_replaces_a_later_record_of_the_same_attempt(look: Look, store: Store, status: str) -> None:
    job = job_of(look)
    store.finish(job, finished(job, "cancelled"))
    (again,) = look("ok").jobs(retry=True)
    store.vacate(again)
    assert store.finish(job, finished(job, status))
    for other in (again, replace(again, replaces=1)) if status != "crashed" else (again,):  # 1: of earlier versions
        assert store.taken(other)
        store.vacate(other)
        assert [record.status for record in store.records()] == [status]


# ---------------------------------------------------------------- writing


def test_the_first_final_record_stays(look: Look, store: Store) -> None:
    job = job_of(look)
    curve = {"epoch": 0, "step": 1, "metric": "bound", "value": 2.0}
    assert store.finish(job, finished(job), [Point.model_validate(curve)], {"samples": np.eye(2)})
    assert not store.finish(job, finished(job, "error"), [], {"samples": np.ones(3)})
    record = store.record(job.cell.id, job.key)
    assert record is not None
    assert record.status == "ok"
    path = store.record_path(job.cell.id, job.key)
    assert json.loads(path.with_name(f"curves-{job.key}-{record.digests['curves']}.json").read_text()) == [curve]
    with np.load(path.with_name(f"arrays-{job.key}-{record.digests['arrays']}.npz")) as arrays:
        np.testing.assert_array_equal(arrays["samples"], np.eye(2))


@pytest.mark.parametrize("alike", [False, True])
def test_an_attempt_that_wakes_late_touches_nothing_of_the_record_that_won(
    look: Look, store: Store, alike: bool
) -> None:
    """It slept after it saw that there was no record, and before it wrote; it came to other numbers, or to the same."""
    cell = job_of(look).cell
    slow, quick = job_of(look, attempt=1), job_of(look, attempt=2)

    class Sleepy(Mapping[str, np.ndarray]):
        """Arrays that are slow to be packed: meanwhile another attempt begins and ends."""

        def __getitem__(self, name: str) -> np.ndarray:
            return np.full(3, value)

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[str]:
            if not store.records():
                first = store.begin(cell, "first")
                assert first is not None
                store.end(cell.id, first, "lost")
                assert store.begin(cell, "second") is not None
                assert store.finish(quick, finished(quick), [point(2.0)], {"vlb": np.full(3, 2.0)})
            yield "vlb"

    value = 2.0 if alike else 1.0
    assert not store.finish(slow, finished(slow, "ok"), [point(value)], Sleepy())
    record = store.record(cell.id, slow.key)
    assert record is not None
    assert record.attempt == 2
    with np.load(io.BytesIO(store.beside(record, slow.key, "arrays") or b"")) as arrays:
        assert arrays["vlb"].tolist() == [2.0, 2.0, 2.0]
    assert json.loads(store.beside(record, slow.key, "curves") or b"") == [point(2.0).model_dump()]


def test_what_lay_beside_a_record_before_its_name_held_its_digest_is_read(look: Look, store: Store) -> None:
    job = job_of(look)
    assert store.finish(job, finished(job), [point(2.0)], {"vlb": np.ones(3)})
    (record,) = store.records()
    for kind, suffix in (("arrays", "npz"), ("curves", "json")):
        content = store.beside(record, job.key, kind)
        (path,) = store.cell(job.cell.id).glob(f"{kind}-*")
        path.rename(path.with_name(f"{kind}-{job.key}.{suffix}"))
        assert content
        assert store.beside(record, job.key, kind) == content


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
    racers = race(code, tmp_path)
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
        store.storage.check_writable,
        lambda: store.write_grid({}),
        lambda: store.begin(job.cell, "sweep"),
        lambda: store.finish(job, finished(job)),
    ):
        with pytest.raises(StoreError, match=r"^the run store .*/file/runs cannot be written \(Not a directory: "):
            write()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE])
def test_an_error_of_the_storage_is_told_from_one_of_a_plugin(store: Store, number: int) -> None:
    store.folder.mkdir(parents=True)
    why = os.strerror(number)
    error = ValueError("the state cannot be saved")
    error.__cause__ = OSError(number, why, str(store.folder / "cells" / "state.pt"))
    with pytest.raises(StoreError, match=rf"^the run store .* cannot be written \({why}: ") as told:
        store.storage.blame(error, store.folder)
    assert told.value.errno == number
    assert store.storage.at_fault(store.folder, number)
    store.storage.blame(OSError(number, why, "/somewhere/else"), store.folder)  # a plugin's own file
    store.storage.blame(OSError(errno.EACCES, "no", str(store.folder / "cells" / "state.pt")), store.folder)
    assert not store.storage.at_fault(store.folder, errno.EACCES)


def test_a_store_can_be_shared(look: Look, store: Store) -> None:
    job = job_of(look)
    mask = os.umask(0o022)
    try:
        store.finish(job, finished(job))
    finally:
        os.umask(mask)
    assert store.record_path(job.cell.id, job.key).stat().st_mode & 0o777 == 0o644


def test_attempts_are_counted_by_names_that_bench_gives() -> None:
    foreign = (
        "log-99999999999999999999.txt",
        "attempt-0.json",
        "log-01.txt",
        "log-\N{SUPERSCRIPT TWO}.txt",
        "log-.txt",
    )
    assert attempts.numbers([*foreign, "log-3.txt", "attempt-2.json"]) == [2, 3]
