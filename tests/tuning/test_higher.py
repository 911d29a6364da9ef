"""A metric of which more is better is searched upwards, and shown and kept as what it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from bench.sweep.requests import Request
from bench.tuning.orders import Tuning
from bench.tuning.show import _drawn, text
from tests.tuning.conftest import FAKES, Tune, tables

GRID = tables() | {"strategy": [{"name": "hits"}]}


def test_the_highest_is_chosen_and_every_value_is_the_metrics_own(tune: Tune, tmp_path: Path) -> None:
    """At the lower end of log Z's interval, which is .1 below the score."""
    tuned = tune(GRID, trials=8, metric="share")
    frame, ledger = tuned.trials(), tuned.ledger().iloc[0]
    assert frame["value"].tolist()[0] == pytest.approx(0.4)
    assert frame["value"].between(0.1, 0.9).all()
    assert ledger["value"] == frame["value"].max() > 0.4
    assert ledger["best"] == frame["value"].idxmax()
    (path,) = tuned.grids
    (kept,) = (row["tuned"] for row in tomllib.loads(path.read_text())["strategy"] if "tuned" in row)
    assert kept["value"] == ledger["value"]
    shown = repr(tuned)
    assert f"  {ledger['best']}      {ledger['value']:.4f}" in shown
    gain = ledger["value"] - frame["value"][0]
    assert f"  {gain:.4f} better than the grid's own values, by one training of each" in shown
    assert "-0." not in shown


def test_pictures_and_what_is_shown_later_are_of_the_metrics_own_values(tune: Tune, tmp_path: Path) -> None:
    frame = tune(GRID, trials=3, metric="share").trials()
    request = Request(GRID, plugins=[FAKES], store=tmp_path / "runs" / "grid-trials")
    (progress,) = Tuning(request, "share").studies
    study = _drawn(progress)
    assert study.direction == StudyDirection.MAXIMIZE
    assert [trial.value for trial in study.trials] == frame["value"].tolist()
    assert f"{frame['value'].max():.4f}" in text([progress])


def test_what_a_trial_came_to_is_said_in_the_metrics_own_values(tune: Tune) -> None:
    from bench.sweep.screen import Screen

    class Kept(Screen):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, sentence: str) -> None:
            self.notes.append(sentence)

    screen = Kept()
    tune(GRID, trials=1, metric="share", progress=screen)
    assert screen.notes == ["drawn hits, trial 0: share 0.4000"]
