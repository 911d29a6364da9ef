"""What verbs do, done without them: nothing but a request is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.plugins.shapes import typed
from bench.protocol import UserError
from bench.sweep.limits import Limits, limited
from bench.sweep.requests import Plan, Request
from bench.sweep.screen import Screen
from tests.shell import FAKES, GRID


class Notes(Screen):
    """Takes what is noted."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def note(self, sentence: str) -> None:
        self.said.append(sentence)


def test_cells_are_carried_out_without_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fakes.toml").write_text(GRID.format(how='["ok", "skip"]', seeds=1, seconds=0.0))
    said: list[str] = []
    request = Request(
        str(tmp_path / "fakes.toml"),
        strategies=["actor"],
        store=tmp_path / "store",
        data_dir=tmp_path,
        plugins=[FAKES],
        say=said.append,
        display=lambda cells, name, log: Notes(said),
    )
    survey = request.survey()
    plan = Plan(request, survey, survey.jobs())
    assert str(plan) == "2 cells of 2"
    tally = plan.carry_out(jobs=1)
    assert [ending.status for _, ending in tally.endings] == ["ok", "skipped"]
    assert said == ["2 cells of 2 to run, 1 at a time"]
    assert request.settle().counts() == {"ok": 1, "skipped": 1}
    request.watch()  # nothing waits or runs
    assert said[1:] == ["2 cells: 1 ok, 1 skipped"]
    assert capsys.readouterr().out == ""

    survey = request.survey()
    assert Plan(request, survey, survey.jobs()).carry_out().endings == []


def test_a_record_that_comes_while_lost_cells_are_settled_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fakes.toml").write_text(GRID.format(how='["ok"]', seeds=1, seconds=0.0))
    grid, store = str(tmp_path / "fakes.toml"), tmp_path / "store"
    request = Request(grid, strategies=["actor"], store=store, data_dir=tmp_path, plugins=[FAKES], trust=True)
    survey = request.survey()
    (job,) = survey.jobs()
    lost = replace(survey, standings=(replace(survey.standings[0], state="lost", loss=("crashed", "gone")),))
    looks = [lost]
    monkeypatch.setattr(Request, "survey", lambda self: looks.pop() if looks else self._on_disk())
    assert survey.store.finish(job, job.record("fakes", {}, "ok"))
    assert request.settle().counts() == {"ok": 1}


def test_a_mistake_in_a_request_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'^unknown grid "dgits"; did you mean "digits"\? allowed: '):
        Request("dgits", store=tmp_path).survey()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, 0.0, -1.0])
@pytest.mark.parametrize("name", ["timeout", "memory"])
def test_a_limit_is_a_finite_number_above_0(name: str, value: float) -> None:
    values = {"timeout": None, "memory": None, name: value}
    with pytest.raises(UserError, match=r" is not allowed; it must be a number above 0, at most 1,000,000,000$"):
        limited(values["timeout"], values["memory"], 2, typed)


def test_limits_are_given_in_minutes_and_gigabytes() -> None:
    assert limited(2, 1.5, 3, typed) == Limits(timeout=120.0, memory=1_500_000_000, retries=3)
    assert limited(None, None, 0, typed) == Limits(timeout=None, memory=None, retries=0)


def test_a_store_of_somebody_else_is_run_only_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "fakes.toml").write_text(GRID.format(how='["ok"]', seeds=1, seconds=0.0))
    store = tmp_path / "store"

    def plan(trust: bool = False) -> Plan:
        grid = str(tmp_path / "fakes.toml")
        request = Request(
            grid, strategies=["actor"], store=store, data_dir=tmp_path, plugins=[FAKES], display=quiet, trust=trust
        )
        survey = request.survey()
        return Plan(request, survey, survey.jobs())

    def quiet(*_: object) -> Screen:
        return Screen()

    plan()._keep_grid()
    assert plan().unchecked() is not None
    store.rename(tmp_path / "theirs")
    (tmp_path / "theirs").rename(store)
    assert not plan().survey.store.foreign, "the same folder in the same place"
    (tmp_path / "cache").rename(tmp_path / "cache of somebody else")
    with pytest.raises(UserError, match=r"was made by somebody else, elsewhere .*; .* add --trust$"):
        plan().carry_out(jobs=1)
    assert plan(trust=True).carry_out(jobs=1).endings
    assert not plan().survey.store.foreign, "it need not be said again"


def test_a_headline_metric_that_no_model_can_have_is_said_when_cells_are_planned() -> None:
    said: list[str] = []
    request = Request("digits", ["headline.metric=nll_aiss"], ["normal"], say=said.append)
    assert request.cells.headline.metric == "nll_aiss"
    why = 'no verdicts by headline.metric: models of digits normal have no score "nll_aiss"; did you mean "nll_ais"?'
    (sentence,) = said
    assert sentence.startswith(why)
    sound = Request("digits", strategies=["normal"], say=said.append)
    assert sound.cells.cells
    assert len(said) == 1
