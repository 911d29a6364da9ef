"""What SLURM's commands are asked, here small scripts in their place, and what their answers are taken for."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bench.sweep import status
from bench.sweep.slurm import commands as slurm
from bench.sweep.slurm import launches, submitted
from bench.sweep.slurm.launches import Array
from bench.sweep.store import Store
from bench.tuning import cluster
from tests.sweep.test_submitted import Look, states, submit


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **lines: str) -> None:
    """Put commands of SLURM in front of PATH, a line of shell each."""
    for name, line in lines.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_variables_of_the_surroundings_do_not_reach_slurms_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"SLURM_CONF": "/etc/slurm.conf", "HOME": "/home/me"}
    dropped = ("SQUEUE_STATES", "SACCT_FORMAT", "SBATCH_TIMELIMIT", "SLURM_MEM_PER_CPU", "SLURM_CLUSTERS")
    for name, value in {**kept, **dict.fromkeys(dropped, "x")}.items():
        monkeypatch.setenv(name, value)
    left = slurm.environment()
    assert left.items() >= kept.items()
    assert not left.keys() & set(dropped)


def test_a_job_of_somebody_else_that_has_the_id_of_ours_is_neither_shown_nor_cancelled(
    look: Look, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = look("ok", "long").jobs()
    submit(store, jobs)
    said = "7_0|RUNNING|9|nightly|x|None\\n7_1|PENDING|0|bench-fakes-20260101-000000-aaaa|Job|Held"
    commands(tmp_path, monkeypatch, squeue=f"printf '{said}'", scancel=f"echo $* >> {tmp_path}/told", sacct="exit 1")
    assert [entry.reason for entry in slurm.queue({"7_1": ["20260101-000000-aaaa"], "7_0": []}).values()] == [
        "Job|Held"
    ]
    assert [standing.state for standing in submitted.overlaid(look("ok", "long")).standings] == ["lost", "pending"]
    cells = [job.cell.id for job in jobs]
    assert submitted.cancel(look("ok", "long"), cells) == (1, 0)
    assert (tmp_path / "told").read_text() == "7_1\n"
    assert launches.read(store)[0].cancelled == cells[1:]


def test_a_cancellation_that_fails_is_not_kept(
    look: Look, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (job,) = look("ok").jobs()
    launch = submit(store, [job])
    queue = f"echo '7|RUNNING|9|bench-fakes-{launch.sweep}|None'"
    commands(tmp_path, monkeypatch, squeue=queue, scancel="exit 1")
    with pytest.raises(slurm.Refused):
        submitted.cancel(look("ok"), [job.cell.id])
    assert launches.read(store)[0].cancelled == []


@pytest.mark.parametrize("accounting", [True, False])
def test_jobs_that_slurm_says_in_one_are_all_cancelled(
    look: Look, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, accounting: bool
) -> None:
    jobs = look("ok", seeds=9).jobs()
    submit(store, jobs)
    sacct = "printf '7_0|COMPLETED\\n7_[1-3,5-8:3%2]|CANCELLED by 1000\\n7_4|TIMEOUT\\n7_[6,7%2]|CANCELLED'"
    told = ("0 JobState=COMPLETED", "1-3,5-8:3%2 JobState=CANCELLED", "4 JobState=TIMEOUT", "6,7%2 JobState=CANCELLED")
    scontrol = "".join(f"echo JobId={n} ArrayJobId=7 ArrayTaskId={task} Reason=None\n" for n, task in enumerate(told))
    most = '[ "$SLURM_BITSTR_LEN" = 0 ] || exit 1\n'
    sacct = f"{most}{sacct}" if accounting else "exit 1"
    commands(tmp_path, monkeypatch, squeue="true", sacct=sacct, scontrol=f"{most}{scontrol}")
    ends = [standing.loss for standing in submitted.overlaid(look("ok", seeds=9)).standings]
    cancelled = ("cancelled", "its job was cancelled")
    assert ends == [submitted.UNEXPLAINED, *[cancelled] * 3, submitted.ENDS["TIMEOUT"], *[cancelled] * 4]


@pytest.mark.parametrize(("site", "most"), [("1001", 1001), ("4000001", 10_000), ("0", 1), ("(null)", 1000)])
def test_arrays_are_as_long_as_the_site_and_a_command_line_allow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, site: str, most: int
) -> None:
    commands(tmp_path, monkeypatch, scontrol=f"echo 'MaxArraySize            = {site}'")
    assert slurm.most_tasks() == most
    assert subprocess.run(["/bin/true", *["0" * 64] * most], check=False).returncode == 0


def test_tuning_waits_for_a_slurm_that_is_being_restarted_and_asks_less_often_where_nothing_changes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = submit(store, [])
    launch.arrays = [Array("7", [[]])]
    away, there = slurm.Refused("squeue", "connection refused"), {"7": slurm.Entry("RUNNING")}
    looks: list[object] = [there, away, away, *[there] * 200, {}]
    said: list[str] = []
    pauses: list[float] = []
    clock = 0.0

    def queue(jobs: object) -> dict[str, slurm.Entry]:
        look = looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return cast(dict[str, slurm.Entry], look)

    def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds
        pauses.append(seconds)

    monkeypatch.setattr(slurm, "queue", queue)
    monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=lambda: clock, sleep=sleep))
    assert cluster.watch(launch, said.append) == {}
    assert said == ["SLURM does not answer: `squeue` says: connection refused; waiting for it"]
    assert pauses[:10] == [2.0] * 10
    assert sorted(pauses) == pauses
    assert pauses[-1] == 30.0
    looks = [slurm.Elsewhere("there is no SLURM")]
    with pytest.raises(slurm.Elsewhere):
        cluster.watch(launch, said.append)


def test_without_slurm_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(slurm.Unreachable, match=r"^there is no SLURM on this machine: no `squeue` is found$"):
        slurm.queue({"7_1": ["20260101-000000-aaaa"]})
    assert slurm.ends(["7_1"]) == {}
    assert slurm.ends([]) == {}


def test_what_was_not_submitted_is_not_asked_about(look: Look, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "queue", None)
    assert states(look, "ok") == [("missing", "never ran")]
    submit(store, [replace(job, key="0" * 16) for job in look("ok").jobs()])  # with other code
    assert states(look, "ok") == [("missing", "never ran")]


def test_jobs_that_never_start_are_named_by_reason_and_not_all_of_them() -> None:
    held = {f"7_{task}": "JobHeldUser" for task in range(40)}
    assert status.unstarted({**held, "8": "DeadLine"}) == (
        "jobs 7_0, 7_1, 7_2 and 37 more (JobHeldUser), job 8 (DeadLine)"
    )
