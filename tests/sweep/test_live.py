"""How far running cells are: what attempts leave in the store, and what shows it while they run."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.plugins import Registry
from bench.profile import Slurm
from bench.sweep import live, status, watching
from bench.sweep.pool import Pool
from bench.sweep.requests import Plan, Request
from bench.sweep.screen import Screen
from bench.sweep.slurm.chunk import Chunk
from bench.sweep.status import Survey
from bench.sweep.store import Store
from bench.sweep.wire import Figures
from bench.sweep.worker import Setup
from tests.shell import FAKES, GRID

Look = Callable[..., Survey]


class Looking(Screen):
    """Looks at the store whenever a cell tells how far it is, as another process would."""

    def __init__(self, look: Callable[[], Survey]) -> None:
        self.look = look
        self.lines: list[str] = []
        self.cells: list[dict[str, Any]] = []

    def advance(self, slot: int, figures: Figures) -> None:
        if len(self.lines) > 1:
            return
        survey = self.look()
        self.lines += status.running(survey)
        self.cells += status.as_json(survey)["cells"]


def test_a_running_cell_tells_others_how_far_it_is_and_leaves_nothing_of_that(
    look: Look, setup: Setup, store: Store
) -> None:
    screen = Looking(lambda: look("long", seconds=0.3))
    Pool(setup, 1, screen).run(look("long", seconds=0.3).jobs())
    assert screen.lines[0] == "running: points actor seed 0: fit 1/100, bound 1"
    told = [cell["live"] for cell in screen.cells if cell["live"]]
    assert told
    assert {"stage": "fit", "done": 1, "total": 100, "epoch": None, "figures": {"bound": 1.0}}.items() <= told[
        0
    ].items()
    assert not list(store.folder.glob("cells/*/live-*"))
    assert status.running(look("long", seconds=0.3)) == []


def test_the_time_left_is_that_of_the_stage_at_its_pace(tmp_path: Path) -> None:
    seconds = 0.0
    teller = live.Teller(tmp_path, 1, clock=lambda: seconds)
    teller.hear(Figures("fit", 100, 900, {"epoch": 1.0, "bound": float("nan")}))  # resumed at 100
    seconds = 10.0
    teller.hear(Figures("fit", 300, 900, {"epoch": 3.0, "bound": float("nan")}))
    told = live.read(tmp_path, 1)
    assert told is not None
    assert told.left == 30.0
    assert told.plain()["epoch"] == 3
    assert told.plain()["figures"] == {"bound": None}  # JSON knows no NaN
    json.dumps(told.plain(), allow_nan=False)
    seconds = 11.0
    teller.hear(Figures("fit", 320, 900, {}))
    again = live.read(tmp_path, 1)
    assert again is not None
    assert again.done == 300  # no more often than is useful
    teller.hear(Figures("evaluate", 0, 10, {}))
    scoring = live.read(tmp_path, 1)
    assert scoring is not None
    assert (scoring.stage, scoring.left) == ("evaluate", None)
    teller.end()
    assert live.read(tmp_path, 1) is None


def test_cells_of_a_slurm_job_tell_it_as_well(look: Look, setup: Setup) -> None:
    survey = look("long", seconds=3.0)
    jobs = survey.jobs()
    chunk = Chunk(setup, jobs, {job.cell.id: "it" for job in jobs}, "sweep", Slurm(), None)
    job = threading.Thread(target=chunk)
    job.start()
    try:
        lines: list[str] = []
        while job.is_alive() and not (lines and "fit" in lines[0]):
            lines = status.running(look("long", seconds=3.0))
            time.sleep(0.05)
    finally:
        job.join()
    assert lines[0].startswith("running: points actor seed 0: fit ")


@pytest.mark.parametrize(("other", "said"), [("--json", "--json"), ("--why", "--why")])
def test_to_watch_is_to_look_at(tmp_path: Path, other: str, said: str) -> None:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "bench", "status", "--watch", other]
    environment = {**os.environ, "PYTHONPATH": root}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        2,
        f"error: --watch cannot be had with {said}; leave one of them out\n",
    )


WHOLE = '{"stage": "fit", "done": 3, "total": 9, "figures": {}, "left": LEFT, "told": ""}'


@pytest.mark.parametrize(
    "content", ["", "[]", '{"stage": "fit"}', *(WHOLE.replace("LEFT", s) for s in ("NaN", "1e99", "-1", '"3"'))]
)
def test_what_lies_in_its_place_and_is_none_is_not_believed(tmp_path: Path, content: str) -> None:
    (tmp_path / "live-1.json").write_text(content)
    assert live.read(tmp_path, 1) is None
    (tmp_path / "live-1.json").write_text(WHOLE.replace("LEFT", "2.0"))
    assert live.read(tmp_path, 1) is not None


def request(tmp_path: Path, how: str, **fields: object) -> Request:
    (tmp_path / "fakes.toml").write_text(GRID.format(how=how, seeds=1, seconds=0.0))
    return Request(
        str(tmp_path / "fakes.toml"),
        strategies=["actor"],
        store=tmp_path / "store",
        data_dir=tmp_path,
        plugins=[FAKES],
        **fields,  # type: ignore[arg-type]
    )


def test_to_watch_ends_once_all_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = request(tmp_path, '["ok"]')
    survey = asked.survey()
    Plan(asked, survey, survey.jobs()).carry_out(jobs=1)
    assert watching.watch(asked, quiet=1000).counts() == {"ok": 1}
    assert capsys.readouterr().out == "1 cell: 1 ok\n"


def test_to_watch_ends_where_cells_are_missing_and_none_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watching.watch(request(tmp_path, '["ok"]'), pause=0.01, quiet=0.02).counts() == {"missing": 1}
    assert capsys.readouterr().out == "1 cell: 1 missing\n"


def test_a_terminal_is_drawn_anew_and_left_with_nothing_of_it(tmp_path: Path) -> None:
    request(tmp_path, '["ok"]')
    code = f"""
