"""What the documents say can be typed, can be typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from bench import cli, contracts, grid
from bench.contracts import datasets, energies, networks, strategies
from bench.plugins import Kind, Registry

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}
COMMANDS = [
    shlex.split(line, comments=True)
    for text in DOCUMENTS.values()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "bench"], ids=shlex.join)
def test_every_bench_command_parses(words: list[str]) -> None:
    verb = cli.bench.commands[words[1]]
    verb.make_context(words[1], words[2:])  # raises what the command line would print


def test_the_grid_that_is_shown_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", DOCUMENTS["README.md"], re.DOTALL)
    (tmp_path / "shown.toml").write_text(text)
    shown = grid.load(str(tmp_path / "shown.toml"), Registry())
    assert len(shown.cells) == 3 * (1 + 2 * 2)


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for text in DOCUMENTS.values()
        for words in re.findall(r"^make ([\w -]+)|`(?:\w+=\w+ )?make ([\w -]+)`", text, re.MULTILINE)
        for target in " ".join(words).split()
    }
    assert named >= {"run", "test", "test-slow"}
    assert named <= targets


def test_every_file_that_is_named_exists() -> None:
    file = re.compile(r"(?:^|`)((?:bench|datasets|strategies|results|tests|\.ci)/[\w./-]*)", re.MULTILINE)
    named = {word for text in DOCUMENTS.values() for word in file.findall(text)}
    assert len(named) > 10
    assert [word for word in sorted(named) if not (ROOT / word).exists()] == []


SUITES: tuple[ModuleType, ...] = (strategies, datasets, networks, energies)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder in which the plugins of CONTRIBUTING have been written by the commands that it gives."""
    new = [words for words in COMMANDS if words[:2] == ["bench", "new"]]
    assert len(new) == 4
    for words in new:
        assert words[4:] == ["--plugins", "mine"]
        contracts.write(cast(Kind, words[2]), words[3], tmp_path / "mine")
    return tmp_path


def test_the_strategy_that_is_shown_is_what_is_written(mine: Path) -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", DOCUMENTS["CONTRIBUTING.md"], re.DOTALL)
    assert (mine / "mine" / "strategies" / "many_projections.py").read_text() == shown


def test_the_contracts_that_are_named_are_those_of_the_suite() -> None:
    named = re.findall(
        r"^\| ([a-z-]+) \| [a-z`]", DOCUMENTS["CONTRIBUTING.md"].partition("### Contracts")[2], re.MULTILINE
    )
    checked = [contract.name for suite in SUITES for contract in suite.CONTRACTS]
    assert named == checked


def test_the_plugins_and_the_grid_that_are_shown_train_and_score(mine: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", DOCUMENTS["CONTRIBUTING.md"], re.DOTALL)
    (mine / "ring.toml").write_text(text)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench", "run", "--grid", "ring.toml", "--plugins", "mine"),
            *("--strategy", "normal", "--strategy", "many-projections"),
            *("--set", "train.epochs=1", "--set", "evaluate.images=20", "--set", "evaluate.importance_samples=5"),
        ],
        cwd=mine,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "many-projections" in done.stdout
    assert "2 ok" in done.stderr
