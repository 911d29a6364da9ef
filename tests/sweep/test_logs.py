"""Logs: what trackers of experiments are told of a sweep's cells, and the event files that TensorBoard reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.protocol import UserError
from bench.sweep.logs import Log, TensorBoard
from bench.sweep.record import Point
from bench.sweep.requests import Plan, Request
from bench.sweep.screen import Screen
from tests.shell import FAKES, GRID


class Kept(Log):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def begin(self, cell: str, settings: Mapping[str, Any]) -> None:
        self.told.append(("begin", cell, dict(settings)))

    def live(self, cell: str, step: int, figures: Mapping[str, float]) -> None:
        self.told.append(("live", cell, step, dict(figures)))

    def end(self, cell: str, status: str, scores: Mapping[str, float], curves: Sequence[Point]) -> None:
        self.told.append(("end", cell, status, dict(scores), list(curves)))

    def close(self) -> None:
        self.told.append(("close",))


class Notes(Screen):
    """Takes what is noted."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def note(self, sentence: str) -> None:
        self.said.append(sentence)


def carry_out(tmp_path: Path, how: str, log: Log) -> list[str]:
    (tmp_path / "fakes.toml").write_text(GRID.format(how=how, seeds=1, seconds=0.2))
    said: list[str] = []
    request = Request(
        str(tmp_path / "fakes.toml"),
        strategies=["actor"],
        store=tmp_path / "store",
        data_dir=tmp_path,
        plugins=[FAKES],
        display=lambda *_: Notes(said),
        log=log,
    )
    survey = request.survey()
    Plan(request, survey, survey.jobs()).carry_out(jobs=1)
    return said


def test_a_log_is_told_settings_figures_scores_and_curves_of_every_cell(tmp_path: Path) -> None:
    kept = Kept()
    carry_out(tmp_path, '["long", "diverge", "killed"]', kept)
    ends = {told[1].split("how=")[1].split("]")[0]: told[2:] for told in kept.told if told[0] == "end"}
    assert {how: end[0] for how, end in ends.items()} == {"long": "ok", "diverge": "diverged", "killed": "crashed"}
    assert ends["long"][1].keys() == {"vlb"}
    assert [point.metric for point in ends["long"][2]] == ["bound"]
    assert ends["diverge"][1] == {}
    assert [point.value for point in ends["diverge"][2]] == [9.0]  # curves up to there
    settings = next(told[2] for told in kept.told if told[0] == "begin")
    assert {"hyper.how": "long", "seed": 0, "train.epochs": 1, "dataset": "points"}.items() <= settings.items()
    assert any(told[0] == "live" and told[3].keys() == {"bound"} for told in kept.told)
    assert kept.told[-1] == ("close",)


@pytest.mark.parametrize("method", ["begin", "live", "end", "close"])
def test_a_log_that_fails_costs_no_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionError("no\nnetwork")

    kept = Kept()
    monkeypatch.setattr(kept, method, fail)
    said = carry_out(tmp_path, '["long"]', kept)
    assert said[1:] == ["the log failed, and takes no more: ConnectionError: no network"]
    assert len(list((tmp_path / "store").glob("cells/*/record-*.json"))) == 1


def test_the_event_files_hold_what_a_cell_of_a_real_strategy_left(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    quick = {"train.epochs": 2, "evaluate.images": 5, "evaluate.importance_samples": 2}
    quick |= {"evaluate.ais_nll.images": 0, "evaluate.ais_nll.simulated": 0}
    results = bench.run(
        strategies=["normal"],
        seeds=1,
        set=quick,
        jobs=1,
        store=tmp_path / "store",
        progress=False,
        log=TensorBoard(tmp_path / "board"),
    )
    (folder,) = (tmp_path / "board").iterdir()
    assert folder.name.startswith("digits-normal-seed-0-")
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    assert tags["tensors"] == ["_hparams_/session_start_info"]
    assert {"live/bound", "curves/bound", "scores/vlb"} <= set(tags["scalars"])
    curve = results.curves().query("metric == 'bound'")
    assert [event.step for event in events.Scalars("curves/bound")] == curve["step"].tolist()
    assert [event.value for event in events.Scalars("curves/bound")] == pytest.approx(curve["value"].tolist())
    (score,) = events.Scalars("scores/vlb")
    scores = results.cell("normal", seed=0).scores
    assert score.value == pytest.approx(scores.loc["vlb", "value"])
    assert score.step == curve["step"].max()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^the log cannot be written into .*/file/board \(Not a directory\)$"):
        TensorBoard(tmp_path / "file" / "board")


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^log is a str; allowed: an object of a class that extends bench\.Log$"):
        bench.run(log="tensorboard", store=tmp_path / "store")  # type: ignore[arg-type]


def test_a_library_that_is_not_installed_is_said_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "none" / "tensorboard").mkdir(parents=True)
    (tmp_path / "none" / "tensorboard" / "__init__.py").write_text('raise ImportError("not here")')
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "bench", "run", "--store", "store", "--log", "tensorboard", "board"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'none'}{os.pathsep}{root}"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    why = "TensorBoard's event files need a library that is not installed; install it: pip install tensorboard"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"error: {why}\n")
    assert not (tmp_path / "store").exists()
