"""How many cells share a GPU: chosen by what is measured, through the service where it lets them."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bench.protocol import UserError
from bench.sweep import sharing
from bench.sweep.requests import Plan, Request
from bench.sweep.screen import Screen
from bench.sweep.status import Survey
from bench.sweep.store import Store
from bench.sweep.worker import Setup

Look = Callable[..., Survey]


@pytest.mark.parametrize(
    ("rates", "most", "cells", "asked"),
    [
        ({1: 100, 2: 190, 4: 350, 8: 600, 16: 640}, 100, 8, [1, 2, 4, 8, 16]),  # 16 bring less than a tenth more
        ({1: 100, 2: 105, 4: 900}, 100, 1, [1, 2]),
        ({1: 100, 2: 200, 4: 400, 8: 800, 16: 1600}, 100, 16, [1, 2, 4, 8, 16]),
        ({1: 100, 2: 200, 4: 400}, 3, 2, [1, 2]),  # there are three cells
        ({1: 100, 2: 200}, 100, 2, [1, 2, 4]),  # four do not fit
        ({}, 100, 1, [1]),
    ],
)
def test_cells_are_doubled_as_long_as_that_brings_a_tenth_more(
    rates: Mapping[int, float], most: int, cells: int, asked: list[int]
) -> None:
    measured: list[int] = []

    def measure(count: int) -> float | None:
        measured.append(count)
        return rates.get(count)

    assert (sharing.choose(measure, most).cells, measured) == (cells, asked)


def test_what_was_measured_is_said() -> None:
    assert str(sharing.Choice(2, {1: 812.4, 2: 1540.2, 4: 1601})) == (
        "2 cells share a GPU; steps a second by cells: 1: 812, 2: 1,540, 4: 1,601"
    )
    assert str(sharing.Choice(1, {})) == (
        "1 cell shares a GPU: cells end, or do not fit, before their steps can be counted"
    )


def test_a_measurement_counts_the_steps_of_cells_that_train_together_and_leaves_nothing(
    look: Look, setup: Setup, store: Store
) -> None:
    jobs = look("walk", seeds=2, seconds=20.0).jobs()  # five steps a second each
    rate = sharing.rate(setup, jobs, seconds=2.0)
    assert rate == pytest.approx(10, rel=0.3)
    assert not store.folder.exists()


@pytest.mark.parametrize("how", ["ok", "killed", "memory"])
def test_cells_that_cannot_be_measured_have_no_rate(look: Look, setup: Setup, how: str) -> None:
    assert sharing.rate(setup, look(how).jobs()) is None


def test_cells_on_two_gpus_are_measured_on_one(
    look: Look, setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, int]] = []

    def rate(setup: Setup, jobs: list[object]) -> float:
        asked.append((setup.device, len(jobs)))
        return 100.0 * len(jobs)

    monkeypatch.setattr(sharing, "rate", rate)
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = look("ok", seeds=7).jobs()
    for per_gpu, number in ((1, 2), (3, 6), (5, 7), ("auto", 7)):
        with sharing.slots(setup, jobs, ["cuda:0", "cuda:1"], per_gpu, Screen()) as slots:  # type: ignore[arg-type]
            assert slots == number
    assert asked == [("cuda:0", 1), ("cuda:0", 2), ("cuda:0", 4)]
    with sharing.slots(setup, jobs[:2], ["cuda:0", "cuda:1"], "auto", Screen()) as slots:
        assert slots == 2  # there is nothing to share
    assert len(asked) == 3


def test_without_a_gpu_there_is_nothing_to_measure_on(look: Look, tmp_path: Path) -> None:
    survey = look("ok")
    plan = Plan(Request(survey.grid.source, store=tmp_path / "store"), survey, survey.jobs())
    with pytest.raises(
        UserError, match=r"^--per-gpu auto measures on a GPU, and the device is cpu; add --device cuda$"
    ):
        plan.carry_out(per_gpu="auto")
    assert not (tmp_path / "store").exists()


# ---------------------------------------------------------------- the multi-process service

SERVICE = """
import os, pathlib, sys, time
folder = pathlib.Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
if "-f" in sys.argv:
    BEGIN
    (folder / "there").touch()
    while (folder / "there").exists():
        time.sleep(0.02)
    pathlib.Path(LEFT).write_text("quit")
elif sys.stdin.read() == "quit\\n":
    (folder / "there").unlink()
else:
    sys.exit(not (folder / "there").exists())
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a program in the place of CUDA's, which does something when it begins; return the file that it leaves."""

    def put(begin: str = "") -> Path:
        left, script = tmp_path / "left", tmp_path / sharing.CONTROL
        code = textwrap.dedent(SERVICE).replace("LEFT", repr(str(left))).replace("BEGIN", begin or "pass")
        script.write_text(f"#!{sys.executable}\n{code}")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return left

    return put


def test_the_service_has_a_folder_of_its_own_and_ends_with_the_sweep(service: Callable[[str], Path]) -> None:
    left, said = service(""), list[str]()
    with sharing.served(said.append, probe=["true"]):
        folder = Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
        assert (folder / "there").exists()
        assert not left.exists()
    assert left.read_text() == "quit"
    assert not folder.exists()
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert said == ["cells share a GPU through CUDA's multi-process service"]


@pytest.mark.parametrize(
    ("begin", "probe", "why"),
    [
        ("sys.exit(3)", "true", "ended with exit code 3"),
        ("", "false", "lets no process compute"),
        ("", "no-such-program", "lets no process compute"),
    ],
)
def test_where_the_service_cannot_be_used_processes_take_turns(
    service: Callable[[str], Path], begin: str, probe: str, why: str
) -> None:
    service(begin)
    said: list[str] = []
    with sharing.served(said.append, probe=[probe]):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert said == [f"cells take turns on a GPU: CUDA's multi-process service {why}"]


def test_where_there_is_no_service_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with sharing.served(said.append):
        pass
    assert said == ["cells take turns on a GPU: there is no nvidia-cuda-mps-control on this machine"]


def test_a_service_of_the_site_is_left_alone(service: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    left = service("")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/site")
    with sharing.served(pytest.fail):
        assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == "/site"
    assert not left.exists()
