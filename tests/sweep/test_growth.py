"""What cells cost does not grow with their number.

Counted are calls of functions, which are the same on every machine at any load. Of four times as many cells there may
be four times as many, and a tenth for what lies between; what is quadratic has sixteen times as many.
"""

from __future__ import annotations

import cProfile
import os
import pstats
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from bench.plugins import Registry
from bench.report import Records, report
from bench.report.cells import Outcome, Plan, Setting
from bench.report.rows import group
from bench.sweep import status
from bench.sweep.circumstances import provenance
from bench.sweep.status import Survey
from bench.sweep.store import Store

Look = Callable[..., Survey]

FEW, TIMES, SLACK = 20, 4, 1.1


def calls(work: Callable[[], object]) -> int:
    """Return how many functions are called."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def grows_in_proportion(work: Callable[[int], Callable[[], object]]) -> bool:
    """Tell whether the work on many cells is in proportion to their number."""
    work(2)()  # what is worked out once a process
    few, many = (calls(work(number)) for number in (FEW, TIMES * FEW))
    return many <= SLACK * TIMES * few


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def carry_out(store: Store) -> Callable[[Survey], None]:
    """Finish cells as a sweep would, without carrying them out."""

    def carry_out(survey: Survey) -> None:
        for job in survey.jobs():
            assert not store.taken(job)
            attempt = store.begin(job.cell, "sweep")
            assert attempt is not None
            store.vacate(job)
            assert store.finish(job, job.record("fakes", provenance("cpu"), "ok"))
            store.end(job.cell.id, attempt, "ok")

    return carry_out


def test_carrying_cells_out(look: Look, carry_out: Callable[[Survey], None]) -> None:
    assert grows_in_proportion(lambda number: lambda: carry_out(look("ok", seeds=number)))


def test_looking_at_finished_cells(look: Look, carry_out: Callable[[Survey], None]) -> None:
    carry_out(look("ok", seeds=TIMES * FEW))
    assert grows_in_proportion(lambda number: lambda: status.table(look("ok", seeds=number)))


def test_verifying_the_data_of_cells(look: Look, registry: Registry, tmp_path: Path) -> None:
    def verify(number: int) -> Callable[[], object]:
        jobs = look("ok", seeds=number).jobs()
        return lambda: status.verified(jobs, registry, tmp_path)

    assert grows_in_proportion(verify)


def test_telling_rows_apart_that_share_a_label() -> None:
    settings = [Setting("d", "{}", "s", f'{{"rate":{number}}}', "{}", "{}", "{}") for number in range(TIMES * FEW)]

    def distinct(number: int) -> Callable[[], object]:
        outcomes = [_Named(f"{place}", setting) for place, setting in enumerate(settings[:number])]
        return lambda: group(cast(list[Outcome], outcomes), Plan())

    assert grows_in_proportion(distinct)
    assert [row.label for row in distinct(2)()] == ["s (rate=0)", "s (rate=1)"]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Named:
    """A record, as far as rows are told apart by it."""

    cell: str
    setting: Setting
    label: str = "s"
    scoring: str = "{}"
    finished: str = ""
    seed: int = 0


@pytest.mark.parametrize("apart_by", ["seeds", "lines"])
@pytest.mark.parametrize("all_settings", [False, True])
def test_reporting_cells(
    look: Look,
    carry_out: Callable[[Survey], None],
    store: Store,
    registry: Registry,
    tmp_path: Path,
    apart_by: str,
    all_settings: bool,
) -> None:
    """Cells of many seeds, or of many strategies, each a row of the table."""

    def of(number: int) -> Callable[[], object]:
        survey = look("ok", seeds=number) if apart_by == "seeds" else look("ok", lines=[*range(1, number + 1)])
        carry_out(survey)
        store.write_grid(survey.grid.source)
        return lambda: report(
            Records(survey.grid, [store.folder], registry, all_settings=all_settings), tmp_path / "out"
        )

    assert grows_in_proportion(of)
