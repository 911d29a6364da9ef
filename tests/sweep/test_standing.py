"""What stands of each cell is told from its files, with the reason."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench.files import save_tensors
from bench.protocol import Evaluation
from bench.sweep import attempts
from bench.sweep.circumstances import provenance
from bench.sweep.store import Store
from tests.sweep.test_store import Look, finished, job_of, process, race, standing


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


@pytest.mark.parametrize(("status", "state"), [("ok", "finished"), ("crashed", "stale"), ("diverged", "stale")])
def test_a_record_of_earlier_code_that_gives_the_same_numbers_stays_valid_if_its_cell_ended_well(
    look: Look, store: Store, status: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(look)
    now, zeros = job.fingerprints.fit, "0" * 64
    monkeypatch.setattr("bench.sweep.fingerprints._equal", lambda: {zeros: now})
    earlier = replace(job, key="0" * 16, fingerprints=replace(job.fingerprints, fit=zeros))
    store.finish(earlier, finished(earlier, status))
    found = standing(look)
    assert found.state == state
    if status == "ok":
        words = "ok in attempt 1, 2026-01-01T00:00:00+00:00, by earlier code that gives the same numbers"
        assert found.why == words
    assert len(look("ok").jobs(stale=True)) == (status != "ok")


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


def test_a_cell_that_was_scored_otherwise_later_is_stale_by_its_record_with_the_settings_of_now(
    look: Look, store: Store
) -> None:
    job = job_of(look)
    other = Evaluation(importance_samples=50)
    earlier = replace(job, key="0" * 16, fingerprints=replace(job.fingerprints, fit="0" * 64))
    later = replace(earlier, key="1" * 16, cell=replace(job.cell, evaluation=other))
    store.finish(earlier, finished(earlier))
    store.finish(later, later.record("fakes", provenance("cpu"), "ok", finished="2026-02-01T00:00:00+00:00"))
    found = standing(look)
    assert found.state == "stale"
    assert found.why == "the training code of bench changed since the record of 2026-01-01T00:00:00+00:00"


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


@pytest.mark.parametrize("ahead", [1000.0, -1000.0])
def test_a_heart_beats_by_the_clock_of_the_file_system(look: Look, store: Store, ahead: float) -> None:
    cell = job_of(look).cell
    assert store.begin(cell, "there") is not None
    vars(store.storage)["ahead"] = ahead
    elsewhere(store, cell.id, attempts.LEASE - 5 - ahead)
    assert store.alive(cell.id, 1)
    elsewhere(store, cell.id, attempts.LEASE + 5 - ahead)
    assert not store.alive(cell.id, 1)


def test_an_attempt_whose_process_id_is_anothers_now_is_over(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    assert store.begin(cell, "sweep") is not None
    path = store.cell(cell.id) / "attempt-1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"born": 0.01}))
    assert not store.alive(cell.id, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="seconds since the boot are had from /proc")
def test_a_step_of_the_clock_ends_no_attempt(look: Look, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = job_of(look).cell
    store.cell(cell.id).mkdir(parents=True)
    with process(HOLDER, store.cell(cell.id)) as holder:
        assert holder.stdout
        holder.stdout.readline()
        was = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda process: was(process) + 3600)
        assert store.alive(cell.id, 1)
        holder.kill()
    assert not store.alive(cell.id, 1)


def test_an_attempt_of_an_earlier_version_goes_on_while_its_heart_beats(look: Look, store: Store) -> None:
    cell = job_of(look).cell
    assert store.begin(cell, "sweep") is not None
    path = store.cell(cell.id) / "attempt-1.json"
    attempt = json.loads(path.read_text())
    for born in (psutil.Process().create_time(), 1e9):  # the second: before the clock was set
        path.write_text(json.dumps(attempt | {"born": born}))
        assert store.alive(cell.id, 1)
        os.utime(path, (time.time() - attempts.LEASE - 5,) * 2)
        assert not store.alive(cell.id, 1)
    with process(HOLDER, store.cell(cell.id)) as holder:
        gone = holder.pid
        holder.kill()
    path.write_text(json.dumps(attempt | {"born": time.time(), "pid": gone}))
    assert not store.alive(cell.id, 1)


def test_where_the_system_does_not_tell_ticks_a_start_is_that_of_the_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "Path", lambda path: Path("/nowhere"))
    mine = psutil.Process().create_time()
    assert attempts._started(os.getpid()) == pytest.approx(mine)
    assert attempts._there(os.getpid(), mine + 1)
    assert not attempts._there(os.getpid(), mine + 3)


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
    racers = race(code, tmp_path)
    won = [int(number) for racer in racers for number in racer.communicate()[0].split()]
    assert sorted(won) == list(range(1, 51))
