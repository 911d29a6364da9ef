"""The command line, in processes of its own: what it prints, its exit codes, and what it does not import."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.files import json_bytes
from bench.sweep.seal import sealed

FAKES = Path(__file__).parent / "sweep" / "fakes"

GRID = """title = "fakes"
seeds = {seeds}
[[dataset]]
name = "points"
[networks]
latent = 2
[train]
epochs = 1
[[strategy]]
name = "actor"
how = {how}
seconds = {seconds}
"""


#: what no process of a command may execute, though it lies in the working directory and is called like a library
HOSTILE = 'import os\nopen(os.path.join(os.path.dirname(__file__), "executed"), "a").write(__name__)\n'
LIBRARIES = ("json", "multiprocessing", "numpy", "random", "signal", "torch")


class Shell:
    """Runs `bench` in a folder with hostile files and the fake plugins, copied so that they can be edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = folder / "plugins"
        shutil.copytree(FAKES, self.plugins, ignore=shutil.ignore_patterns("__pycache__"))
        for name in LIBRARIES:
            (folder / f"{name}.py").write_text(HOSTILE)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "PYTHON"))}
        self.environment = kept | {
            "BENCH_PLUGINS": str(self.plugins),
            "BENCH_DATA": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COLUMNS": "200",
        }

    def grid(self, *how: str, seeds: int = 1, seconds: float = 0.0) -> None:
        """Write the grid `fakes.toml`."""
        content = GRID.format(how=json.dumps(list(how)), seeds=seeds, seconds=seconds)
        (self.folder / "fakes.toml").write_text(content)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `bench` in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run `bench` and return exit code, output and errors."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def records(self, pattern: str = "record-????????????????.json") -> list[Path]:
        """Return the files of records."""
        return sorted((self.folder / "runs" / "fakes" / "cells").glob(f"*/{pattern}"))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    yield Shell(tmp_path)
    assert not (tmp_path / "executed").exists()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.02)


