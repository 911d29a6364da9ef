"""How large a store a report can take: 3,000 records of 10,000 test items and 102,000 scores altogether."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.protocol import Metric, Score

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

#: of a processor, and of memory: on two busy cores 3.2 to 4 seconds and .6 GB were measured
SECONDS, BYTES = 5.0, 1e9

GRID = """
title = "Many"
seeds = 100
headline.metric = "nll"
networks.latent = 2
[[dataset]]
name = "digits"
[[strategy]]
name = "normal"
[[strategy]]
name = "vampprior"
components = [{components}]
"""

# seconds of the processor from the records to the texts of the terminal, Markdown and LaTeX
SCRIPT = """
import json, resource, sys, time
from pathlib import Path
from bench.report import Records, View, outputs, terminal
before = time.process_time()
made = outputs.gathered(Records("many.toml", [Path("many")]), View())
texts = [terminal.text(outputs.printed(made, View())), outputs.everything(made, View()), outputs.publication(made)]
print(json.dumps({
    "seconds": time.process_time() - before,
    "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    "rows": texts[0].count("100/100"),
}))
"""


@pytest.mark.slow
def test_three_thousand_records_of_ten_thousand_items_take_seconds_and_no_gigabyte(mnist: Synthetic) -> None:
    import bench

    Path("many.toml").write_text(GRID.format(components=", ".join(map(str, range(2, 31)))))
    many = type(mnist)(Path("many"), "many.toml", strategies=())
    cells = {(cell.label, cell.seed): cell for cell in many.grid.cells}
    assert len(cells) == 3000
    many.cell = lambda label, seed, dataset="": cells[label, seed]  # type: ignore[method-assign]
    noise = np.random.default_rng(0)
    hardness = noise.normal(0, 10, 10_000)
    for label, seed in cells:
        values = {name: np.asarray(shift + hardness + noise.normal(size=10_000), np.float32) for name, shift in VALUES}
        scores = [
            Score(Metric(name, "nats"), mean := float(own.mean()), 10_000, "estimated", 0.01, 0.1, mean, mean)
            for name, own in values.items()
        ]
        figures = [Metric(f"figure_{number}", "nats", "neither") for number in range(32)]
        scores += [Score(figure, 1.0, 1, "estimated", 0.01, 0.1, 1.0, 1.0) for figure in figures]
        many.put(label, seed, scores=scores, arrays=values, finished="2026-01-01T00:00:00+00:00")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PYTHONPATH": str(Path(bench.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    print(measured)
    assert measured["rows"] == 30
    assert measured["bytes"] < BYTES
    assert measured["seconds"] < SECONDS


VALUES = (("vlb", 100.0), ("nll", 97.0))
