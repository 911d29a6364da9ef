"""SLURM jobs: what is submitted, and what a job does, here without SLURM."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.profile import Slurm
from bench.protocol import UserError
from bench.sweep import attempts
from bench.sweep.pool import Pool
from bench.sweep.processes import BOOT
from bench.sweep.progress import Lines
from bench.sweep.slurm import commands as slurm
from bench.sweep.slurm import launches, start
from bench.sweep.slurm.chunk import Chunk
from bench.sweep.slurm.launches import Launch
from bench.sweep.slurm.submission import Submission
from bench.sweep.status import Survey
from bench.sweep.storage import StoreError
from bench.sweep.store import Store
from bench.sweep.worker import Setup
from tests.workers import servers

Look = Callable[..., Survey]


SLEEP = shutil.which("sleep")
Submitted = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def submitted(look: Look, setup: Setup, tmp_path: Path) -> Iterator[Submitted]:
    """Carry out the script of an array's second job; `srun` says what srun does in place of starting the job."""
    jobs: list[subprocess.Popen[bytes]] = []

    def submitted(srun: str, asked: Slurm, restarts: int = 0, state: str = "RUNNING") -> subprocess.Popen[bytes]:
        survey = look("ok")
        (script,) = Submission(survey, survey.jobs(), setup, asked, None, {}).scripts(10)
        assert f"#SBATCH --signal=B:USR2@{slurm.notice(asked.time)}\n" in script  # to the script's own shell
        (tmp_path / "script").write_text(script)
        commands = {"squeue": f"echo {state}", "scontrol": f"echo $@ >> {tmp_path}/told", "srun": srun}
        for name, does in {**commands, "sleep": f"exec {SLEEP} 0.1"}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
            (tmp_path / name).chmod(0o755)
        job = {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
        job |= {"SLURM_RESTART_COUNT": str(restarts), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        words = ["bash", str(tmp_path / "script")]
        jobs.append(subprocess.Popen(words, env=os.environ | job, start_new_session=True))
        return jobs[-1]

    yield submitted
    for process in jobs:  # and what a script left, as SLURM does
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_cell_that_is_interrupted_too_often_gets_its_record(look: Look, setup: Setup, store: Store) -> None:
    jobs = look("ok", "long", "walk").jobs()
    for job, how in [(jobs[0], "timeout"), (jobs[1], "preempted")] * 3 + [(jobs[2], "timeout")]:
        made = store.begin(job.cell, "one")
        assert made is not None
        store.end(job.cell.id, made, how)
    chunk = Chunk(setup, jobs, {}, "one", Slurm(retries=2), None)
    pool = Pool(setup, 1, Lines(1, lambda job: "", lambda job: ""), sweep="one")
    assert [job.cell.id for job in chunk._left(pool)] == [jobs[2].cell.id]
    told = {record.hyper["how"]: (record.status, record.reason) for record in store.records()}
    rest = "; interrupted 3 times in this sweep, and no retry is left"
    assert told == {
        "ok": ("timeout", f"cut off by the job's time limit{rest}"),
        "long": ("cancelled", f"preempted{rest}"),
    }


def test_a_cell_that_was_cancelled_does_not_go_back_into_the_queue(look: Look, setup: Setup, store: Store) -> None:
    jobs = look("ok", "long").jobs()
    chunk = Chunk(setup, jobs, {}, "one", Slurm(), None)
    pool = Pool(setup, 1, Lines(1, lambda job: "", lambda job: ""), sweep="one")
    launches.write(store, Launch("one", "", {}, {}, cancelled=[jobs[0].cell.id]))
    launches.write(store, Launch("two", "", {}, {}, cancelled=[jobs[1].cell.id]))
    assert [job.cell.id for job in chunk._left(pool)] == [jobs[1].cell.id]
    assert store.records() == []


def test_what_slurm_took_before_it_refused_the_rest_is_kept(
    look: Look, setup: Setup, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sbatch(script: Path) -> str:
        number = int(script.parent.name)
        if number == taken:
            raise slurm.Refused("sbatch", "sbatch: error: too many jobs of yours")
        return str(number)

    survey = look("ok", "long", "walk")
    ids = [standing.cell.id for standing in survey.standings]
    monkeypatch.setattr(slurm, "most_tasks", lambda: 2)
    monkeypatch.setattr(slurm, "cluster", lambda: "alps")
    monkeypatch.setattr(slurm, "submit", sbatch)
    taken = 0
    with pytest.raises(UserError, match=r"^SLURM does not take the jobs: too many jobs of yours$"):
        Submission(survey, survey.jobs(), setup, Slurm(), None, {}).submit()
    assert launches.read(store) == []
    taken = 1
    with pytest.raises(UserError, match=r"jobs \(after 1 of 2 arrays\): too many jobs of yours$"):
        Submission(survey, survey.jobs(), setup, Slurm(), None, {}).submit()
    (launch,) = launches.read(store)
    assert launch.jobs() == {ids[0]: "0_0", ids[1]: "0_1"}
    assert [*launch.keys] == ids[:2]
    assert launch.cluster == "alps"


def test_two_commands_do_not_submit_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "BEAT", 0.05)
    place = store.folder / "submitting"
    with launches.claimed(store):
        os.utime(place / "attempt-1.json", (time.time() - 100,) * 2)  # a submission takes long
        time.sleep(0.3)
        with pytest.raises(UserError, match=r"^another command submits cells of /.* to SLURM now; try again once"):
            launches.claimed(store).__enter__()
    assert not place.exists()
    place.mkdir()
    dead = attempts.claim(place, 1, "")
    assert dead is not None
    (place / "attempt-1.json").write_text(json.dumps({**vars(dead), "born": 0.0}))
    with launches.claimed(store):
        assert len(list(place.iterdir())) == 2
    assert not store.foreign


def test_an_sbatch_that_hangs_is_waited_for_a_while_and_leaves_no_launch(
    look: Look, setup: Setup, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = tmp_path / "sbatch"
    command.write_text("#!/bin/sh\nexec sleep 60\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "PATIENCE", 0.3)
    monkeypatch.setattr(slurm, "most_tasks", lambda: 10)
    monkeypatch.setattr(slurm, "cluster", lambda: "alps")
    survey = look("ok")
    with pytest.raises(slurm.Unreachable, match=r"^SLURM does not answer: `sbatch` took more than 0.3 s$"):
        Submission(survey, survey.jobs(), setup, Slurm(), None, {}).submit()
    assert not list(store.folder.glob("launches/*"))


@pytest.mark.parametrize("stop", ["", "INT", "TERM", "HUP"])
def test_a_command_that_is_stopped_once_sbatch_has_answered_leaves_no_job_that_nobody_knows(
    look: Look, setup: Setup, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    """Or whose store is full then, where `stop` is empty."""

    def keep(store: Store, launch: Launch) -> None:
        if len(launch.arrays) == 2:  # the second array was submitted
            if not stop:
                raise StoreError("the run store cannot be written (No space left on device)")
            os.kill(os.getpid(), getattr(signal, f"SIG{stop}"))
        write(store, launch)

    told, write = tmp_path / "told", launches.write
    for name, lines in (("sbatch", f"echo >> {told}; wc -l < {told}"), ("scancel", f"echo $* >> {told}")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "most_tasks", lambda: 2)
    monkeypatch.setattr(slurm, "cluster", lambda: "alps")
    monkeypatch.setattr(launches, "write", keep)
    survey = look("ok", "long", "walk")
    expected = {"": StoreError, "INT": KeyboardInterrupt}.get(stop, SystemExit)
    ways: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    # a shell's background, and nohup, ignore some of them
    before = {number: signal.signal(number, way) for number, way in ways.items()}
    try:
        with pytest.raises(expected):
            Submission(survey, survey.jobs(), setup, Slurm(), None, {}).submit()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for number, way in before.items():
            signal.signal(number, way)
    assert told.read_text().split() == ["2"]
    (launch,) = launches.read(store)
    assert [array.job for array in launch.arrays] == ["1"]
    assert {path.name for path in launches.folder(store, launch.sweep).iterdir()} == {"0", "launch.json"}


def test_options_for_sbatch_reach_the_script_and_the_name_holds_the_grids(look: Look, setup: Setup) -> None:
    survey = look("ok")
    asked = Slurm(extra=["--qos=long", "--exclusive"])
    (script,) = Submission(survey, survey.jobs(), setup, asked, None, {}).scripts(10)
    for line in ("--qos=long", "--exclusive", f"--job-name=bench-{setup.grid}-"):
        assert f"#SBATCH {line}" in script


def test_a_job_carries_out_nothing_but_what_was_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    (tmp_path / "0.pickle").write_bytes(b"planted")
    with pytest.raises(SystemExit, match=r"0\.pickle is not what was submitted; nothing of it is carried out$"):
        start.main(str(tmp_path), "0" * 64)


@pytest.mark.parametrize(
    ("restarts", "state", "goes_on"),
    [("0", "RUNNING", True), ("3", "SIGNALING", True), ("4", "RUNNING", False), ("0", "COMPLETING", False)],
)
def test_a_job_that_must_go_before_a_cell_begins_goes_back_into_the_queue_a_few_times(
    look: Look, setup: Setup, store: Store, tmp_path: Path, restarts: str, state: str, goes_on: bool
) -> None:
    """USR2, and TERM at once after it, while its processes still load libraries; one that was cancelled ends."""
    chunk = Chunk(setup, look("ok", "long").jobs(), {}, "one", Slurm(cpus=2), None)
    content = pickle.dumps(chunk)
    (tmp_path / "0.pickle").write_bytes(content)
    for name, line in (("scontrol", f'echo "$@" >> {tmp_path}/told'), ("squeue", f"echo {state}")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": restarts, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = [sys.executable, "-P", str(BOOT), str(tmp_path), hashlib.sha256(content).hexdigest()]
    process = subprocess.Popen(words, env=os.environ | job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    parent = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    while not servers(parent) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR2)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    told = (tmp_path / "told").read_text() if (tmp_path / "told").exists() else ""
    assert told == ("requeue 77\n" if goes_on else "")
    why = "error: the job was told to go before a cell could begin, and had gone back into the queue 4 times before\n"
    assert said == (why if restarts == "4" else "")
    assert not store.attempts(chunk.jobs[0].cell.id)


@pytest.mark.parametrize(
    ("code", "retries", "restarts", "goes_on"),
    [
        (140, 0, 0, True),  # USR2 before there was anybody to take it: its cells have not begun
        (140, 0, 1, False),
        (137, 0, 0, False),
        (137, 2, 1, True),
        (137, 2, 2, False),
        (1, 2, 0, False),
        (0, 2, 0, False),
    ],
)
def test_a_job_that_was_killed_from_outside_goes_back_into_the_queue(
    submitted: Submitted, tmp_path: Path, code: int, retries: int, restarts: int, goes_on: bool
) -> None:
    job = submitted(f"exit {code}", Slurm(retries=retries), restarts)
    assert job.wait(60) == code
    told = tmp_path / "told"
    assert (told.read_text() if told.exists() else "") == ("requeue 7_1\n" if goes_on else "")


@pytest.mark.parametrize(("state", "told"), [("RUNNING", "requeue 7_1\n"), ("SIGNALING", "requeue 7_1\n"), ("", "")])
def test_slurms_early_signal_puts_a_job_back_into_the_queue_whose_setup_takes_long(
    submitted: Submitted, tmp_path: Path, state: str, told: str
) -> None:
    """Also where SLURM still says that it sends the signal; not where the job is over."""
    setup = [f"echo set up > {tmp_path}/begun", f"{SLEEP} 60", f"echo on > {tmp_path}/told"]
    (tmp_path / "told").touch()
    job = submitted("exit 1", Slurm(retries=0, setup=setup), state=state)
    begun(tmp_path / "begun")
    job.send_signal(signal.SIGUSR2)
    assert job.wait(30) == 140
    assert (tmp_path / "told").read_text() == told


@pytest.mark.parametrize(("code", "times"), [(1, 1), (140, 1), (0, 2)])
def test_slurms_early_signal_goes_on_to_srun_whose_end_is_waited_for(
    submitted: Submitted, tmp_path: Path, code: int, times: int
) -> None:
    """Again where it does nothing: srun loses it while it starts."""
    srun = f"trap 'n=$((n + 1)); echo $n > {tmp_path}/begun; [ $n -lt {times} ] || exit {code}' USR2"
    job = submitted(f"{srun}\necho > {tmp_path}/begun\nwhile sleep 1; do :; done", Slurm(setup=["export A=b"]))
    begun(tmp_path / "begun")
    job.send_signal(signal.SIGUSR2)
    assert job.wait(30) == code
    assert int((tmp_path / "begun").read_text()) >= times
    assert (tmp_path / "told").exists() == (code == 140)


def begun(file: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
