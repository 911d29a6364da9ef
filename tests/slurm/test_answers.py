"""What a real SLURM is asked about jobs, in whatever surroundings, and what follows where it does not answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.sweep.slurm import commands

pytestmark = pytest.mark.xdist_group("slurm")  # one cluster for all

Wait = Callable[..., None]

HOSTILE = {
    **{"LOGNAME": "daemon", "USER": "daemon", "USERNAME": "daemon", "LNAME": "daemon"},
    **{"SQUEUE_STATES": "COMPLETED", "SQUEUE_PARTITION": "urgent", "SQUEUE_ACCOUNT": "x", "SQUEUE_NAMES": "x"},
    **{"SQUEUE_USERS": "daemon", "SQUEUE_FORMAT": "%j", "SACCT_FORMAT": "User", "SLURM_CLUSTERS": "elsewhere"},
    **{"SBATCH_TIMELIMIT": "1000", "SBATCH_PARTITION": "gone", "SLURM_MEM_PER_CPU": "99999999", "SLURM_JOB_ID": "1"},
}


def test_no_surroundings_make_waiting_jobs_look_lost_and_none_is_submitted_twice(
    shell: Any, cluster: Any, wait: Wait
) -> None:
    shell.grid("hang", slurm="time = 5")
    cluster.ask("scontrol", "update", "partitionname=main", "state=down")
    try:
        shell("run", "--on", "slurm", "--detach")
        shell.environment |= HOSTILE
        assert "1 cell: 1 pending" in shell("collect", check=1)
        assert not shell.records()
        (cell,) = shell.cells()
        assert cell["state"] == "pending"
        assert "waits (PartitionDown)" in cell["why"]
        assert shell("run", "--on", "slurm", "--detach").startswith("there is no cell to submit\n")
    finally:
        cluster.ask("scontrol", "update", "partitionname=main", "state=up")
    wait(lambda: shell.begun() == 1)
    assert shell("run", "--on", "slurm", "--detach").startswith("there is no cell to submit\n")
    assert [cell["state"] for cell in shell.cells()] == ["running"]
    assert len(list(shell.folder.glob("runs/fakes/launches/*/launch.json"))) == 1


def test_jobs_that_never_start_are_told_and_where_their_cluster_does_not_answer_nothing_is_recorded_or_submitted(
    shell: Any, cluster: Any
) -> None:
    shell.grid("hang", slurm="extra = ['--hold']")
    shell("run", "--on", "slurm", "--detach")
    (file,) = shell.folder.glob("runs/fakes/launches/*/launch.json")
    launch = json.loads(file.read_text())
    assert launch["cluster"] == "bench"
    job = launch["arrays"][0]["job"]
    why = f"1 cell waits in a job that does not start by itself: job {job} (JobHeldUser); to give one up: bench cancel "
    assert why in shell("status")
    assert why in shell("collect", "--wait", check=1)

    file.write_text(json.dumps({**launch, "cluster": "elsewhere"}))
    why = "cells were submitted to SLURM's cluster elsewhere, and another one answers here; ask there, or move "
    assert shell("collect", "--wait", check=1).startswith(f"error: {why}")
    file.write_text(json.dumps(launch))

    mute = shell.folder / "mute" / "squeue"
    mute.parent.mkdir()
    mute.write_text("#!/bin/sh\nexit 1\n")
    mute.chmod(0o755)
    path = shell.environment["PATH"]
    shell.environment["PATH"] = f"{mute.parent}:{path}"
    assert "SLURM does not answer" in shell("collect", check=1)
    assert "SLURM does not answer" in shell("run", "--on", "slurm", "--detach", check=1)
    assert not shell.records()
    shell.environment["PATH"] = path
    assert shell("cancel").startswith("1 cell cancelled; ")
    assert [record["status"] for record in shell.records().values()] == ["cancelled"]


def test_the_words_for_reasons_are_slurms(cluster: Any) -> None:
    (library,) = Path("/usr/lib").glob("*/slurm-wlm/libslurmfull.so")
    content = library.read_bytes()
    for word in (*commands.NEVER, *commands.RUNNING, *commands.WAITING, *commands.OVER):
        assert f"{word}\0".encode() in content, word
