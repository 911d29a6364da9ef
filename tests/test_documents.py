"""What the documents say can be typed, can be typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import cast

import click
import pytest

import bench
import bench.grid as grids
from bench import cli, contracts
from bench.contracts import datasets, energies, networks, strategies
from bench.plugins import Kind, Registry
from bench.profile import Profile, Slurm
from bench.sweep.requests import Request
from bench.tuning.orders import Tuning

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/use.md"),
    *(f"{folder}/README.md" for folder in ("strategies", "datasets", "results")),
]
DOCUMENTS = {name: (ROOT / name).read_text() for name in PAGES}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def blocks(name: str, language: str) -> list[str]:
    """Return the code blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENTS[name], re.DOTALL | re.MULTILINE)


def prose(name: str) -> str:
    """Return a document without its code blocks."""
    return re.sub(r"^```.*?^```", "", DOCUMENTS[name], flags=re.DOTALL | re.MULTILINE)


COMMANDS = [
    shlex.split(line, comments=True)
    for name in DOCUMENTS
    for block in blocks(name, "sh")
    for line in block.splitlines()
    if line.strip()
]
# commands within a sentence, in which a word in capitals stands for what the reader chooses
MENTIONS = sorted({mention for name in DOCUMENTS for mention in re.findall(r"`bench( [^`]+)`", prose(name))})


def verb_of(name: str) -> click.Command:
    verb = cli.bench.get_command(click.Context(cli.bench), name)
    assert verb is not None, f"there is no verb {name!r}"
    return verb


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "bench"], ids=shlex.join)
def test_every_bench_command_parses(words: list[str]) -> None:
    verb = verb_of(words[1])
    verb.make_context(words[1], words[2:])  # raises what the command line would print


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if words[:2] == ["bench", "tune"]], ids=lambda words: shlex.join(words)
)
def test_every_grid_that_is_tuned_can_be_tuned(words: list[str]) -> None:
    asked = verb_of("tune").make_context("tune", words[2:]).params
    request = Request(asked["grid"], asked["settings"], asked["strategies"])
    assert Tuning(request, asked["metric"]).rows


@pytest.mark.parametrize("mention", MENTIONS, ids=str.strip)
def test_every_bench_command_within_a_sentence_has_that_verb_and_those_options(mention: str) -> None:
    name, *words = shlex.split(mention)
    if name == "VERB":
        return
    verb = verb_of(name)
    options = {option for parameter in verb.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("-")} <= options
    if words and not re.search(r"\b[A-Z]+\b", mention):
        verb.make_context(name, words)


def test_the_toml_that_is_shown_is_valid(tmp_path: Path) -> None:
    cells: dict[str, list[int]] = {}
    profiles = []
    for name in set(DOCUMENTS) - {"CONTRIBUTING.md"}:  # whose grid is of a plugin that it shows, and is run below
        for text in blocks(name, "toml"):
            if "[[dataset]]" in text:
                (tmp_path / "shown.toml").write_text(text)
                cells.setdefault(name, []).append(len(grids.load(str(tmp_path / "shown.toml"), Registry()).cells))
            else:
                profiles.append(tomllib.loads(text))
    assert cells == {"docs/use.md": [3 * (1 + 2 * 2)]}
    (profile,) = profiles
    shown = Profile.model_validate(profile)
    assert shown.model_fields_set == Profile.model_fields.keys()
    assert shown.slurm.model_fields_set == Slurm.model_fields.keys()


def test_the_front_page_is_short() -> None:
    assert len(DOCUMENTS["README.md"].splitlines()) <= 150


def test_the_python_that_is_shown_is_python() -> None:
    (text,) = blocks("README.md", "python")
    compile(text, "README.md", "exec")