# ---------------------------------------------------------------- quick to start


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["list"], ["status"]])
def test_verbs_that_only_look_import_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = f"""import sys
from bench.cli import main
sys.argv = ["bench", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "pandas", "matplotlib", "sklearn", "scipy", "pyarrow", "numpy"}} & set(sys.modules)
print("imported:", sorted(heavy))"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True, capture_output=True, check=True
    )
    assert done.stdout.endswith("imported: []\n")
    assert list(tmp_path.iterdir()) == []  # and they write nothing


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], 'there is no verb "rnu"; did you mean "run"?'),
        (
            ["zzz"],
            'there is no verb "zzz"; allowed: cancel, check, collect, data, export, import, list, logs, new, report',
        ),
        (["run", "--gird", "x"], 'there is no option --gird of `bench run`; did you mean "--grid"?'),
        (["run", "--jobs", "0"], "invalid value for '--jobs': 0 is not in the range x>=1; see `bench run --help`"),
        (["run", "--timeout", "0"], "invalid value for '--timeout': 0.0 is not in the range x>0; see"),
        (["run", "--seeds", "two"], "--seeds two is neither a count (3) nor a list of seeds (0,1,5)"),
        (["run", "--grid", "dgits"], 'unknown grid "dgits"; did you mean "digits"?'),
        (["run", "--set", "train.epoch=3"], "train.epoch"),
        (["run", "--strategy", "norml"], 'did you mean "normal"?'),
        (["run", "--device", "gpu"], "--device gpu is unknown; allowed: cpu, cuda, cuda:N, mps"),
        (["run", "--plugins", "gone"], "the plugin folder {here}/gone does not exist"),
        (["run", "--detach"], "--detach is said of SLURM jobs; add --on slurm"),
        (["run", "--cells-per-job", "2"], "--cells-per-job is said of SLURM jobs; add --on slurm"),
        (
            ["run", "--on", "slurm", "--jobs", "2"],
            "--jobs is said of worker processes on this machine; with --on slurm",
        ),
        (["run", "--memory", "0"], "invalid value for '--memory': 0.0 is not in the range x>0; see `bench run --help`"),
        (["retry"], "nothing was submitted to SLURM from {here}/runs/digits; `bench run --retry-failed` runs"),
        (["logs", "0123"], "there are no cells in {here}/runs/digits"),
        (["cancel", "zzzz"], 'there is no cell "zzzz"; see `bench status --why`'),
        (["data", "mnits"], 'did you mean "mnist"?'),
        (["report", "--grid", "cifar10"], "there is no run store runs/cifar10"),
        (["report", "--set", "train.epochs=1"], "--set train.epochs=1 is said of a grid; add --grid NAME"),
        (["run", "--strategy", "NORMAl"], 'did you mean "normal"?'),
        (
            ["run", "--dry-run", "--timeout", "nan"],
            "--timeout nan is not allowed; it must be a number above 0, at most",
        ),
        (["run", "--dry-run", "--memory", "nan"], "--memory nan is not allowed; it must be a number above 0, at most"),
        (["report", "--all-settings"], "--all-settings is said of a grid; add --grid NAME"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(shell: Shell, arguments: list[str], message: str) -> None:
    code, out, err = shell(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message.replace("{here}", str(shell.folder)) in err
    assert err.count("\n") == 1


def test_debug_shows_where_a_mistake_was_found(shell: Shell) -> None:
    code, _, err = shell("status", "--grid", "dgits", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert 'error: unknown grid "dgits"' in err


def test_data_that_cannot_be_had_is_told_before_anything_runs(shell: Shell) -> None:
    shell.grid("ok")
    code, _, err = shell("run", "--grid", "fakes.toml", "--set", "dataset.points.gone=true")
    assert code == 2
    sentence = f"error: data set 'points': the points are not in {shell.folder}; put them there\n"
    assert err == sentence
    assert shell.records() == []


def test_a_store_that_cannot_be_written_is_one_sentence_and_exit_code_1(shell: Shell) -> None:
    shell.grid("ok")
    (shell.folder / "file").touch()
    code, out, err = shell("run", "--grid", "fakes.toml", "--store", "file/store")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: the run store {shell.folder}/file/store cannot be written (Not a directory: ")
    assert err.count("\n") == 1


def test_output_that_nobody_reads_is_no_error(shell: Shell) -> None:
    with shell.start("list", "--verbose") as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        assert "Traceback" not in process.stderr.read()


# ---------------------------------------------------------------- running


def test_a_sweep_from_the_plan_to_the_table(shell: Shell) -> None:
    shell.grid("ok", "raise", "flaky", "diverge")
    code, out, _ = shell("run", "--grid", "fakes.toml", "--dry-run")
    assert code == 0
    assert out.splitlines()[0] == "run       points actor[how=ok] seed 0  (never ran)"
    assert out.splitlines()[-1] == f"4 cells of 4 would run; store: {shell.folder}/runs/fakes"
    assert not (shell.folder / "runs").exists()

    code, out, err = shell("run", "--grid", "fakes.toml", "--jobs", "2", "--retries", "0")
    assert code == 1  # for cells failed
    assert "actor[how=ok]" in out  # the table
    lines = err.splitlines()
    assert lines[0] == "4 cells of 4 to run, 2 at a time"
    assert any("/4] ok       points actor[how=ok] seed 0 (" in line for line in lines)
    assert any(
        f"ValueError: a mistake in the plugin; its output: {shell.folder}/runs/fakes/cells/" in line for line in lines
    )
    assert lines[-2] == "4 cells: 1 ok, 1 diverged, 1 crashed, 1 error"
    assert lines[-1] == (
        "2 cells failed (1 crashed, 1 error); to run them again: "
        "bench run --grid fakes.toml --jobs 2 --retries 0 --retry-failed"
    )
    assert "\x1b" not in out + err

    before = {path: path.stat().st_mtime_ns for path in shell.records()}
    code, out, err = shell("run", "--grid", "fakes.toml")
    assert code == 1
    table = shell.folder / "runs" / "fakes" / "report" / "table.md"
    assert out == f"no cell is left to run; the store's table is in {table}, and `bench report` prints it\n"
    assert err.splitlines()[0] == "4 cells: 1 ok, 1 diverged, 1 crashed, 1 error"
    assert {path: path.stat().st_mtime_ns for path in shell.records()} == before

    code, _, err = shell("run", "--grid", "fakes.toml", "--retry-failed")
    assert err.splitlines()[0] == "2 cells of 4 to run, 2 at a time"
    assert "4 cells: 2 ok, 1 diverged, 1 error" in err
    assert len(shell.records("record-*.attempt-1.json")) == 2

    victim = shell.records()[0]
    whole = victim.read_text()
    victim.write_text(whole[:100])
    _, out, _ = shell("status", "--grid", "fakes.toml", "--why")
    assert f"missing: corrupt record {victim.name}: it is cut short or altered" in out
    victim.write_text(whole)

    # the strategy's file changes: its cells run again, and status says why; a comment changes nothing
    file = shell.plugins / "strategies" / "actor.py"
    file.write_text(file.read_text() + "\n# a comment\n")
    assert json.loads(shell("status", "--grid", "fakes.toml", "--json")[1])["counts"]["ok"] == 2
    file.write_text(file.read_text() + "\nCONSTANT = 1\n")
    code, out, _ = shell("status", "--grid", "fakes.toml", "--why")
    assert code == 0
    assert out.count("missing: the code of one of its plugins changed since the record of ") == 4


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_sweep_says_how_to_go_on(shell: Shell, number: signal.Signals, expected: int) -> None:
    shell.grid("long", seeds=4, seconds=1.5)
    with shell.start("run", "--grid", "fakes.toml", "--jobs", "2") as process:
        wait_for(lambda: len(list((shell.folder / "runs/fakes/cells").glob("*/*/step"))) == 2)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: the workers get it too
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == expected
    assert out == ""
    assert "stopping: 2 running cells will save a checkpoint first (Ctrl-C again kills)\n" in err
    assert err.endswith("stopped; 4 cells: 4 missing; to go on: bench run --grid fakes.toml --jobs 2\n")
    assert "Traceback" not in err
    assert shell.records() == []


def test_a_sweep_whose_terminal_is_gone_saves_checkpoints_and_goes_on_though_nobody_reads_it(shell: Shell) -> None:
    shell.grid("walk", seeds=2, seconds=4.0)  # no end is near, however late one of them begins
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the tests, too, would ignore it
    with shell.start("run", "--grid", "fakes.toml", "--jobs", "2") as process:
        assert process.stdout
        assert process.stderr
        wait_for(lambda: len(list((shell.folder / "runs/fakes/cells").glob("*/*/step"))) == 2)
        process.stdout.close()
        process.stderr.close()
        os.killpg(process.pid, signal.SIGHUP)
        assert process.wait(timeout=60) == 128 + signal.SIGHUP
    assert shell.records() == []
    attempts = [json.loads(path.read_bytes())["how"] for path in shell.folder.glob("runs/fakes/cells/*/attempt-1.json")]
    assert attempts == ["stopped"] * 2

    again = f"{sys.executable} -m bench run --grid fakes.toml --jobs 2 2>&1 | head -1; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", again], cwd=shell.folder, env=shell.environment, text=True, capture_output=True, timeout=60
    )
    assert ended.stdout == "2 cells of 2 to run, 2 at a time\n0\n"
    records = [json.loads(path.read_bytes()) for path in shell.records()]
    assert [record["status"] for record in records] == ["ok"] * 2
    assert all(0 < record["stability"]["resumed_at"] < 100 for record in records)


def test_a_sweep_whose_parent_is_killed_goes_on_where_it_was(shell: Shell) -> None:
    shell.grid("long", seeds=3, seconds=0.8)

    def begun() -> list[Path]:
        return list((shell.folder / "runs/fakes/cells").glob("*/attempt*"))

    with shell.start("run", "--grid", "fakes.toml", "--jobs", "2") as process:
        # one cell has ended, and the last one has begun: it is in a process of its own
        wait_for(lambda: bool(shell.records()) and len({path.parent for path in begun()}) == 3)
        process.kill()
        process.communicate()
    kept = {path: path.read_bytes() for path in shell.records()}
    assert 1 <= len(kept) < 3
    assert all(json.loads(content)["status"] == "ok" for content in kept.values())

    code, _, _ = shell("run", "--grid", "fakes.toml", "--jobs", "2")
    assert code == 0
    assert len(shell.records()) == 3
    assert all(path.read_bytes() == content for path, content in kept.items())
    later = [json.loads(path.read_text()) for path in shell.records() if path not in kept]
    assert any(record["attempt"] == 2 for record in later)


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
