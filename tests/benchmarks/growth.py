"""What a cell and a row of a report cost, where there are ten and where there are many: `python growth.py`.

A line of JSON for each figure: its words, and milliseconds of processor time at each size.
"""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Callable, Sequence

from sweeping import Sweep

from bench.report import Records, report
from bench.sweep.circumstances import provenance
from bench.sweep.record import Score

CELLS = (10, 100, 1000, 10_000)
ROWS = (100, 1000, 10_000, 100_000, 1_000_000)
METRICS = 100  # that a record has, each a row of the long table


def measured(work: Callable[[], object], number: int) -> float:
    """Return the milliseconds that each of so many takes."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start) / number


def carried_out(number: int) -> tuple[float, float]:
    """Return what a cell takes that does nothing, from the first look at its store; and then a look at it again."""
    sweep = Sweep(number)
    try:
        return measured(lambda: sweep.carry_out(sweep.ready()), number), measured(sweep.survey, number)
    finally:
        shutil.rmtree(sweep.folder)


def reported(rows: int) -> float:
    """Return what a row of the long table takes in a report that is written for the first time."""
    sweep = Sweep(rows // METRICS)
    names = ["vlb", *(f"metric-{number}" for number in range(1, METRICS))]
    circumstances = provenance("cpu")
    try:
        for job in sweep.survey().jobs():
            scores = [score(name, job.cell.seed + place) for place, name in enumerate(names)]
            sweep.store.finish(job, job.record("fakes", circumstances, "ok", scores=scores))
        survey = sweep.survey()
        wanted = Records(survey.grid, [sweep.store.folder], sweep.registry)
        return measured(lambda: report(wanted, sweep.folder / "report"), rows)
    finally:
        shutil.rmtree(sweep.folder)


def score(metric: str, value: float) -> Score:
    """Return a score."""
    return Score(
        metric=metric, unit="nats", better="lower", version=1, value=value, n=4, estimator="monte-carlo",
        stderr_mc=0.3, stderr_images=0.4, stderr=0.5, sys_lower=value, sys_upper=value, unreliable="",
    )  # fmt: skip


def told(figure: str, sizes: Sequence[int], values: Sequence[float]) -> None:
    """Print a figure."""
    print(json.dumps({"figure": figure, "sizes": sizes, "values": values}), flush=True)


def main() -> None:
    """Measure all."""
    gc.set_threshold(100_000)  # as the command does
    carried_out(2), reported(METRICS)  # what is imported and worked out once a process
    carried, looked = zip(*map(carried_out, CELLS), strict=True)
    told("a cell that does nothing, ms, of a sweep of", CELLS, carried)
    told("a look at a finished cell, ms, of", CELLS, looked)
    told("a row of a new report, ms, of", ROWS, [*map(reported, ROWS)])


if __name__ == "__main__":
    main()
