"""Sweeps on a real SLURM cluster: what is submitted, what becomes of it, and what is told about it."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.walks import walked
from tests.workers import workers

pytestmark = pytest.mark.xdist_group("slurm")  # one cluster for all

Wait = Callable[..., None]


def attempts(shell: Any, cell: str, grid: str = "fakes") -> list[str]:
    """Return how the attempts at a cell ended, the first one first."""
    files = (shell.folder / "runs" / grid / "cells" / cell).glob("attempt-*.json")
    files = sorted(files, key=lambda file: int(file.stem.partition("-")[2]))
    return [json.loads(file.read_text())["how"] for file in files]


def test_cells_survive_kills_and_preemption(shell: Any, cluster: Any, wait: Wait) -> None:
    """Each ends with one record, and with the bits of a walk that nothing disturbs."""
    early = shell.folder / "early"
    early.mkdir()
    (early / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGUSR2)\n")
    first_time = 'if [ "$SLURM_ARRAY_TASK_ID$SLURM_RESTART_COUNT" = 5 ]'
    shell.grid(
        "walk",
        seeds=6,
        seconds=6,
        slurm=f"time = 5\nmemory = 1.0\ncpus = 2\nsetup = ['{first_time}; then export PYTHONPATH={early}; fi']",
    )
    said = shell("run", "--on", "slurm", "--detach")
    assert "6 cells of 6 submitted in 6 jobs: " in said
    assert said.endswith("to see how they are: bench status --grid fakes.toml\n")
    wait(lambda: len(list(shell.folder.glob("runs/fakes/cells/*/*/step"))) == 4)  # four jobs run, two wait
    first, second = [each for each in cluster.parents() if workers(each) and each.environ()["SLURMD_NODENAME"] == "n1"]
    workers(first)[0].kill()
    second.kill()
    cluster.ask("sbatch", "-p", "urgent", "-w", "n2", "-c", "3", "--mem=100", "-o", "/dev/null", "--wrap=sleep 3")

    said = shell("collect", "--wait")
    assert "6 cells: 6 ok" in said
    records = list(shell.records().values())
    assert {record["seed"]: record["scores"][0]["value"] for record in records} == {n: walked(n) for n in range(6)}
    assert len(records) == 6
    ends = [attempts(shell, record["cell"]) for record in records]
    assert all(end[-1] == "ok" and set(end[:-1]) <= {"lost", "preempted"} for end in ends)
    assert sum(end.count("lost") for end in ends) == 2
    assert sum("preempted" in end for end in ends) >= 1
    resumed = [record["stability"]["resumed_at"] for record in records if record["attempt"] > 1]
    assert all(step > 0 for step in resumed)
    # one was told to go before Python had begun, and went back into the queue
    assert [attempts(shell, record["cell"]) for record in records if record["seed"] == 5] == [["ok"]]
    (output,) = shell.folder.glob("runs/fakes/launches/*/0/*_5_0_log.out")
    assert "User defined signal 2" in output.read_text()


def test_ways_to_end_are_told_apart(shell: Any, cluster: Any, wait: Wait) -> None:
    how = ("diverge", "killed", "eat", "hang")
    shell.grid(*how, slurm="memory = 0.7\nretries = 0\nsetup = ['export MARK=here', 'echo set up: $MARK']")
    shell("run", "--on", "slurm", "--detach")
    wait(lambda: len(shell.records()) == 3 and shell.begun() == 4)
    cells = {cell["hyper"]["how"]: cell for cell in shell.cells()}
    told = {how: cell["status"] or cell["state"] for how, cell in cells.items()}
    assert told == {"diverge": "diverged", "killed": "crashed", "eat": "out-of-memory", "hang": "running"}
    hanging = cells["hang"]
    assert hanging["why"].startswith(f"attempt 1 is running in job {hanging['job']}")
    said = shell("logs", hanging["cell"][:8])
    assert "training as hang, seed 0\n" in said
    assert "set up: here\n" in said
    said = shell("cancel", hanging["cell"])
    assert said.startswith("1 cell cancelled; ")
    assert shell("cancel") == "none of these cells waits or runs in a SLURM job\n"
    ends = {record["hyper"]["how"]: (record["status"], record["reason"]) for record in shell.records().values()}
    assert ends["hang"] == ("cancelled", "by `bench cancel`")
    assert ends["eat"][1].startswith("its process held 0.")
    assert ends["killed"][1] == "the process was killed by SIGKILL"

    # what failed is submitted again as it was, but for what is said now; what diverged is not
    said = shell("retry", "--dry-run", "--time", "7", "--memory", "2")
    assert "jobs: 3, 3 cells" in said
    assert "#SBATCH --time=7\n" in said
    assert "#SBATCH --mem=2000M\n" in said
    assert "echo set up: $MARK\n" in said


def test_code_that_changes_after_submission_is_not_run(shell: Any, cluster: Any, wait: Wait) -> None:
    shell.grid("walk", seeds=2, slurm="cells_per_job = 2")
    cluster.ask("scontrol", "update", "partitionname=main", "state=down")
    try:
        shell("run", "--on", "slurm", "--detach")
        assert [cell["state"] for cell in shell.cells()] == ["pending", "pending"]
        file = shell.plugins / "strategies" / "actor.py"
        original = file.read_text()
        file.write_text(f"{original}\nCHANGED = True\n")
    finally:
        cluster.ask("scontrol", "update", "partitionname=main", "state=up")
    wait(lambda: len(shell.records()) == 2)
    assert {record["status"] for record in shell.records().values()} == {"error"}
    assert {record["reason"] for record in shell.records().values()} == {"code changed since submission"}
    assert not any("training" in log.read_text() for log in shell.folder.rglob("log-*.txt"))
    assert [cell["state"] for cell in shell.cells()] == ["missing", "missing"]  # under the code of now
    file.write_text(original)
    assert [cell["status"] for cell in shell.cells()] == ["error", "error"]


def test_a_job_that_is_gone_without_a_word_is_recorded_by_collect(shell: Any, cluster: Any, wait: Wait) -> None:
    shell.grid("hang", seeds=2, slurm="retries = 0")
    shell("run", "--on", "slurm", "--detach")
    wait(lambda: shell.begun() == 2)
    first, second = shell.cells()
    assert (first["state"], second["state"]) == ("running", "running")
    job = cluster.ask("scontrol", "--oneliner", "show", "job", first["job"])
    raw = next(word.partition("=")[2] for word in job.split() if word.startswith("JobId="))
    for process in cluster.parents():
        if process.environ()["SLURM_JOB_ID"] == raw:
            process.kill()
    cluster.ask("scancel", second["job"])
    wait(lambda: not cluster.ask("squeue", "--noheader"))
    said = shell("status", "--why")
    assert f"job {first['job']} is gone without a record; `bench collect` records it as crashed" in said
    assert f"job {second['job']} is gone without a record; `bench collect` records it as cancelled" in said
    said = shell("collect", check=1)
    assert "2 cells whose jobs are gone without a record: recorded as lost" in said
    ends = {record["cell"]: record["status"] for record in shell.records().values()}
    assert ends == {first["cell"]: "crashed", second["cell"]: "cancelled"}


def test_what_was_cancelled_before_it_began_ends_well_once_it_is_submitted_again(shell: Any, cluster: Any) -> None:
    shell.grid("ok", seeds=3)
    cluster.ask("scontrol", "update", "partitionname=main", "state=down")
    try:
        shell("run", "--on", "slurm", "--detach")
        (job,) = {cell["job"].partition("_")[0] for cell in shell.cells()}
        cluster.ask("scancel", job)  # which SLURM then says of all of them in one
        assert "3 cells: 3 cancelled" in shell("collect", check=1)
        assert {record["reason"] for record in shell.records().values()} == {"its job was cancelled"}
    finally:
        cluster.ask("scontrol", "update", "partitionname=main", "state=up")
    assert "3 cells: 3 ok" in shell("retry")
    assert "3 cells: 3 ok" in shell("collect")
    assert [record["status"] for record in shell.records().values()] == ["ok"] * 3
    assert len(list(shell.folder.glob("runs/fakes/cells/*/record-*.json"))) == 6  # and those that were set aside


def test_a_job_that_is_cancelled_while_its_cell_saves_does_not_come_back(shell: Any, cluster: Any, wait: Wait) -> None:
    shell.grid("walk", seconds=20, slurm="time = 5")
    shell("run", "--on", "slurm", "--detach")
    wait(lambda: len(list(shell.folder.glob("runs/fakes/cells/*/*/step"))) == 1)
    (cell,) = shell.cells()
    (worker,) = (worker for parent in cluster.parents() for worker in workers(parent))
    worker.suspend()  # which saves nothing until it goes on
    cluster.ask("scancel", "--signal=USR2", "--batch", cell["job"])
    wait(lambda: any("stopping: " in log.read_text() for log in shell.folder.rglob("*log.*")))
    cluster.ask("scancel", cell["job"])
    worker.resume()
    asked = ("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={cell['job']}")
    wait(lambda: "COMPLETING" not in cluster.ask(*asked))
    assert cluster.ask(*asked).strip() == "CANCELLED"
    assert attempts(shell, cell["cell"]) == ["preempted"]
    assert "1 cell: 1 cancelled" in shell("collect", check=1)


def test_jobs_share_their_gpus_among_cells(shell: Any, cluster: Any) -> None:
    shell.grid("walk", seeds=4, seconds=1, slurm="gpus = 2\nper_gpu = 2\ncells_per_job = 4\ntime = 9\nmemory = 3")
    assert "4 cells: 4 ok" in shell("run", "--on", "slurm")  # it waits, and prints the table
    logs = [file.read_text() for file in shell.folder.rglob("log-*.txt")]
    devices = sorted(line for log in logs for line in log.splitlines() if line.startswith("device"))
    assert {line.split()[1] for line in devices} == {"cuda:0", "cuda:1"}
    assert {line.split()[3] for line in devices} == {"0,1"}
    assert {record["device"] for record in shell.records().values()} == {"cuda:0", "cuda:1"}


def test_arrays_are_no_longer_than_the_site_allows(shell: Any, cluster: Any) -> None:
    shell.grid("ok", seeds=100, slurm="parallel = 3\npartition = 'main'\nconstraint = 'fast'")
    said = shell("run", "--on", "slurm", "--dry-run", "--account", "physics", "--cpus", "2")
    heads = [line for line in said.splitlines() if line.startswith("# ---- ")]
    assert heads == [f"# ---- script {n} of 3: jobs: {jobs}, {jobs} cells" for n, jobs in ((1, 40), (2, 40), (3, 20))]
    for line in ("array=0-39%3", "array=0-19%3", "partition=main", "account=physics", "constraint=fast"):
        assert f"#SBATCH --{line}\n" in said
    assert "#SBATCH --cpus-per-task=2\n" in said
    assert said.count("#SBATCH --dependency=afterany:") == 2
    assert not (shell.folder / "runs").exists()


def test_what_slurm_refuses_is_one_sentence(shell: Any, cluster: Any) -> None:
    shell.grid("ok")
    said = shell("run", "--on", "slurm", "--detach", "--partition", "gone", check=2)
    assert said.startswith("error: SLURM does not take the jobs: ")
    assert "nvalid partition" in said
    assert said.count("\n") == 1
    assert [cell["state"] for cell in shell.cells()] == ["missing"]


LONG = """title = "Long"
seeds = 4
[[dataset]]
name = "digits"
[networks]
encoder = { hidden = [32] }
decoder = { hidden = [32] }
latent = 2
[train]
epochs = 20
checkpoint = { steps = 20 }
[evaluate]
images = 20
importance_samples = 10
[[strategy]]
name = "normal"
[[strategy]]
name = "sliced-score-matching"
[[strategy]]
name = "actor"
how = "walk"
seconds = 12.0
[slurm]
time = 9
memory = 1.0
retries = 20
"""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_sixty_cells_survive_all_that_may_happen_to_a_cluster(shell: Any, cluster: Any, wait: Wait) -> None:
    """Kills, preemption, time limits, a dead daemon and a restarted controller; the scores are those of a calm run."""
    (shell.folder / "long.toml").write_text(LONG)
    real = ("--grid", "long.toml", "--strategy", "normal", "--strategy", "sliced-score-matching")
    walks = ("--grid", "long.toml", "--strategy", "actor", "--seeds", "50")
    # a minute's job whose cell takes 75 s comes to its time limit, and back
    slow = ("--grid", "long.toml", "--strategy", "actor", "--seeds", "2", "--set", "strategy.actor.seconds=75.0")
    shell("run", *real, "--store", "calm", "--jobs", "2")
    calm = {key(record): scores(record) for record in shell.records("calm").values()}
    assert len(calm) == 8

    seen: dict[Path, dict[str, Any]] = {}

    def look() -> dict[Path, dict[str, Any]]:
        """Remember every record as it was when it was first seen."""
        for file, record in shell.records("runs/long").items():
            seen.setdefault(file, record)
        return seen

    shell("run", *slow, "--on", "slurm", "--detach", "--time", "1")
    shell("run", *real, "--on", "slurm", "--detach")
    shell("run", *walks, "--on", "slurm", "--detach")
    dice = random.Random(0)
    done: list[str] = []

    def kill() -> None:
        wait(cluster.processes)
        dice.choice(cluster.processes()).kill()
        done.append("kill")

    def preempt(node: str) -> None:
        words = ("-p", "urgent", "-w", node, "-c", "3", "--mem=100", "-o", "/dev/null", "--wrap=sleep 3")
        cluster.ask("sbatch", *words)
        done.append("preempt")

    def replace(daemon: str) -> None:
        cluster.control("kill", daemon)
        time.sleep(3)
        cluster.control("launch", daemon)
        done.append(daemon)

    wait(lambda: len(look()) >= 2, 240)
    happens = [kill] * 10 + [lambda: preempt("n1"), lambda: preempt("n2")]
    happens += [lambda: replace("n1"), lambda: replace("slurmctld")]
    dice.shuffle(happens)
    for happening in happens:
        happening()
        time.sleep(dice.uniform(1, 5))
        look()
    assert len(look()) < 60, "all was over before everything had happened"
    for cells in (real, walks, slow):
        shell("collect", *cells, "--wait")
    records = shell.records("runs/long")
    assert all(record["status"] == "ok" for record in records.values())
    assert len(records) == 60
    assert all(records[file] == record for file, record in look().items()), "a record was overwritten"
    assert {key(record): scores(record) for record in records.values() if record["strategy"] != "actor"} == calm
    walk = [record for record in records.values() if record["strategy"] == "actor"]
    assert len(walk) == 52
    assert all(record["scores"][0]["value"] == walked(record["seed"]) for record in walk)
    ended = [how for record in records.values() for how in attempts(shell, record["cell"], "long")[:-1]]
    told = {how: ended.count(how) for how in sorted(set(ended))}
    print(f"60 cells, 60 records; attempts before the last: {told}; what happened: {done}")
    assert told["timeout"] >= 2
    assert told["preempted"] >= 2
    assert told["lost"] >= 5


def key(record: dict[str, Any]) -> tuple[str, int]:
    return record["strategy"], record["seed"]


def scores(record: dict[str, Any]) -> list[tuple[str, float, float]]:
    return [(score["metric"], score["value"], score["stderr"]) for score in record["scores"]]


@pytest.mark.slow
def test_a_cell_on_a_node_that_dies_goes_on_elsewhere(shell: Any, cluster: Any, wait: Wait) -> None:
    shell.grid("walk", seeds=2, seconds=8, slurm="time = 5")
    shell("run", "--on", "slurm", "--detach")
    wait(lambda: len(list(shell.folder.glob("runs/fakes/cells/*/*/step"))) == 2)
    node = cluster.parents()[0].environ()["SLURMD_NODENAME"]
    cluster.control("crash", node)
    cluster.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    cluster.control("launch", node)
    cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
    assert "2 cells: 2 ok" in shell("collect", "--wait")
    assert {record["seed"]: record["scores"][0]["value"] for record in shell.records().values()} == {
        seed: walked(seed) for seed in range(2)
    }


@pytest.mark.slow
def test_the_last_job_of_an_array_goes_back_into_the_queue_alone(shell: Any, cluster: Any, wait: Wait) -> None:
    """Its own id is that of the whole array, too."""
    shell.grid("walk", seeds=2, seconds=8, slurm="time = 5")
    shell("run", "--on", "slurm", "--detach")
    wait(lambda: len(list(shell.folder.glob("runs/fakes/cells/*/*/step"))) == 2)
    (last,) = [
        parent
        for parent in cluster.parents()
        if parent.environ()["SLURM_JOB_ID"] == parent.environ()["SLURM_ARRAY_JOB_ID"]
    ]
    task = int(last.environ()["SLURM_ARRAY_TASK_ID"])
    last.kill()
    assert "2 cells: 2 ok" in shell("collect", "--wait")
    ends = [attempts(shell, cell["cell"]) for cell in shell.cells()]
    assert ends[task] == ["lost", "ok"]
    assert ends[1 - task] == ["ok"]


@pytest.mark.slow
def test_what_failed_is_submitted_again_and_replaces_its_record(shell: Any, cluster: Any) -> None:
    shell.grid("flaky", "diverge", "ok", slurm="retries = 0\ncells_per_job = 2")
    said = shell("run", "--on", "slurm", check=1)  # it waits, prints the table, and a cell failed
    assert "3 cells: 1 ok, 1 diverged, 1 crashed" in said
    assert said.endswith("1 cell failed (1 crashed); to run it again: bench retry --grid fakes.toml\n")
    said = shell("retry", check=1)  # for the diverged one is a finding, and stays
    assert "1 cell of 3 submitted in 1 job: " in said
    assert "3 cells: 2 ok, 1 diverged" in said
    flaky = next(cell for cell in shell.cells() if cell["hyper"]["how"] == "flaky")
    assert attempts(shell, flaky["cell"]) == ["crashed", "ok"]
    assert len(list(shell.folder.glob("runs/fakes/cells/*/record-*.attempt-1.json"))) == 1
    assert shell("retry", "--detach").startswith("there is no cell to submit\n")


def test_cells_are_submitted_from_inside_a_job(shell: Any, cluster: Any, wait: Wait) -> None:
    """The inner jobs ask for memory in another way than the outer one, whose variables the command inherits."""
    shell.grid("walk", seeds=2, slurm="memory = 0.9")
    command = shlex.join([sys.executable, "-m", "bench", "run", "--grid", "fakes.toml", "--on", "slurm", "--detach"])
    words = ["sbatch", "--mem-per-cpu=400", "--cpus-per-task=2", "--output=outer.txt"]
    words += ["--wrap", f"echo inherited $SLURM_MEM_PER_CPU $SLURM_CPUS_PER_TASK; exec {command}"]
    subprocess.run(words, cwd=shell.folder, env=shell.environment, check=True, timeout=60)
    wait(lambda: list(shell.folder.glob("runs/fakes/launches/*/launch.json")))
    wait(lambda: len(shell.records()) == 2)
    said = (shell.folder / "outer.txt").read_text()
    assert said.startswith("inherited 400 2\n")
    assert "2 cells of 2 submitted in 2 jobs: " in said
    assert {record["seed"]: record["scores"][0]["value"] for record in shell.records().values()} == {
        seed: walked(seed) for seed in range(2)
    }
    assert {record["status"] for record in shell.records().values()} == {"ok"}
