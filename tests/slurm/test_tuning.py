"""Studies that SLURM jobs work on together, one of which is killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
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


def test_no_trial_is_lost_or_counted_twice_where_a_job_is_killed(shell: Any, cluster: Any, wait: Wait) -> None:
    shutil.copytree(FAKES, shell.plugins, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (shell.folder / "fakes.toml").write_text(GRID)
    said = shell("tune", "--on", "slurm", "--jobs", "2", "--trials", str(TRIALS), "--detach")
    assert f"1 row, {TRIALS} trials each; " in said
    going = "runs/fakes-trials/cells/*/*/epoch"
    wait(lambda: len(list(shell.folder.glob(going))) >= 2)
    cluster.parents()[0].kill()
    wait(lambda: (shell.folder / "fakes-tuned.toml").is_file(), 120)

    shown = shell("tune", "--show")
    assert f"drawn known: {TRIALS} of {TRIALS} trials ended (0 pruned, 0 failed)" in shown
    records = list(shell.records("runs/fakes-trials").values())
    assert sorted(record["seed"] for record in records) == [1_000_000 + number for number in range(TRIALS)]
    ends = []
    for record in records:
        files = (shell.folder / "runs/fakes-trials/cells" / record["cell"]).glob("attempt-*.json")
        ends.append([json.loads(file.read_text())["how"] for file in sorted(files)])
    assert sorted(ends) == [["lost", "ok"], *[["ok"]] * (TRIALS - 1)]

    # a longer study has exactly the missing trials more, and the command waits for them
    said = shell("tune", "--on", "slurm", "--jobs", "2", "--trials", str(TRIALS + 2))
    assert f"{TRIALS + 2} of {TRIALS + 2} trials ended" in said
    assert len(shell.records("runs/fakes-trials")) == TRIALS + 2
