"""The run store: files that are whole or not there, one final record a cell, and a reason for every state."""

from __future__ import annotations

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

from bench.files import json_bytes, save_tensors
from bench.protocol import Evaluation
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


# ---------------------------------------------------------------- states and their reasons


def test_looking_at_a_store_makes_nothing(look: Look, store: Store) -> None:
    found = standing(look)
    assert (found.state, found.why) == ("missing", "never ran")
    assert store.records() == []
    assert not store.folder.exists()


def test_a_recorded_cell_is_finished_and_says_how(look: Look, store: Store) -> None:
    job = job_of(look, attempt=2)
    assert store.finish(job, finished(job, "diverged", "not finite at step 3"))
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
    assert found.why == "the code of one of its plugins changed since the record of 2026-01-01T00:00:00+00:00"
    assert len(store.records()) == 1


def test_other_evaluation_settings_are_named(look: Look, store: Store) -> None:
    job = job_of(look)
    store.finish(job, finished(job))
    found = standing(look, importance_samples=50, ais={"chains": 20})
    assert found.state == "missing"
    default = Evaluation()
    samples, chains = default.importance_samples, default.ais.chains
    assert found.why.endswith(f"+00:00: importance_samples {samples} -> 50, ais.chains {chains} -> 20")


def test_what_this_code_has_trained_can_be_scored_again(look: Look, store: Store) -> None:
    job = job_of(look)
    other = {"importance_samples": 50}
    store.finish(job, finished(job))
    assert look("ok", evaluate=other).rescored() == [], "its state is not there"
    save_tensors(store.cell(job.cell.id) / job.workspace, "state", {})
    assert look("ok").rescored() == [], "it has a record"
    (again,) = look("ok", evaluate=other).rescored()
    assert again.cell.id == job.cell.id
    assert again.key != job.key


@pytest.mark.parametrize("changed", ["plugin", "fit", "status"])
def test_what_it_has_not_trained_to_the_end_cannot(look: Look, store: Store, changed: str) -> None:
    job = job_of(look)
    code = {} if changed == "status" else {changed: "0" * 64}
    earlier = replace(job, key="0" * 16, fingerprints=replace(job.fingerprints, **code))
    store.finish(earlier, finished(earlier, "diverged" if changed == "status" else "ok"))
    if earlier.workspace != job.workspace:
        save_tensors(store.cell(job.cell.id) / earlier.workspace, "state", {})
    save_tensors(store.cell(job.cell.id) / job.workspace, "checkpoint-1", {})  # of a training that goes on, perhaps
    assert look("ok", evaluate={"importance_samples": 50}).rescored() == []


def test_scoring_code_that_changed_scores_again_what_was_trained(look: Look, store: Store) -> None:
    job = job_of(look)
    earlier = replace(job, key="0" * 16, fingerprints=replace(job.fingerprints, evaluate="0" * 64))
    store.finish(earlier, finished(earlier))
    save_tensors(store.cell(job.cell.id) / job.workspace, "state", {})
    assert [each.cell.id for each in look("ok").rescored()] == [job.cell.id]