@pytest.mark.skipif(not hasattr(bench, "run"), reason="bench has no interface in Python")
def test_the_python_that_is_shown_runs(tmp_path: Path) -> None:
    (text,) = blocks("README.md", "python")
    quick = '"train.epochs": 1, "evaluate.images": 20, "evaluate.importance_samples": 5, "evaluate.ais_nll.images": 0, '
    quick += '"evaluate.ais_nll.simulated": 0'
    assert '"train.epochs": 3' in text
    text = text.replace("jobs=2", "jobs=1")  # most of the time goes into the start of a worker
    done = subprocess.run(
        [sys.executable, "-"],  # by standard input: there is no file that worker processes could run again
        input=text.replace('"train.epochs": 3', quick) + "print(images.shape, z.shape, again.shape)",
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "(64, 8, 8) (64, 16) (64, 8, 8)" in done.stdout
    assert "vampprior" in done.stdout


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
    file = re.compile(r"(?:^|`)((?:bench|datasets|docs|strategies|results|tests|\.ci)/[\w./-]*)", re.MULTILINE)
    named = {word for text in DOCUMENTS.values() for word in file.findall(text)}
    assert len(named) > 10
    assert [word for word in sorted(named) if not (ROOT / word).exists()] == []


def anchors(page: Path) -> set[str]:
    """Return what a link may name after `#`: each heading in lower case, `-` for blanks, without other marks."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_within_the_project_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        page = ((ROOT / name).parent / path) if path else ROOT / name
        assert page.is_file(), target
        assert not anchor or anchor in anchors(page), target


def rows(name: str, column: str) -> list[list[str]]:
    """Return the cells of each row of the tables whose first column has this title."""
    tables = re.findall(r"^((?:\|.*\n)+)", prose(name), re.MULTILINE)
    lines = [line for table in tables if table.startswith(f"| {column} |") for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize(("folder", "column"), [("strategies", "strategy"), ("datasets", "data set")])
def test_a_page_lists_every_member_of_its_folder(folder: str, column: str) -> None:
    files = {file.stem.replace("_", "-") for file in (ROOT / folder).glob("*.py")}
    assert {row[0].strip("`") for row in rows(f"{folder}/README.md", column)} == files


def test_the_sizes_of_images_are_those_that_their_data_sets_state() -> None:
    summaries = {data.name: data.summary for data in Registry().describe("dataset")}
    sizes = {row[0].strip("`"): row[2] for row in rows("datasets/README.md", "data set") if len(row) == 7}
    assert len(sizes) == 4
    for name, size in sizes.items():
        train, test = size.split(", ")
        assert f"{train} train, {test} test" in summaries[name]


def test_the_page_of_results_lists_every_file_once() -> None:
    files = {file.relative_to(ROOT).as_posix() for file in (ROOT / "results").iterdir() if file.name != "README.md"}
    listed = re.findall(r"`(results/[\w.-]+)`", DOCUMENTS["results/README.md"].partition("## The files")[2])
    assert len(listed) == len(set(listed))
    assert set(listed) == files


def test_changelog_and_citation_name_the_version() -> None:
    assert re.findall(r"^## (\S+)", DOCUMENTS["CHANGELOG.md"], re.MULTILINE)[:2] == ["Unreleased", VERSION]
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [VERSION]
    assert re.findall(r"^cff-version: (.*)$", citation, re.MULTILINE) == ["1.2.0"]
    assert "title: Variational Inference with Unnormalized Priors" in citation


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
    (shown,) = blocks("CONTRIBUTING.md", "python")
    assert (mine / "mine" / "strategies" / "many_projections.py").read_text() == shown


def test_the_contracts_that_are_named_are_those_of_the_suite() -> None:
    named = re.findall(
        r"^\| ([a-z-]+) \| [a-z`]", DOCUMENTS["CONTRIBUTING.md"].partition("### Contracts")[2], re.MULTILINE
    )
    checked = [contract.name for suite in SUITES for contract in suite.CONTRACTS]
    assert named == checked


def test_every_grid_that_runs_with_these_plugins_can_be_run(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = blocks("CONTRIBUTING.md", "toml")
    (mine / "ring.toml").write_text(text)
    monkeypatch.chdir(mine)
    asked = [
        verb_of("run").make_context("run", words[2:]).params for words in COMMANDS if words[:2] == ["bench", "run"]
    ]
    own = [params for params in asked if params["plugins"]]
    assert len(own) == 4
    for params in own:
        registry = Registry(params["plugins"])
        grid = grids.load(params["grid"], registry, settings=params["settings"], strategies=params["strategies"])
        assert any(plugin.origin != "built-in" for cell in grid.cells for plugin in cell.plugins)


def test_the_plugins_and_the_grid_that_are_shown_train_and_score(mine: Path) -> None:
    (text,) = blocks("CONTRIBUTING.md", "toml")
    (mine / "ring.toml").write_text(text)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench", "run", "--grid", "ring.toml", "--plugins", "mine"),
            *("--strategy", "normal", "--strategy", "many-projections"),
            *("--set", "train.epochs=1", "--set", "evaluate.images=20", "--set", "evaluate.importance_samples=5"),
            *("--set", "evaluate.ais_nll.images=0", "--set", "evaluate.ais_nll.simulated=0", "--jobs", "1"),
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
