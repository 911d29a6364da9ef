"""Submitted cells: judged from what their jobs left and what SLURM says, here with its answers given."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.profile import Slurm
from bench.sweep import status
from bench.sweep.attempts import Job
from bench.sweep.slurm import commands as slurm
from bench.sweep.slurm import launches, submitted
from bench.sweep.slurm.launches import Array, Launch
from bench.sweep.status import Survey
from bench.sweep.store import Store

Look = Callable[..., Survey]
Answers = Callable[..., None]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Say what SLURM answers."""

    def answers(queue: dict[str, str] | None = None, ends: dict[str, str] | None = None) -> None:
        words = {job: [*said.split("|"), "", ""] for job, said in (queue or {}).items()}
        entries = {job: slurm.Entry(state, reason, bool(held)) for job, (state, reason, held, *_) in words.items()}
        monkeypatch.setattr(slurm, "queue", lambda jobs: {job: entries[job] for job in jobs if job in entries})
        monkeypatch.setattr(slurm, "ends", lambda jobs: ends or {})

    return answers


def submit(store: Store, jobs: list[Job], **changes: object) -> Launch:
    """Keep a launch of one array, a job a cell."""
    launch = Launch(
        sweep="20260101-000000-aaaa",
        submitted="2026-01-01T00:00:00+00:00",
        slurm=Slurm().model_dump(),
        options={},
        keys={job.cell.id: job.key for job in jobs},
        replaces={job.cell.id: job.replaces for job in jobs if job.replaces},
        arrays=[Array("7", [[job.cell.id] for job in jobs])],
    )
    launches.write(store, launch)
    return launch


def attempt(store: Store, job: Job, how: str, sweep: str = "20260101-000000-aaaa") -> None:
    """Leave an attempt that ended in this way, or goes on elsewhere where `how` is empty."""
    made = store.begin(job.cell, sweep)
    assert made is not None
    store.end(job.cell.id, made, how)


def finish(store: Store, job: Job, sweep: str) -> None:
    """Carry a cell out as a job would, to an end that is well."""
    made = store.begin(job.cell, sweep)
    assert made is not None
    job = replace(job, attempt=made.number)
    store.vacate(job)
    assert store.finish(job, job.record("fakes", {}, "ok"))
    store.end(job.cell.id, made, "ok")


def states(look: Look, *how: str) -> list[tuple[str, str]]:
    return [(standing.state, standing.why) for standing in submitted.overlaid(look(*how)).standings]


def test_cells_of_jobs_that_wait_or_run(look: Look, store: Store, answers: Answers) -> None:
    how = ("ok", "long", "walk", "hang", "flaky")
    jobs = look(*how).jobs()
    submit(store, jobs)
    attempt(store, jobs[2], "preempted")
    attempt(store, jobs[3], "timeout")
    assert store.begin(jobs[4].cell, "20260101-000000-aaaa")
    queue = ("PENDING", "RUNNING", "PENDING", "RUNNING", "RUNNING")
    answers({f"7_{task}": state for task, state in enumerate(queue)})
    assert states(look, *how) == [
        ("pending", "job 7_0 waits"),
        ("pending", "job 7_1 is at other cells, or begins"),
        ("preempted", "attempt 1 was preempted; job 7_2 waits to go on"),
        ("pending", "attempt 1 came to the job's time limit; job 7_3 goes on"),
        ("running", "attempt 1 is running in job 7_4"),
    ]
    assert submitted.overlaid(look(*how)).jobs() == [
        job for job in look(*how).jobs() if job.cell.id == jobs[4].cell.id
    ], "cells that wait in SLURM are left to it"