def test_an_attempt_without_a_record_goes_on(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    for number in (1, 2):
        attempt = store.begin(cell, "sweep")
        assert attempt is not None
        assert attempt.number == number
        store.end(cell.id, attempt, "stopped")
    assert standing(look).why == "attempt 2 left no record: it was stopped or killed, and goes on"
    assert json.loads((store.cell(cell.id) / "request.json").read_text()) == cell.request


def test_half_written_files_of_killed_attempts_are_cleared_away(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    attempt = store.begin(cell, "sweep")
    assert attempt is not None
    store.end(cell.id, attempt, "lost")
    checkpoints = store.cell(cell.id) / "code"
    checkpoints.mkdir()
    for name in ("checkpoint.pt", ".checkpoint.pt.0123.part"):
        (checkpoints / name).touch()
    store.begin(cell, "sweep")
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint.pt"]


HOLDER = """import sys
from pathlib import Path
from bench.protocol import Evaluation
from bench.sweep import attempts
print(attempts.claim(Path(sys.argv[1]), 1, "other"), flush=True)
sys.stdin.read()"""


def test_a_cell_is_running_while_the_process_of_its_attempt_lives(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    store.cell(cell.id).mkdir(parents=True)
    with process(HOLDER, store.cell(cell.id)) as holder:
        assert holder.stdout
        assert holder.stdout.readline().startswith("Attempt(")
        assert store.begin(cell, "sweep") is None
        assert (standing(look).state, standing(look).why) == ("running", "attempt 1 is running")
        holder.kill()
    assert standing(look).state == "missing"
    attempt = store.begin(cell, "sweep")
    assert attempt is not None
    assert [(each.number, each.sweep, each.how) for each in store.history(cell.id)] == [
        (1, "other", "lost"),
        (2, "sweep", ""),
    ]


def elsewhere(store: Store, cell_id: str, beaten: float) -> None:
    """Put a first attempt on another machine, whose heart beat so many seconds ago."""
    path = store.cell(cell_id) / "attempt-1.json"
    content = json.loads(path.read_text()) | {"host": "another"}
    path.write_text(json.dumps(content))
    os.utime(path, (time.time() - beaten,) * 2)


def test_an_attempt_on_another_machine_counts_until_its_heart_has_stopped_for_a_lease(look: Look, store: Store) -> None:
    job = job_of(look)
    first = store.begin(job.cell, "there")
    assert first is not None
    elsewhere(store, job.cell.id, attempts.LEASE - 5)
    assert store.begin(job.cell, "here") is None
    elsewhere(store, job.cell.id, attempts.LEASE + 5)
    second = store.begin(job.cell, "here")
    assert second is not None

    # and should it come back, it has lost its right
    assert not store.beat(job.cell.id, first)
    assert store.beat(job.cell.id, second)
    assert not store.finish(job, finished(job))
    assert store.finish(replace(job, attempt=2), finished(job, "error"))


def test_an_attempt_whose_process_id_is_anothers_now_is_over(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    assert store.begin(cell, "sweep") is not None
    path = store.cell(cell.id) / "attempt-1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"born": 1e9}))
    assert not store.alive(cell.id, 1)


def test_an_attempt_that_is_just_being_made_is_somebodys(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    store.cell(cell.id).mkdir(parents=True)
    (store.cell(cell.id) / "attempt-1.json").touch()
    assert store.begin(cell, "sweep") is None


def test_of_processes_that_race_for_a_cell_exactly_one_begins(tmp_path: Path) -> None:
    code = """import sys
from pathlib import Path
from bench.protocol import Evaluation
from bench.sweep import attempts
print("ready", flush=True)
sys.stdin.readline()
print(*(n for n in range(1, 51) if attempts.claim(Path(sys.argv[1]), n, "sweep")))
sys.stdin.read()"""
    racers = [process(code, tmp_path) for _ in range(3)]
    for racer in racers:
        assert racer.stdout
        racer.stdout.readline()
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [int(number) for racer in racers for number in racer.communicate()[0].split()]
    assert sorted(won) == list(range(1, 51))


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
    for other in (job, replace(job, replaces=2)):
        assert store.taken(other)
        store.vacate(other)
        assert len(store.records()) == 1
    assert not store.taken(replace(job, replaces=3))
    store.vacate(replace(job, replaces=3))
    aside = store.record_path(job.cell.id, job.key).with_suffix(".attempt-3.json")
    assert json.loads(aside.read_text())["status"] == "crashed"
    assert store.records() == []


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
        store.storage.check_writable,
        lambda: store.write_grid({}),
        lambda: store.begin(job.cell, "sweep"),
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


def test_attempts_are_counted_by_names_that_bench_gives() -> None:
    foreign = (
        "log-99999999999999999999.txt",
        "attempt-0.json",
        "log-01.txt",
        "log-\N{SUPERSCRIPT TWO}.txt",
        "log-.txt",
    )
    assert attempts.numbers([*foreign, "log-3.txt", "attempt-2.json"]) == [2, 3]
