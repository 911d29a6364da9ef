"""What a dry run says that cells will take: by records of their rows, else by measured steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import forecast
from bench.sweep import measuring
from bench.sweep.attempts import Job
from bench.sweep.measuring import Measured
from bench.sweep.requests import Plan, Request
from bench.sweep.screen import Screen
from tests.shell import FAKES, GRID

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic


def never(job: object) -> Measured:
    raise AssertionError("measured")


def fakes(tmp_path: Path, how: str, seeds: int) -> Plan:
    (tmp_path / "fakes.toml").write_text(GRID.format(how=how, seeds=seeds, seconds=0.0))
    request = Request(
        str(tmp_path / "fakes.toml"),
        strategies=["actor"],
        store=tmp_path / "store",
        data_dir=tmp_path,
        plugins=[FAKES],
        display=lambda *_: Screen(),
    )
    survey = request.survey()
    return Plan(request, survey, survey.jobs())


def digits(tmp_path: Path, settings: Mapping[str, Any], *strategies: str) -> Plan:
    request = Request(
        settings=settings, strategies=strategies, seeds=1, store=tmp_path / "store", display=lambda *_: Screen()
    )
    survey = request.survey()
    return Plan(request, survey, survey.jobs())


def of_mnist(store: Path, **settings: Any) -> Plan:
    request = Request("mnist", settings=settings, strategies=["normal"], seeds=3, store=store)
    survey = request.survey()
    return Plan(request, survey, survey.jobs())


def test_records_of_a_row_in_the_store_say_what_its_other_seeds_take(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    plan = of_mnist(mnist.folder)
    (row,) = forecast.forecast(plan.survey, plan.todo, "cpu", never)
    (record,) = plan.survey.store.records()
    assert row.seconds == 10 + 2 + 0.5
    assert row.size == measuring.held(plan.survey.store.cell(record.cell)) > 0
    assert (row.name, row.cells, row.basis) == ("mnist normal", 2, "1 record in the store")


def test_records_of_another_device_or_of_other_settings_say_nothing(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    unseen = Measured(None, reason="none")
    for plan, device in (
        (of_mnist(mnist.folder), "cuda"),
        (of_mnist(mnist.folder, **{"train.epochs": 7}), "cpu"),
    ):
        (row,) = forecast.forecast(plan.survey, plan.todo, device, lambda _: unseen)
        assert row.basis == "none"


def test_committed_records_say_it_where_the_store_has_none(tmp_path: Path) -> None:
    request = Request("mnist", strategies=["normal"], seeds=[17], store=tmp_path / "store")
    survey = request.survey()
    (row,) = forecast.forecast(survey, survey.jobs(), "cpu", never)
    assert row.seconds is not None
    assert row.size is None
    assert row.basis.endswith(" that came with bench, on another machine")


def test_else_twenty_steps_are_measured_and_nothing_is_left_of_them(tmp_path: Path) -> None:
    plan = digits(tmp_path, {"train.epochs": 1000}, "normal")
    (row,) = forecast.forecast(plan.survey, plan.todo, "cpu", lambda job: plan.measured(job, "cpu"))
    assert row.basis == "20 steps measured on this machine, scoring not counted"
    assert row.size is not None
    assert row.size > 10_000  # a checkpoint
    assert not (tmp_path / "store").exists()
    shorter = digits(tmp_path, {"train.epochs": 10}, "normal")
    seconds = shorter.measured(shorter.todo[0], "cpu").seconds
    assert row.seconds is not None
    assert seconds is not None
    assert row.seconds > 10 * seconds > 0  # of 100 times as many steps, but for what else the machine does


def test_a_training_of_fewer_steps_is_carried_out_with_its_scoring(tmp_path: Path) -> None:
    """Scoring asks whether to stop as training does, and is none of the steps that are counted."""
    plan = digits(
        tmp_path, {"train.epochs": 1, "train.batch_size": 300, "evaluate.images": 100}, "normal"
    )  # five steps, and annealing
    (row,) = forecast.forecast(plan.survey, plan.todo, "cpu", lambda job: plan.measured(job, "cpu"))
    assert row.seconds is not None, row.basis
    assert row.basis == "one that was carried out on this machine"


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Seven data sets of one size and fourteen strategies, of which there are no records."""
    folder = tmp_path_factory.mktemp("points")
    request = Request("toy", settings={"train.epochs": 3}, seeds=2, store=folder / "store")
    survey = request.survey()
    return Plan(request, survey, survey.jobs())


