"""The command line, in processes of its own: what it prints, its exit codes, and what it does not import."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shell import Shell, wait_for

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
