"""What the documents say can be typed, can be typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli, grid
from bench.plugins import Registry

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}
COMMANDS = [
    shlex.split(line, comments=True)
    for text in DOCUMENTS.values()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
PLUGINS = dict(re.findall(r"`(mine/\S+\.py)`:\n\n```python\n(.*?)```", DOCUMENTS["CONTRIBUTING.md"], re.DOTALL))


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
    named = {
        word
        for text in DOCUMENTS.values()
        for word in re.findall(r"(?:^|`)((?:bench|datasets|strategies|results|tests|\.ci)/[\w./]*)", text, re.MULTILINE)
    }
    assert len(named) > 10
    assert [word for word in sorted(named) if not (ROOT / word).exists()] == []


def test_the_plugins_that_are_shown_train_and_score(tmp_path: Path) -> None:
    for name, source in PLUGINS.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(source)
    assert sorted(PLUGINS) == ["mine/datasets/stripes.py", "mine/strategies/many_projections.py"]
    (tmp_path / "shown.toml").write_text(
        """
        title = "the plugins that are shown"
        seeds = 1
        dataset = [{ name = "stripes" }]
        networks = { encoder = { hidden = [8] }, decoder = { hidden = [8] }, latent = 2 }
        train = { epochs = 1 }
        evaluate = { images = 20, importance_samples = 5 }
        strategy = [{ name = "many-projections", energy = { hidden = 2 } }]
        """
    )
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--grid", "shown.toml", "--plugins", "mine"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "many-projections" in done.stdout
    assert "1 ok" in done.stderr
