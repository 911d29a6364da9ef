"""Cells are scored again, and what a run store holds is shown, by the command line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, cast

import pytest
from click.testing import CliRunner

from bench.files import json_bytes
from bench.sweep import attempts
from bench.sweep.record import Record
from bench.sweep.requests import Request
from bench.sweep.seal import sealed
from bench.sweep.status import Survey
from bench.verbs import sweeps
from tests.shell import Shell

# ---------------------------------------------------------------- scored again


def test_score_trains_nothing_and_keeps_the_earlier_record(shell: Shell) -> None:
    shell.grid("long", seconds=0.1)
    assert shell("run", "--grid", "fakes.toml")[0] == 0
    (first,) = shell.records()
    code, _, err = shell("score", "--grid", "fakes.toml", "--set", "evaluate.importance_samples=7")
    assert code == 0
    assert "1 cell of 1 to run" in err
    assert first in shell.records()
    (again,) = [json.loads(path.read_text()) for path in shell.records() if path != first]
    assert again["evaluation"]["importance_samples"] == 7
    before = json.loads(first.read_text())
    assert again["digests"]["state"] == before["digests"]["state"]
    assert again["resources"]["fit_seconds"] == before["resources"]["fit_seconds"], "training was measured once"
    code, out, _ = shell("report", "--grid", "fakes.toml")
    assert code == 0
    assert " 1/1 " in out, "the grid's own scores stay"
    assert "left out: 1 cell with evaluate.importance_samples = 7 instead of " in out
    code, out, _ = shell("report", "--grid", "fakes.toml", "--set", "evaluate.importance_samples=7")
    assert " 1/1 " in out
    assert "left out: 1 cell with evaluate.importance_samples = " in out
    code, out, _ = shell("report", "--grid", "fakes.toml", "--all-settings")
    assert out.count(" 1/1 ") == 2


def test_score_leaves_out_what_is_not_trained(shell: Shell) -> None:
    shell.grid("ok", "long")
    code, out, err = shell("score", "--grid", "fakes.toml", "--dry-run")
    assert (code, out.splitlines()[-1].partition(";")[0]) == (0, "0 cells of 2 would run")
    code, out, err = shell("score", "--grid", "fakes.toml")
    assert code == 1
    sentence = "2 cells left out, which this code has not trained to the end: `bench run --grid fakes.toml` does"
    assert sentence in err
    assert f"there is no run store {shell.folder}/runs/fakes" in err
    assert not (shell.folder / "runs").exists(), "where there is one, no committed record is shown"


# ---------------------------------------------------------------- looking


def test_logs_prints_what_an_attempt_printed(shell: Shell) -> None:
    shell.grid("flaky", "ok")
    assert shell("run", "--grid", "fakes.toml")[0] == 0
    cells = {
        cell["hyper"]["how"]: cell["cell"]
        for cell in json.loads(shell("status", "--grid", "fakes.toml", "--json")[1])["cells"]
    }
    code, out, _ = shell("logs", cells["flaky"], "--grid", "fakes.toml")
    assert code == 0
    assert (
        out
        == f"==> {shell.folder}/runs/fakes/cells/{cells['flaky']}/log-2.txt <==\ntraining as flaky, seed 0\nscoring\n"
    )
    _, out, _ = shell("logs", cells["flaky"][:6], "--grid", "fakes.toml", "--attempt", "1")
    assert out == f"==> {shell.folder}/runs/fakes/cells/{cells['flaky']}/log-1.txt <==\ntraining as flaky, seed 0\n"
    code, _, err = shell("logs", cells["flaky"], "--grid", "fakes.toml", "--attempt", "3")
    assert err == f"error: cell {cells['flaky']} has had 2 attempts; there is no attempt 3\n"
    assert code == 2
    code, _, err = shell("logs", "", "--grid", "fakes.toml")
    assert err == 'error: "" begins the ids of 2 cells; give more of it\n'


def test_logs_reads_files_alone_follows_no_link_and_lets_none_speak_to_the_terminal(shell: Shell) -> None:
    shell.grid("ok")
    assert shell("run", "--grid", "fakes.toml")[0] == 0
    (log,) = shell.folder.glob("runs/fakes/cells/*/log-1.txt")
    cell = log.parent.name
    secret = shell.folder / "secret.txt"
    secret.write_text("a secret\n")
    makers: dict[str, Callable[[], object]] = {
        "Is a directory": log.mkdir,
        "it is not a file": lambda: os.mkfifo(log),
        "Too many levels of symbolic links": lambda: log.symlink_to(secret),
    }
    for reason, make in makers.items():
        log.rmdir() if log.is_dir() else log.unlink()
        make()
        code, out, err = shell("logs", cell, "--grid", "fakes.toml")
        assert (code, out) == (0, f"==> {log} <==\n")
        assert err == f"{log} cannot be read: {reason}\n"
    strange = log.parent.rename(log.parent.with_name("esc\x1b]0;owned"))
    code, out, _ = shell("logs", "esc", "--grid", "fakes.toml")
    assert out == f"==> {str(strange).replace(chr(27), '?')}/log-1.txt <==\n"


def test_a_jobs_memory_is_never_all_of_a_node(shell: Shell) -> None:
    shell.grid("ok")
    code, out, _ = shell("run", "--grid", "fakes.toml", "--on", "slurm", "--dry-run", "--memory", "0.0004")
    assert code == 0
    assert "#SBATCH --mem=1M\n" in out, "0 would be all that there is"


def test_a_record_that_ended_in_no_time_zone_is_as_good_as_others(shell: Shell) -> None:
    shell.grid("ok", seeds=2)
    assert shell("run", "--grid", "fakes.toml")[0] == 0
    record = next(shell.folder.glob("runs/fakes/cells/*/record-*.json"))
    content = json.loads(record.read_text()) | {"finished": "2026-01-01T00:00:00"}
    del content["sha256"]
    record.write_bytes(sealed(json_bytes(content)))
    code, out, _ = shell("run", "--grid", "fakes.toml")
    assert code == 0
    assert "no cell is left to run" in out


@pytest.mark.parametrize("state", ["running", "pending", "preempted", "missing", "lost", "finished", "stale"])
def test_only_where_every_cell_has_a_record_all_went_well(
    state: Literal["running", "pending", "preempted", "missing", "lost", "finished", "stale"],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def found(request: Request) -> Survey:
        survey = Request._on_disk(request)
        kept = cast(Record, SimpleNamespace(status="ok", attempt=1, finished="2026"))
        record = kept if state in ("finished", "stale") else None
        return replace(survey, standings=tuple(replace(each, state=state, record=record) for each in survey.standings))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Request, "settle", found)
    monkeypatch.setattr(sweeps, "report", lambda *_, **__: "the table")
    done = CliRunner().invoke(sweeps.collect, ["--grid", "digits", "--seeds", "1", "--strategy", "normal"])
    assert (done.exit_code, done.stdout) == (0 if state in ("finished", "stale") else 1, "the table\n"), done.output


def test_a_cell_that_another_process_carries_out_has_no_record_yet(shell: Shell) -> None:
    shell.grid("ok")
    assert shell("run", "--grid", "fakes.toml")[0] == 0
    (record,) = shell.records()
    record.unlink()
    assert attempts.claim(record.parent, 2, "of this process")
    code, _, err = shell("collect", "--grid", "fakes.toml")
    assert code == 1
    assert "1 cell: 1 running" in err


def test_a_folder_of_temporary_files_that_is_too_long_for_a_socket_is_named(shell: Shell) -> None:
    shell.grid("ok")
    deep = shell.folder / ("d" * 120)
    deep.mkdir()
    shell.environment["TMPDIR"] = str(deep)
    code, _, err = shell("run", "--grid", "fakes.toml")
    assert code
    assert f"TMPDIR is {deep}, too long for a socket in it; set it to a shorter folder" in err


def test_scripts_can_be_printed_where_there_is_no_slurm(shell: Shell) -> None:
    shell.grid("ok", seeds=3)
    shell.environment["PATH"] = "/nowhere"
    code, out, _ = shell("run", "--grid", "fakes.toml", "--on", "slurm", "--dry-run", "--setup", "module load cuda")
    assert code == 0
    assert out.startswith("# ---- script 1 of 1: jobs: 3, 3 cells\n#!/bin/bash\n")
    assert "\nmodule load cuda\n" in out
    row, total = out.splitlines()[-2:]  # as comments, so that what is printed is a script
    assert re.fullmatch(r"# points actor: 3 cells, about \S+ s and .* MB each, by one .* on this machine", row)
    assert total.startswith("# estimate: about ")
    code, _, err = shell("run", "--grid", "fakes.toml", "--on", "slurm", "--detach")
    assert code == 1
    assert err.splitlines()[-1] == "error: there is no SLURM on this machine: no `scontrol` is found"


def test_status_counts_by_strategy_and_explains_each_cell(shell: Shell) -> None:
    shell.grid("ok", "skip")
    code, out, _ = shell("status", "--grid", "fakes.toml")
    assert code == 0
    head, *rows, total = out.splitlines()
    assert head.split() == ["data", "set", "strategy", "ok", "failed", "skipped", "stale", "running", "missing"]
    assert [row.split() for row in rows] == [
        ["points", "actor[how=ok]", *"000001"],
        ["points", "actor[how=skip]", *"000001"],
    ]
    assert total == f"fakes in {shell.folder}/runs/fakes: 2 cells: 2 missing"

    _, out, _ = shell("status", "--grid", "fakes.toml", "--why")
    cell, _, rest = out.splitlines()[0].partition("  ")
    assert (len(cell), rest) == (12, "points actor[how=ok] seed 0  missing: never ran")

    content = json.loads(shell("status", "--grid", "fakes.toml", "--json")[1])
    assert content["counts"] == {"missing": 2}
    assert content["cells"][0] | {"hyper": {}} == {
        "cell": cell,
        "dataset": "points",
        "options": {"gone": False},
        "strategy": "actor",
        "label": "actor[how=ok]",
        "hyper": {},
        "seed": 0,
        "state": "missing",
        "why": "never ran",
        "job": None,
        "live": None,
        "status": None,
        "reason": None,
        "attempt": None,
    }


def test_list_names_what_can_be_run_and_what_cannot(shell: Shell) -> None:
    (shell.plugins / "strategies" / "broken.py").write_text("import nothing_of_that_name\n")
    code, out, _ = shell("list")
    assert code == 0
    lines = [line.split(maxsplit=1) for line in out.splitlines() if line]
    assert ["actor", f"Ends as told.  [{shell.plugins}]"] in lines
    broken = next(line for line in out.splitlines() if "broken" in line)
    assert "does not load: " in broken
    assert "nothing_of_that_name" in broken

    _, out, _ = shell("list", "--verbose")
    assert "      seconds: number, at least 0" in out
    assert "          how long `long` and `walk` take" in out

    content = json.loads(shell("list", "--json")[1])
    assert {"strategies", "datasets", "networks", "energies", "grids"} == set(content)
    actor = next(one for one in content["strategies"] if one["name"] == "actor")
    assert [field["key"] for field in actor["fields"]] == ["how", "seconds", "lines"]


def test_data_says_what_a_data_set_is(shell: Shell) -> None:
    code, out, _ = shell("data", "points")
    assert code == 0
    assert out.splitlines() == [
        f"data folder: {shell.folder}",
        f"points: 64 train, 4 test of 2, version 7, SHA-256 {'5' * 64}",
    ]


def test_data_goes_on_after_a_data_set_that_cannot_be_had(shell: Shell) -> None:
    file = shell.plugins / "datasets" / "absent.py"
    source = (shell.plugins / "datasets" / "points.py").read_text()
    file.write_text(source.replace("class Points", "class Absent").replace("if self.gone", "if True"))
    shell.environment["BENCH_DATA"] = str(shell.folder / "nowhere")
    code, out, err = shell("data")
    assert code == 2
    assert "points: 64 train" in out
    assert f"error: data set 'absent': the points are not in {shell.folder / 'nowhere'}; put them there" in err
    assert "error: data set 'mnist': " in err
