"""What verbs do, done without them: nothing but a request is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.protocol import UserError
from bench.sweep.pool import Screen
from bench.sweep.requests import Plan, Request
from tests.test_cli import FAKES, GRID


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


def test_a_mistake_in_a_request_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'^unknown grid "dgits"; did you mean "digits"\? allowed: '):
        Request("dgits", store=tmp_path).survey()
