"""`bench new` and `bench check`, in processes of their own; and where the suite stands in the house."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.contracts import check
from bench.contracts.attempts import apart
from bench.plugins import Registry

ROOT = Path(__file__).resolve().parents[2]


def bench(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run `bench` in a folder and return exit code, output and errors."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        check=False,
        timeout=240,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_new_plugin_is_written_and_checked_a_line_a_contract(tmp_path: Path) -> None:
    code, out, err = bench(tmp_path, "new", "dataset", "my-ring", "--plugins", "mine")
    assert (code, err) == (0, "")
    assert out.startswith(f"wrote {tmp_path}/mine/datasets/my_ring.py; to check it")
    file = tmp_path / "mine" / "datasets" / "my_ring.py"
    file.write_text(file.read_text().replace("default_rng(0)", "default_rng()"))
    code, out, err = bench(tmp_path, "check", "my-ring", "--plugins", "mine")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == f"my-ring, a data set in {file}"
    names = (
        "options",
        "declarations",
        "splits",
        "digest",
        "validation",
        "prepare",
        "values",
        "fixed",
        "likelihood",
        "training",
        "capture",
    )
    words = {"digest": "fail", "validation": "not checked", "likelihood": "not checked", "capture": "not checked"}
    assert [line[:29].rsplit(maxsplit=1) for line in lines[1:]] == [[f"  {words.get(n, 'pass')}", n] for n in names]
    assert "its arrays differ from one process to the next; draw them from a generator with its own seed" in lines[4]


@pytest.mark.parametrize("name", [pytest.param("flow", marks=pytest.mark.slow), "latent-mixture"])
def test_a_new_strategy_starts_from_a_built_in_one_and_keeps_the_contracts(name: str, tmp_path: Path) -> None:
    code, _, err = bench(tmp_path, "new", "strategy", "my-idea", "--like", name)
    assert (code, err) == (0, "")
    source = (ROOT / "strategies" / f"{name.replace('-', '_')}.py").read_text()
    written = (tmp_path / "strategies" / "my_idea.py").read_text()
    assert written == source.replace(f"class {''.join(map(str.capitalize, name.split('-')))}(", "class MyIdea(")
    verdicts = list(check(Registry([tmp_path]).find("strategy", "my-idea"), data=tmp_path))
    assert {verdict.status for verdict in verdicts} == {"pass"}


def test_a_file_that_does_not_load_breaks_a_contract(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import nowhere")
    code, out, err = bench(tmp_path, "check", "mine.py", "--json")
    assert (code, err) == (1, "")
    (row,) = json.loads(out)
    assert (row["contract"], row["status"]) == ("loads", "fail")
    assert "ModuleNotFoundError: No module named 'nowhere' (line 1)" in row["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "norml"], 'unknown strategy or data set or network or energy "norml"; did you mean "normal"?'),
        (["check", "gone.py"], "the plugin file gone.py does not exist"),
        (["check", "normal", "--set", "lr"], "--set lr: write KEY=VALUE"),
        (["check"], "missing argument 'NAME|FILE'; see `bench check --help`"),
        (["new", "stratgy", "x"], "is not one of 'strategy', 'dataset', 'network', 'energy'; see `bench new --help`"),
        (["new", "strategy", "x", "--like", "norml"], 'no built-in strategy is called "norml"; did you mean "normal"?'),
        (["new", "strategy", "normal"], 'the strategy name "normal" is claimed by'),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    code, out, err = bench(tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_writing_an_example_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.contracts import write; write('strategy', 'x', Path());"
        "assert not {'torch', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_the_command_line_and_the_face_alone_import_the_suite() -> None:
    files = [file for folder in ("bench", "strategies", "datasets") for file in (ROOT / folder).rglob("*.py")]
    suite = re.compile(r"bench\.contracts|from bench import .*\bcontracts\b")
    importing = {file.relative_to(ROOT).as_posix() for file in files if suite.search(file.read_text())}
    outside = {name for name in importing if not name.startswith("bench/contracts/")}
    assert outside == {"bench/face/places.py", "bench/verbs/plugins.py"}


# ---------------------------------------------------------------- plugins that print, or leave


def test_what_a_plugin_prints_at_import_is_no_part_of_an_answer(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "loud.py").write_text("print('hello')\n")
    code, out, err = bench(tmp_path, "list", "--json", "--plugins", ".")
    assert (code, err) == (0, "hello\n")
    assert "loud" in [plugin["name"] for plugin in json.loads(out)["strategies"]]
    code, out, err = bench(tmp_path, "check", "--json", "strategies/loud.py")
    assert (code, [row["status"] for row in json.loads(out)]) == (1, ["fail"])
    assert "hello\n" in err


@pytest.mark.parametrize(
    "line",
    [
        "import os; os.fork()",
        "import sys; sys.setrecursionlimit(50)",
        "import threading, time; threading.Thread(target=time.sleep, args=(100,)).start()",
    ],
)
def test_what_a_plugin_does_at_import_neither_doubles_nor_cuts_nor_delays_an_answer(tmp_path: Path, line: str) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "odd.py").write_text(f"{line}\n")
    start = time.monotonic()
    code, out, err = bench(tmp_path, "list", "--plugins", ".")
    assert (code, err, out.count("strategies\n")) == (0, "", 1)
    assert time.monotonic() - start < 95


def _of_one_file() -> bool:
    return os.path.sameopenfile(1, 2)


def test_what_a_plugin_prints_in_a_process_of_its_own_goes_where_errors_go() -> None:
    assert apart(_of_one_file, file=Path(), limit=120)