def test_a_cell_is_left_to_whichever_launch_still_has_it(
    look: Look, store: Store, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = look("ok", "long").jobs()
    submit(store, jobs)
    later = Launch(**{**vars(submit(store, jobs)), "sweep": "20260102-000000-bbbb", "arrays": []})
    later.arrays = [Array("8", [[job.cell.id] for job in jobs])]
    launches.write(store, later)
    answers({"7_0": "PENDING|Priority", "7_1": "PENDING", "8_1": "PENDING|JobHeldUser|held"}, {"8_0": "CANCELLED"})
    assert states(look, "ok", "long") == [("pending", "job 7_0 waits (Priority)"), ("pending", "job 7_1 waits")]
    ended: list[str] = []
    monkeypatch.setattr(slurm, "cancel", ended.extend)
    assert submitted.cancel(submitted.overlaid(look("ok", "long")), [job.cell.id for job in jobs]) == (2, 0)
    assert ended == ["7_0", "7_1", "8_1"]
    made = store.begin(jobs[0].cell, "20260101-000000-aaaa")  # of the first launch, while the second is gone
    assert made is not None
    survey = submitted.overlaid(look("ok"))
    assert [standing.state for standing in survey.standings] == ["running"]
    lost = replace(survey.standings[0], state="lost", loss=("cancelled", "by `bench cancel`"))
    assert submitted.settle(replace(survey, standings=(lost,)), {}) == 0


def test_a_cell_that_ends_while_slurm_is_asked_is_not_lost(
    look: Look, store: Store, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = look("ok", "long").jobs()
    launch = submit(store, jobs)
    before = look("ok", "long")
    answers({}, {"7_0": "COMPLETED", "7_1": "TIMEOUT"})
    finish(store, jobs[0], launch.sweep)
    survey = submitted.overlaid(before)
    assert [standing.state for standing in survey.standings] == ["finished", "lost"]
    said = status.advice(survey, "", "", "bench collect", "", "bench collect --wait")
    assert said == ["1 cell is lost: its job is gone without a record; to record it: bench collect"]


@pytest.mark.parametrize(
    ("said", "stuck"),
    [
        ("PENDING|JobHeldUser|held", "JobHeldUser"),
        ("PENDING|launch failed requeued held|held", "launch failed requeued held"),
        ("SPECIAL_EXIT||held", "held"),
        ("PENDING|DependencyNeverSatisfied", "DependencyNeverSatisfied"),
        ("PENDING|PartitionTimeLimit", "PartitionTimeLimit"),
        ("PENDING|QOSMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit"),
        ("PENDING|AssocMaxMemPerNode", "AssocMaxMemPerNode"),
        ("PENDING|QOSMinGRES", "QOSMinGRES"),
        # these pass when other jobs end, or when the site has done its work
        ("PENDING|QOSMaxJobsPerUserLimit", ""),
        ("PENDING|AssocGrpCpuLimit", ""),
        ("PENDING|PartitionDown", ""),
        ("PENDING|PartitionInactive", ""),
        ("PENDING|PartitionNodeLimit", ""),
        ("PENDING|ReqNodeNotAvail, UnavailableNodes:n1", ""),
        ("RUNNING||held", ""),
    ],
)
def test_jobs_that_never_start_by_themselves_are_told_and_not_waited_for(
    look: Look, store: Store, answers: Answers, said: str, stuck: str
) -> None:
    job, other = look("ok", "long").jobs()
    submit(store, [job, other])
    answers({"7_0": said, "7_1": "PENDING|Priority"})
    survey = submitted.overlaid(look("ok", "long"))
    assert survey.goes_on
    (standing, _) = survey.standings
    assert standing.stuck == stuck
    assert ("does not start by itself" in standing.why) == bool(stuck)
    survey = replace(survey, standings=(standing,))
    assert survey.goes_on == (not stuck)
    advice = status.advice(survey, "", "", "", "cancel", "collect")
    assert advice == (
        [
            f"1 cell waits in a job that does not start by itself: job 7_0 ({stuck}); to give one up: cancel, "
            "with an id of `bench status --why`"
        ]
        if stuck
        else ["1 cell is left to SLURM; to wait for it: collect"]
    )


def test_a_preempted_cell_whose_job_is_held_says_so(look: Look, store: Store, answers: Answers) -> None:
    (job,) = look("ok").jobs()
    submit(store, [job])
    attempt(store, job, "preempted")
    answers({"7": "PENDING|launch failed requeued held|held"})
    why = "attempt 1 was preempted; job 7 waits to go on (launch failed requeued held); it does not start by itself"
    assert states(look, "ok") == [("preempted", why)]


def test_nothing_is_judged_cancelled_or_waited_for_where_another_cluster_answers(
    look: Look, store: Store, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = look("ok", "long").jobs()
    first = replace(submit(store, jobs), cluster="alps")
    launches.write(store, first)
    answers({}, {"7_0": "COMPLETED"})
    monkeypatch.setattr(slurm, "cluster", lambda: "bench")
    why = (
        r"^cells were submitted to SLURM's cluster alps, and another one answers here; ask there, or move /.*-aaaa away"
    )
    for ask in (
        lambda: submitted.overlaid(look("ok", "long")),
        lambda: submitted.cancel(look("ok", "long"), [jobs[0].cell.id]),
    ):
        with pytest.raises(slurm.Elsewhere, match=why):
            ask()
    monkeypatch.setattr(slurm, "cluster", lambda: "alps")
    assert [standing.state for standing in submitted.overlaid(look("ok", "long")).standings] == ["lost", "lost"]
    # what was submitted here later counts, whatever job there has the same id
    launches.write(store, replace(first, sweep="20260102-000000-bbbb", cluster="bench", arrays=[first.arrays[0]]))
    monkeypatch.setattr(slurm, "cluster", lambda: "bench")
    answers({"7_0": "PENDING", "7_1": "RUNNING"})
    assert [standing.state for standing in submitted.overlaid(look("ok", "long")).standings] == ["pending", "pending"]
    ended: list[str] = []
    monkeypatch.setattr(slurm, "cancel", ended.extend)
    assert submitted.cancel(submitted.overlaid(look("ok", "long")), [job.cell.id for job in jobs]) == (2, 0)
    assert [launch.cancelled for launch in launches.read(store)] == [[], sorted(job.cell.id for job in jobs)]


def test_launches_that_do_not_name_their_cluster_are_read_and_asked_about(
    look: Look, store: Store, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = look("ok").jobs()
    path = launches.folder(store, submit(store, [job]).sweep) / "launch.json"
    kept = json.loads(path.read_text())
    del kept["cluster"]  # as an earlier version wrote it
    path.write_text(json.dumps(kept))
    monkeypatch.setattr(slurm, "cluster", None)
    answers({"7": "PENDING"})
    assert states(look, "ok") == [("pending", "job 7 waits")]
    path.write_text(json.dumps({**kept, "cluster": 3}))
    assert "is no launch of this version" in launches.unread(store)[0]


def test_a_heart_that_beats_counts_more_than_what_slurm_says(look: Look, store: Store, answers: Answers) -> None:
    (job,) = look("ok").jobs()
    submit(store, [job])
    assert store.begin(job.cell, "20260101-000000-aaaa")
    path = store.cell(job.cell.id) / "attempt-1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "a node"}))
    answers({}, {"7": "NODE_FAIL"})
    assert states(look, "ok")[0][0] == "running"
    os.utime(path, (time.time() - 100,) * 2)
    state, why = states(look, "ok")[0]
    assert state == "lost"
    assert why == (
        "job 7 is gone without a record; `bench collect` records it as node-lost: the node of its job failed"
    )


@pytest.mark.parametrize(
    ("state", "how", "status"),
    [
        ("TIMEOUT", "lost", "timeout"),
        ("DEADLINE", "", "timeout"),
        ("OUT_OF_MEMORY", "lost", "out-of-memory"),
        ("NODE_FAIL", "lost", "node-lost"),
        ("BOOT_FAIL", "", "node-lost"),
        ("PREEMPTED", "lost", "cancelled"),
        ("CANCELLED", "stopped", "cancelled"),
        ("FAILED", "lost", "crashed"),
        ("COMPLETED", "", "crashed"),
        ("FAILED", "timeout", "timeout"),
        # where SLURM has forgotten, the last attempt tells
        ("", "timeout", "timeout"),
        ("", "preempted", "cancelled"),
        ("", "stopped", "cancelled"),
        ("", "lost", "crashed"),
        ("", "", "node-lost"),
    ],
)
def test_a_job_that_is_gone_leaves_its_cell_a_record(
    look: Look, store: Store, answers: Answers, state: str, how: str, status: str
) -> None:
    (job,) = look("ok").jobs()
    submit(store, [job])
    if how:
        attempt(store, job, how)
    answers({}, {"7": state} if state else {})
    survey = submitted.overlaid(look("ok"))
    assert submitted.settle(survey, {"device": "cpu"}) == 1
    assert submitted.settle(survey, {"device": "cpu"}) == 0
    record = store.record(job.cell.id, job.key)
    assert record is not None
    assert (record.status, record.attempt) == (status, 1)
    assert record.reason
    assert states(look, "ok")[0][0] == "finished"


def test_cancelled_cells_are_recorded_as_such_and_a_later_launch_takes_their_place(
    look: Look, store: Store, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = look("ok", "long").jobs()
    submit(store, jobs)
    answers({"7_0": "PENDING", "7_1": "RUNNING"})
    told: list[str] = []
    monkeypatch.setattr(slurm, "cancel", told.extend)
    assert submitted.cancel(submitted.overlaid(look("ok", "long")), [jobs[0].cell.id]) == (1, 0)
    assert told == ["7_0"]
    answers({"7_1": "RUNNING"})
    assert submitted.settle(submitted.overlaid(look("ok", "long")), {}) == 1
    record = store.record(jobs[0].cell.id, jobs[0].key)
    assert record is not None
    assert (record.status, record.reason) == ("cancelled", "by `bench cancel`")

    again = submitted.overlaid(look("ok", "long")).jobs(retry=True)
    assert [job.replaces for job in again] == [store.digest(jobs[0].cell.id, jobs[0].key)]
    later = Launch(
        **{**vars(submit(store, again)), "sweep": "20260102-000000-bbbb", "arrays": [Array("8", [[again[0].cell.id]])]}
    )
    launches.write(store, later)
    answers({"8": "PENDING", "7_1": "RUNNING"})
    assert states(look, "ok", "long")[0] == ("pending", "job 8 waits")
    path = launches.folder(store, later.sweep) / "launch.json"
    kept = path.read_text()
    path.write_text(json.dumps({**json.loads(kept), "replaces": {again[0].cell.id: 1}}))  # as earlier versions wrote it
    assert states(look, "ok", "long")[0] == ("pending", "job 8 waits")
    path.write_text(kept)

    # the first attempt of all is the later job's, and its record stands whatever is asked afterwards
    finish(store, again[0], later.sweep)
    answers({}, {"7_1": "RUNNING", "8": "COMPLETED"})
    survey = submitted.overlaid(look("ok", "long"))
    record = survey.standings[0].record
    assert record is not None
    assert (survey.standings[0].state, record.status, record.attempt) == ("finished", "ok", 1)
    assert store.taken(again[0])
    submitted.settle(survey, {})
    assert [record.status for record in store.records(jobs[0].cell.id)] == ["ok"]
    assert look("ok").jobs(retry=True) == []


def test_a_job_that_is_lost_again_before_its_cell_began_leaves_one_record_more(
    look: Look, store: Store, answers: Answers
) -> None:
    (job,) = look("ok").jobs()
    submit(store, [job])
    for number in range(2):
        answers({}, {"7": "CANCELLED" if number else "NODE_FAIL"})
        assert [store.taken(job) for job in submitted.overlaid(look("ok")).jobs()] == [False], (
            "`bench run` does it, too"
        )
        for _ in range(2):
            submitted.settle(submitted.overlaid(look("ok")), {})
            assert len(list(store.cell(job.cell.id).glob("record-*.json"))) == 1 + number
        launches.write(store, replace(submit(store, look("ok").jobs(retry=True)), sweep=f"20260102-000000-000{number}"))
    assert [record.status for record in store.records()] == ["cancelled"]


def test_jobs_of_tuning_are_cancelled_with_the_cells_or_alone_and_not_those_at_another_cluster(
    look: Look, store: Store, answers: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = look("ok").jobs()
    submit(store, jobs)
    trials = Store(tmp_path / "runs" / "fakes-trials")
    of_tuning = replace(submit(trials, []), arrays=[Array("8", [[], [], []])], cluster="alps")
    launches.write(trials, of_tuning)
    told: list[str] = []
    monkeypatch.setattr(slurm, "cancel", told.extend)
    monkeypatch.setattr(slurm, "cluster", lambda: "alps")
    answers({"7": "RUNNING", "8_0": "RUNNING", "8_2": "PENDING|JobHeldUser|held"}, {"8_1": "COMPLETED"})
    cells = [job.cell.id for job in jobs]
    assert submitted.cancel(submitted.overlaid(look("ok")), cells) == (1, 0)
    assert submitted.cancel(submitted.overlaid(look("ok")), cells, trials) == (1, 2)
    assert told == ["7", "7", "8_0", "8_2"]
    answers({"8_0": "RUNNING"}, {"7": "CANCELLED"})
    assert submitted.cancel(submitted.overlaid(look("ok")), cells, trials) == (0, 1)
    monkeypatch.setattr(slurm, "cluster", lambda: "bench")
    with pytest.raises(slurm.Elsewhere, match=r"to SLURM's cluster alps, .* or move /.*/fakes-trials/launches/"):
        submitted.cancel(submitted.overlaid(look("ok")), cells, trials)
    assert told[4:] == ["8_0"]


def test_what_failed_is_submitted_again_as_it_was_and_what_was_not_submitted_is_not(
    look: Look, store: Store, answers: Answers
) -> None:
    jobs = look("ok", "long", "walk", "hang", "flaky").jobs()
    first = replace(submit(store, jobs[:2]), slurm=Slurm(gpus=1).model_dump(), options={"device": "cuda:0"})
    launches.write(store, first)
    arrays = [Array("8", [[job.cell.id] for job in jobs[1:4]])]
    later = replace(submit(store, jobs[1:4]), sweep="20260102-000000-bbbb", arrays=arrays)
    launches.write(store, first)
    launches.write(store, later)
    finish(store, jobs[3], later.sweep)
    answers({"8_1": "PENDING"}, {"7_0": "TIMEOUT", "8_0": "TIMEOUT"})
    for settled in (False, True):  # before, as for a dry run
        survey = submitted.overlaid(look("ok", "long", "walk", "hang", "flaky"))
        again = submitted.again(survey)
        assert [[job.cell.id for job in batch] for _, batch in again] == [[jobs[0].cell.id], [jobs[1].cell.id]]
        assert [(launch.slurm["gpus"], launch.options) for launch, _ in again] == [(1, {"device": "cuda:0"}), (0, {})]
        assert submitted.settle(survey, {}) == (0 if settled else 2)


def test_the_last_words_of_a_job_reach_the_record(look: Look, store: Store, answers: Answers) -> None:
    (job,) = look("ok").jobs()
    output = launches.output(store, submit(store, [job]), "7")
    output.parent.mkdir(parents=True)
    output.write_bytes(b"set up\nsrun: fatal: SLURM_MEM_PER_CPU is wrong\x1b[31m \xff\n\n")
    answers({}, {"7": "FAILED"})
    assert submitted.settle(submitted.overlaid(look("ok")), {}) == 1
    record = store.record(job.cell.id, job.key)
    assert record is not None
    assert record.reason.startswith("its job ended; its last words: srun: fatal: SLURM_MEM_PER_CPU is wrong")
    assert "\x1b" not in record.reason
