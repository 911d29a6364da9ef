"""What commands take that find 3,000 finished cells: seconds of a processor, on a busy one too."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bench import places
from bench.protocol import Metric, Score
from tests.report.conftest import Synthetic

GRID = """title = "Many"
seeds = 1000
networks.latent = 2
[[dataset]]
name = "digits"
[[strategy]]
name = "vampprior"
components = [2, 3, 4]
"""
#: from a shell .8, .8 and 4 were measured on a quiet core; the limits leave room for a busy one. `report` is given
#: again, as after every sweep, which ends with one
LIMITS = {"status": 1.5, "run": 3.0, "report": 6.0}


@pytest.mark.slow
def test_commands_that_find_three_thousand_finished_cells_take_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "fsync", lambda number: None)
    Path("many.toml").write_text(GRID)
    made = Synthetic(tmp_path / "many", "many.toml", strategies=())
    cells = {(cell.label, cell.seed): cell for cell in made.grid.cells}
    monkeypatch.setattr(made, "cell", lambda label, seed, dataset="": cells[label, seed])
    scores = [
        Score(Metric(f"figure_{n}", "nats", "neither"), 1.5, 360, "estimated", 0.1, 0.1, 1.5, 1.5) for n in range(17)
    ]
    for label, seed in cells:
        made.put(label, seed, scores=scores, finished="2026-01-01T00:00:00+00:00")
    assert len(cells) == 3000
    (made.folder / "report").mkdir()
    (made.folder / "report" / "table.md").write_text("as it was reported\n")
    places.remember("store", made.folder)
    for verb, limit in LIMITS.items():
        taken = []
        for _ in range(2):  # the first also reads all code of bench
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", "bench", verb, "--grid", "many.toml", "--store", "many"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            said = {"report": "All 3000 records took"}.get(verb, "3000 cells: 3000 ok")
            assert said in done.stdout + done.stderr
        print(verb, taken)
        assert min(taken) < limit