from tests.sweep.test_live import request, watching, Path
watching.watch(request(Path({str(tmp_path)!r}), '["ok"]'), pause=.1, quiet=.3)
"""
    parent, child = pty.openpty()
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": root, "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=child, cwd=root, env=environment) as process:
        os.close(child)
        shown = b""
        try:
            while part := os.read(parent, 1 << 16):
                shown += part
        except OSError:  # the terminal went with the process
            pass
    os.close(parent)
    assert process.returncode == 0
    assert shown.count(b"1 cell: 1 missing") >= 2
    assert b"\x1b[2K" in shown  # lines are erased


@pytest.mark.parametrize("strategy", ["normal", "sliced-score-matching", "latent-mixture"])
def test_no_live_bound_lacks_log_z_without_saying_so(tmp_path: Path, strategy: str) -> None:
    told: list[tuple[str, float]] = []

    class Hearing(Screen):
        def advance(self, slot: int, figures: Figures) -> None:
            told.extend(figures.figures.items())

    quick = {"train.epochs": 2, "evaluate.images": 5, "evaluate.importance_samples": 2, "evaluate.ais.temperatures": 10}
    quick |= {"evaluate.ais_nll.images": 0, "evaluate.ais_nll.simulated": 0}
    asked = Request(
        settings=quick,
        strategies=[strategy],
        seeds=1,
        store=tmp_path / "store",
        plugins=Registry(),
        display=lambda *_: Hearing(),
    )
    survey = asked.survey()
    Plan(asked, survey, survey.jobs()).carry_out(jobs=1)
    bounds = {name for name, _ in told if "bound" in name}
    if strategy == "sliced-score-matching":  # trains an energy
        assert "bound without log Z" in bounds
        assert all("log Z" in name for name in bounds)
    else:  # log Z of a normalised prior is 0
        assert "bound" in bounds
