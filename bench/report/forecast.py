"""What cells that are still to be carried out will take: hours and disk, and where that is known from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.grid import Cell
from bench.protocol import Items
from bench.sweep.attempts import Job
from bench.sweep.columns import canonical
from bench.sweep.measuring import STEPS, Measured, held
from bench.sweep.progress import duration
from bench.sweep.record import SECONDS, Record
from bench.sweep.status import Survey
from bench.words import plain

Measure = Callable[[Job], Measured]
ENOUGH = 45.0  # seconds of measuring, after which no other row is measured


@dataclass(frozen=True)
class Row:
    """What the cells of a row will take, all but their seeds alike.

    Attributes:
        name: of data set and strategy.
        cells: how many are to be carried out.
        seconds: of one; None where nothing says that.
        size: bytes of one on disk; None where nothing says that.
        basis: by what, or why not.
    """

    name: str
    cells: int
    seconds: float | None
    size: float | None
    basis: str

    def __str__(self) -> str:
        """Say it in a line."""
        number = "1 cell" if self.cells == 1 else f"{self.cells} cells"
        if self.seconds is None:
            return f"{self.name}: {number}, no estimate: {self.basis}"
        size = f" and {megabytes(self.size)}" if self.size is not None else ""
        each = " each" if self.cells > 1 else ""
        return f"{self.name}: {number}, about {duration(self.seconds)}{size}{each}, by {self.basis}"


def forecast(
    survey: Survey,
    todo: Sequence[Job],
    device: str,
    measure: Measure,
    holds: Callable[[Cell], Items | None] = lambda cell: None,
) -> Iterator[Row]:
    """Give what each row of a plan will take: by records in the store, else by committed ones, else by measured steps.

    Rows that differ in the data set alone, of the same size, are measured once. After `ENOUGH` seconds the mean of what
    was measured stands for the rest.

    Args:
        survey: where all cells stand.
        todo: those to be carried out.
        device: where; records of another kind of device say nothing.
        measure: tells what a cell takes.
        holds: tells what a cell's data set says that it holds.
    """
    jobs: dict[str, list[Job]] = {}
    for job in todo:
        jobs.setdefault(_row(job.cell), []).append(job)
    ours = [record for record in survey.store.records() if _counts(record, device)] if todo else []
    theirs: list[Record] | None = None
    measured: dict[str, tuple[str, Measured]] = {}
    spent = 0.0
    for row, own in jobs.items():
        name, number = survey.name(own[0].cell).removesuffix(f" seed {own[0].cell.seed}"), len(own)
        if alike := [record for record in ours if _row_of(record) == row]:
            size = fmean(held(survey.store.cell(record.cell)) for record in alike)
            yield Row(name, number, _seconds(alike), size, f"{_count(alike)} in the store")
            continue
        if theirs is None:
            from bench.report.sources import committed

            theirs = [record for record in committed() if _counts(record, device)]
        if alike := [record for record in theirs if _row_of(record) == row]:
            yield Row(name, number, _seconds(alike), None, f"{_count(alike)} that came with bench, on another machine")
            continue
        kind = _kind(own[0].cell, holds)
        if kind in measured:
            other, seen = measured[kind]
            basis = f"the steps of {other}, on data of the same size"
        elif spent < ENOUGH:
            began = time.monotonic()
            seen = measure(own[0])
            spent += time.monotonic() - began
            measured[kind] = name, seen
            what = "one that was carried out" if seen.whole else f"{STEPS} steps measured"
            basis = f"{what} on this machine{'' if seen.whole else ', scoring not counted'}"
        else:
            seen, basis = _mean([seen for _, seen in measured.values()])
        if seen.seconds is None:
            yield Row(name, number, None, None, plain(seen.reason))
        else:
            yield Row(name, number, seen.seconds, float(seen.size), basis)


def _mean(measured: Sequence[Measured]) -> tuple[Measured, str]:
    """Return what stands for a row that is not measured, and the words for it."""
    timed = [(seen.seconds, seen.size) for seen in measured if seen.seconds is not None]
    if not timed:
        return Measured(None, reason="no other row could be measured in time"), ""
    seconds, size = map(fmean, zip(*timed, strict=True))
    rows = "1 row" if len(timed) == 1 else f"{len(timed)} rows"
    return Measured(seconds, round(size)), f"the mean of {rows} measured, since there are too many to measure all"


def total(rows: Sequence[Row], processes: int) -> str:
    """Return what all rows take, in a sentence.

    Args:
        rows: of `forecast`.
        processes: cells that run at a time.
    """
    timed = [row.seconds * row.cells for row in rows if row.seconds is not None]
    if not timed:
        return "estimate: none, for no row has one"
    sizes = [row.size * row.cells for row in rows if row.size is not None]
    part = f" (without {len(rows) - len(timed)} of {len(rows)} rows)" if len(timed) < len(rows) else ""
    at_a_time = f", about {duration(sum(timed) / processes)} with {processes} cells at a time" if processes > 1 else ""
    disk = f"; disk: about {megabytes(sum(sizes))}" if sizes else "; disk: not known"
    some = f" (without {len(rows) - len(sizes)} of {len(rows)} rows)" if sizes and len(sizes) < len(rows) else ""
    return f"estimate: about {duration(sum(timed))} one cell at a time{at_a_time}{part}{disk}{some}"


def megabytes(size: float | None) -> str:
    """Return `3.1 MB`, or `1.2 GB`."""
    size = size or 0.0
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _row(cell: Cell) -> str:
    """Return what is alike in all cells of a row: all that is asked for but the seed."""
    request = {name: value for name, value in cell.request.items() if name != "seed"}
    return canonical({**request, "evaluation": cell.evaluation.model_dump(mode="json")})


def _kind(cell: Cell, holds: Callable[[Cell], Items | None]) -> str:
    """Return what is alike in rows whose steps take as long: all that is asked for but the data set, and its size."""
    request, items = {**cell.request}, holds(cell)
    del request["seed"]
    if items is not None:
        del request["dataset"], request["options"]
    return canonical({**request, "items": str(items)})


def _row_of(record: Record) -> str:
    request = {name: getattr(record, name) for name in ("strategy", "hyper", "networks", "budget", "evaluation")}
    return canonical({**request, "dataset": record.dataset.name, "options": record.dataset.options})


def _counts(record: Record, device: str) -> bool:
    """Tell whether a record says what a cell takes on a kind of device."""
    return record.status == "ok" and (record.device or "").partition(":")[0] == device.partition(":")[0]


def _seconds(records: Iterable[Record]) -> float:
    return fmean(sum(record.resources.get(name, 0.0) for name in SECONDS) for record in records)


def _count(records: Sequence[Record]) -> str:
    return "1 record" if len(records) == 1 else f"{len(records)} records"