def test_rows_that_differ_in_the_data_set_alone_are_measured_once(points: Plan) -> None:
    measured: list[str] = []

    def measure(job: Job) -> Measured:
        measured.append(job.cell.label)
        return Measured(float(len(measured)), 10)

    rows = list(forecast.forecast(points.survey, points.todo, "cpu", measure, points.holds))
    labels = {job.cell.label for job in points.todo}
    assert len(rows) == 7 * len(labels)
    assert sorted(measured) == sorted(labels)
    taken = dict(zip(measured, range(1, len(measured) + 1), strict=True))
    assert all(row.seconds == taken[row.name.split(" ", 1)[1]] for row in rows)
    assert str(rows[len(labels)]) == (
        "checkerboard normal: 2 cells, about 1 s and 0.0 MB each, by the steps of 8-gaussians normal, on data of the"
        " same size"
    )


def test_where_measuring_takes_long_the_mean_stands_for_the_rest(points: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "ENOUGH", 3.0)
    clock = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))  # a second for each measurement
    seen = iter([Measured(1.0, 4), Measured(None, reason="it failed"), Measured(2.0, 8)])
    rows = list(forecast.forecast(points.survey, points.todo, "cpu", lambda job: next(seen)))
    assert [row.seconds for row in rows[:5]] == [1.0, None, 2.0, 1.5, 1.5]
    assert rows[1].basis == "it failed"
    assert rows[3].size == 6
    assert {row.basis for row in rows[3:]} == {"the mean of 2 rows measured, since there are too many to measure all"}


def test_what_cannot_be_measured_says_why(tmp_path: Path) -> None:
    plan = fakes(tmp_path, '["raise", "killed"]', 1)
    rows = list(forecast.forecast(plan.survey, plan.todo, "cpu", lambda job: plan.measured(job, "cpu")))
    assert [row.seconds for row in rows] == [None, None]
    assert rows[0].basis == "error: ValueError: a mistake in the plugin"
    assert rows[1].basis == "crashed: the process was killed by SIGKILL"
    assert forecast.total(rows, 1) == "estimate: none, for no row has one"


def test_nothing_is_downloaded_for_a_measurement(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    request = Request("mnist", strategies=["normal"], settings={"train.epochs": 7}, data_dir=tmp_path, store=tmp_path)
    survey = request.survey()
    seen = Plan(request, survey, survey.jobs()).measured(survey.jobs()[0], "cpu")
    assert seen.reason == ("its data set is not at hand, and a dry run downloads nothing; `bench data mnist` says more")
    assert capfd.readouterr() == ("", "")


def test_the_total_says_what_is_not_in_it() -> None:
    rows = [
        forecast.Row("a", 3, 3600.0, 2e6, "x"),
        forecast.Row("b", 1, 7200.0, None, "x"),
        forecast.Row("c", 1, None, None, "x"),
    ]
    assert forecast.total(rows, 2) == (
        "estimate: about 5 h 00 min one cell at a time, about 2 h 30 min with 2 cells at a time (without 1 of 3 rows); "
        "disk: about 6.0 MB (without 2 of 3 rows)"
    )
    assert [str(row) for row in rows] == [
        "a: 3 cells, about 60 min and 2.0 MB each, by x",
        "b: 1 cell, about 2 h 00 min, by x",
        "c: 1 cell, no estimate: x",
    ]
