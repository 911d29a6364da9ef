"""Studies that SLURM jobs work on together, one of which is killed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("slurm")  # one cluster for all

Wait = Callable[..., None]
FAKES = Path(__file__).parents[1] / "tuning" / "fakes"
TRIALS = 4
GRID = """title = "fakes"
[[dataset]]
name = "drawn"
[networks]
latent = 2
[[strategy]]
name = "known"
seconds = 2.0
[slurm]
time = 5
"""


@pytest.mark.slow
def test_no_trial_is_lost_or_counted_twice_where_a_job_is_killed(shell: Any, cluster: Any, wait: Wait) -> None:
    shutil.copytree(FAKES, shell.plugins, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (shell.folder / "fakes.toml").write_text(GRID)
    going = "runs/fakes-trials/cells/*/*/epoch"
    with ThreadPoolExecutor(1) as beside:
        tuning = beside.submit(shell, "tune", "--on", "slurm", "--jobs", "2", "--trials", str(TRIALS))
        try:
            wait(lambda: len(list(shell.folder.glob(going))) >= 2)
            cluster.parents()[0].kill()
            said = tuning.result(120)
        except BaseException:
            cluster.ask("scancel", "--user=root")  # the command waits for them
            raise
    assert f"1 row, {TRIALS} trials each; " in said
    assert (shell.folder / "fakes-tuned.toml").is_file()
    assert f"drawn known: {TRIALS} of {TRIALS} trials ended (0 pruned, 0 failed)" in said
    records = list(shell.records("runs/fakes-trials").values())
    assert sorted(record["seed"] for record in records) == [1_000_000 + number for number in range(TRIALS)]
    ends = []
    for record in records:
        files = (shell.folder / "runs/fakes-trials/cells" / record["cell"]).glob("attempt-*.json")
        ends.append([json.loads(file.read_text())["how"] for file in sorted(files)])
    assert sorted(ends) == [["lost", "ok"], *[["ok"]] * (TRIALS - 1)]


def test_a_study_is_carried_out_by_a_job_and_one_that_never_starts_is_told_and_not_waited_for(
    shell: Any, cluster: Any
) -> None:
    shutil.copytree(FAKES, shell.plugins, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (shell.folder / "fakes.toml").write_text(f"{GRID}extra = ['--hold']\n")
    said = shell("tune", "--on", "slurm", "--trials", "1", check=1)
    assert re.search(
        r"left to SLURM, for they do not start by themselves: job \d+ \(JobHeldUser\); to end them: bench cancel ",
        said,
    )
    assert shell("cancel") == "1 job of tuning cancelled; `bench tune` goes on with what is left of the trials\n"
    assert not cluster.ask("squeue", "--noheader")
    assert shell("cancel") == "none of these cells waits or runs in a SLURM job\n"
    (shell.folder / "fakes.toml").write_text(GRID)
    said = shell("tune", "--on", "slurm", "--trials", "1")
    assert "drawn known: 1 of 1 trials ended (0 pruned, 0 failed)" in said
    assert (shell.folder / "fakes-tuned.toml").is_file()
