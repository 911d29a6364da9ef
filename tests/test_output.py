"""A terminal, pipe or disk that refuses what is printed ends no command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRINT = """
import sys
from unittest import mock
import click
from bench import cli

@click.command()
def show():
    for _ in range(2000):
        click.echo("Äpfel \\u2192 \\U0001f34e \\udcff end")
    open("done", "w").write("all")
    sys.stderr.write("said \\u2192\\n")

with mock.patch.object(cli.bench, "get_command", lambda context, name: show), mock.patch.dict(cli.VERBS, show=("", "")):
    sys.argv = ["bench", "show"]
    cli.main()
"""


def shown(tmp_path: Path, *, shell: str = "", encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    (tmp_path / "show.py").write_text(PRINT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    command = f'"{sys.executable}" show.py {shell}'
    return subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, timeout=60)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
def test_signs_that_an_encoding_lacks_are_replaced(tmp_path: Path, encoding: str) -> None:
    ended = shown(tmp_path, encoding=encoding)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(b" end\n") == 2000
    assert b"\xc3\x84pfel" in ended.stdout if encoding == "utf-8" else b"pfel ? ?" in ended.stdout


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("| head -1", 0, ""),
        (">&-", 0, ""),
        ("2>&-", 0, None),
        (">&- 2>&- <&-", 0, None),
        ("> /dev/full", 1, "error: the output could not be printed (No space left on device)"),
        ("2> /dev/full", 0, None),
    ],
)
def test_output_that_cannot_be_written_is_lost_alone(tmp_path: Path, shell: str, code: int, said: str | None) -> None:
    ended = shown(tmp_path, shell=shell)
    assert (tmp_path / "done").read_text() == "all"
    assert b"Traceback" not in ended.stderr
    if "|" not in shell:
        assert ended.returncode == code
    if said is not None:
        assert said in ended.stderr.decode()


def test_a_file_that_is_opened_does_not_take_the_place_of_a_closed_output(tmp_path: Path) -> None:
    shown(tmp_path, shell=">&- 2>&-")
    assert (tmp_path / "done").read_text() == "all"


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "signal.py").write_text("open('executed', 'w')\nraise SystemExit(3)\n")
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if p]; import os, multiprocessing;"
        f"os.chdir({str(tmp_path)!r});"
        "from bench.sweep.processes import starting;"
        "p = starting().Process(target=print); p.start(); p.join(); print(p.exitcode)"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, timeout=100)
    assert not (tmp_path / "executed").exists(), ended.stderr.decode()
    assert ended.stdout.split() == [b"0"]
