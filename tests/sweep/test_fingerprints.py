"""A fingerprint changes when a result can change, and only then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bench
from bench.places import user_folder
from bench.plugins import Kind, Plugin, PluginError, Registry
from bench.sweep.fingerprints import EQUAL, Fingerprints, _equal, fingerprints, same_numbers

# a bench in miniature; the paths are those of modules
PACKAGE = (
    *("__init__", "protocol/__init__", "streams", "files", "grid", "plugins/registry", "sweep/store", "report/tables"),
    *("strategy/general", "data/base", "priors/__init__", "energies/densities/grbm", "vae/__init__", "samplers/chains"),
    *("training/loop", "objectives/bound", "estimators/ais"),
    *("networks/__init__", "networks/mlp", "energies/__init__", "energies/grbm"),
)
STRATEGY = '''
"""A strategy."""

from bench import priors  # lazily
from bench.strategy import Strategy


class Toy(Strategy):
    """A docstring."""

    rate: float = 1e-3
    """An attribute's."""

    def objective(self):
        """Only a docstring."""
'''
DATASET = "from bench.data import Dataset\nclass Points(Dataset):\n    count = 1\n"

Prints = Callable[[], Fingerprints]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the package and two plugins; this user's cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("bench.sweep.fingerprints._rooms", {})
    for name in PACKAGE:
        file = tmp_path / "bench" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("class Here: ...\n")
    (tmp_path / "toy.py").write_text(STRATEGY)
    (tmp_path / "points.py").write_text(DATASET)
    return tmp_path


@pytest.fixture
def prints(home: Path) -> Prints:
    def plugin(kind: Kind, name: str) -> Plugin:
        return Plugin(kind, name, "here", home / f"{name}.py")

    return lambda: fingerprints((plugin("strategy", "toy"), plugin("dataset", "points")), home / "bench")


def changed(before: Fingerprints, after: Fingerprints) -> set[str]:
    return {name for name in ("plugin", "fit", "evaluate") if getattr(before, name) != getattr(after, name)}


def test_fingerprints_are_sha256_and_the_same_every_time(prints: Prints) -> None:
    first = prints()
    assert first == prints()
    assert {len(first.plugin), len(first.fit), len(first.evaluate)} == {64}
    assert len({first.plugin, first.fit, first.evaluate}) == 3


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("protocol/__init__", set()),  # computes nothing; its settings stand in a cell's request
        ("data/downloads", set()),  # what was read has a digest in the record
        ("streams", {"fit", "evaluate"}),
        ("strategy/general", {"fit", "evaluate"}),
        ("data/base", {"fit", "evaluate"}),
        ("priors/__init__", {"fit", "evaluate"}),
        ("energies/densities/grbm", {"fit", "evaluate"}),
        ("networks/__init__", {"fit", "evaluate"}),  # what kinds of networks and energies share
        ("energies/__init__", {"fit", "evaluate"}),
        ("networks/mlp", set()),  # a kind is a plugin, of the cells alone that use it
        ("energies/grbm", set()),
        ("vae/__init__", {"fit", "evaluate"}),
        ("samplers/chains", {"fit", "evaluate"}),
        ("training/loop", {"fit"}),
        ("objectives/bound", {"fit"}),
        ("estimators/ais", {"evaluate"}),
        ("files", set()),  # how a file is written changes no result
        ("grid", set()),  # of the operations wing
        ("plugins/registry", set()),
        ("sweep/store", set()),
        ("report/tables", set()),
        ("__init__", set()),  # a new version alone changes no result
    ],
)
def test_a_module_counts_by_the_room_it_lies_in(home: Path, prints: Prints, module: str, expected: set[str]) -> None:
    before = prints()
    with (home / "bench" / f"{module}.py").open("a") as file:
        file.write("\nedited = True\n")
    assert changed(before, prints()) == expected


@pytest.mark.parametrize("plugin", ["toy", "points"])
def test_an_edit_of_a_plugin_changes_the_plugin_s_fingerprint_alone(home: Path, prints: Prints, plugin: str) -> None:
    before = prints()
    with (home / f"{plugin}.py").open("a") as file:
        file.write("\nedited = True\n")
    assert changed(before, prints()) == {"plugin"}


def test_of_two_plugins_of_a_kind_either_counts(home: Path) -> None:
    """As of the encoder and the decoder of a cell, which are networks both."""
    for name in ("encoder", "decoder"):
        (home / f"{name}.py").write_text(f"here = {name!r}\n")

    def now(*names: str) -> Fingerprints:
        return fingerprints([Plugin("network", name, "here", home / f"{name}.py") for name in names], home / "bench")

    before = now("encoder", "decoder")
    assert changed(before, now("decoder", "encoder")) == {"plugin"}, "which of them is which"
    for name in ("encoder", "decoder"):
        file = home / f"{name}.py"
        original = file.read_text()
        file.write_text(f"{original}edited = True\n")
        assert changed(before, now("encoder", "decoder")) == {"plugin"}, name
        file.write_text(original)


def test_a_kept_fingerprint_that_was_altered_is_made_anew(prints: Prints, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prints()
    kept = [file for file in (user_folder("cache") / "rooms").iterdir() if file.is_file()]
    monkeypatch.setattr("bench.sweep.fingerprints._rooms", {})  # as in another process
    for file in kept:
        file.write_text("0" * 64 + file.read_text()[64:])
    assert prints() == first
    assert len(kept) == 2, "of training and of scoring"


def test_comments_docstrings_layout_and_the_place_of_files_change_nothing(home: Path, prints: Prints) -> None:
    before = prints()
    for word in ("A docstring", "An attribute's", "Only a docstring", "A strategy"):
        text = (home / "toy.py").read_text()
        assert word in text
        (home / "toy.py").write_text(text.replace(word, f"{word} says more"))
    (home / "toy.py").write_text((home / "toy.py").read_text().replace("# lazily", "# at once") + "\n\n# the end\n")
    (home / "bench" / "vae" / "__init__.py").write_text('"""New."""\nclass Here:\n    # why\n    ...\n')
    (home / "points.py").write_text(DATASET.replace("count = 1", "count = (1)"))
    assert changed(before, prints()) == set()
    strategy = Plugin("strategy", "other", "there", Path(shutil.move(home / "toy.py", home / "other.py")))
    dataset = Plugin("dataset", "others", "there", Path(shutil.move(home / "points.py", home / "others.py")))
    assert fingerprints((strategy, dataset), home / "bench") == before


def test_a_docstring_that_was_the_whole_body_may_go_but_other_texts_count(home: Path, prints: Prints) -> None:
    before = prints()
    text = (home / "toy.py").read_text()
    (home / "toy.py").write_text(text.replace('"""Only a docstring."""', "pass"))
    assert changed(before, prints()) == set()
    (home / "toy.py").write_text(text.replace('"""Only a docstring."""', 'return "text"'))
    assert changed(before, prints()) == {"plugin"}


def test_a_module_that_is_new_or_moves_counts(home: Path, prints: Prints) -> None:
    before = prints()
    shutil.move(home / "bench/energies/densities/grbm.py", home / "bench/energies/densities/machine.py")
    moved = prints()
    assert changed(before, moved) == {"fit", "evaluate"}
    (home / "bench" / "estimators" / "deep").mkdir()
    (home / "bench" / "estimators" / "deep" / "new.py").write_text("x = 1")
    assert changed(moved, prints()) == {"evaluate"}


def test_every_module_of_an_installed_plugin_s_package_counts(home: Path) -> None:
    package = home / "site" / "vendor"
    for name in ("__init__", "idea", "numbers", "deep/__init__", "deep/more"):
        (package / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text(f"here = {name!r}\n")
    (package.parent / "neighbour.py").write_text("x = 1")

    def now(target: str = "vendor.deep.more:Idea") -> Fingerprints:
        offered = Plugin("strategy", "idea", "entry point vendor", package / "deep" / "more.py", target)
        return fingerprints((offered, Plugin("dataset", "points", "here", home / "points.py")), home / "bench")

    before, alone = now(), now(target="")
    for name in ("__init__", "idea", "numbers", "deep/more"):
        file = package / f"{name}.py"
        original = file.read_text()
        file.write_text(f"{original}# a comment\n")
        assert changed(before, now()) == set(), name
        file.write_text(f"{original}edited = True\n")
        assert changed(before, now()) == {"plugin"}, name
        assert changed(alone, now(target="")) == ({"plugin"} if name == "deep/more" else set()), "a plain file is alone"
        file.write_text(original)
    (package.parent / "neighbour.py").write_text("x = 2")
    assert changed(before, now()) == set()


def test_a_plugin_that_cannot_be_parsed_is_an_error_with_its_file(home: Path, prints: Prints) -> None:
    (home / "toy.py").write_text("x = (")
    with pytest.raises(PluginError, match=r"toy\.py cannot be read: SyntaxError: '\(' was never closed"):
        prints()
    (home / "toy.py").unlink()
    with pytest.raises(PluginError, match=r"toy\.py cannot be read: FileNotFoundError"):
        prints()


def test_the_real_harness_is_covered(tmp_path: Path) -> None:
    package = tmp_path / "bench"
    shutil.copytree(Path(bench.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    registry = Registry()
    strategy, dataset = registry.find("strategy", "sliced-score-matching"), registry.find("dataset", "digits")
    pair = (strategy, dataset)
    before = fingerprints(pair, package)
    assert before == fingerprints(pair), "the default is the package that runs"
    both = {"fit", "evaluate"}
    for module, expected in {
        "protocol/budget": set(),
        "data/downloads": set(),
        "data/base": both,
        "strategy/general": both,
        "networks/modules/dense": both,
        "energies/densities/grbm": both,
        "training/loop": {"fit"},
        "streams": {"fit", "evaluate"},
        "objectives/losses": {"fit"},
        "estimators/ais": {"evaluate"},
        "grid": set(),
        "sweep/store": set(),
        "cli": set(),
        "verbs/sweeps": set(),
    }.items():
        file = package / f"{module}.py"
        original = file.read_text()
        file.write_text(f"{original}\n# a comment\n")
        assert changed(before, fingerprints(pair, package)) == set(), module
        file.write_text(f"{original}\nedited = True\n")
        assert changed(before, fingerprints(pair, package)) == expected, module
        file.write_text(original)


def test_fingerprints_are_the_same_in_every_process() -> None:
    code = (
        "from bench.plugins import Registry; from bench.sweep.fingerprints import fingerprints\n"
        "r = Registry(); print(fingerprints((r.find('strategy', 'normal'), r.find('dataset', 'digits'))))\n"
        "import sys; assert 'torch' not in sys.modules"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, folder in (("1", "/"), ("2", "/tmp"))
    }
    assert len(outputs) == 1


A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


@pytest.fixture
def equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Writes entries of `equal.toml`, of pairs of fingerprints."""
    monkeypatch.setattr("bench.sweep.fingerprints.EQUAL", tmp_path / "equal.toml")

    def write(*pairs: tuple[str, str]) -> None:
        entries = [f"[[change]]\nfit = {list(pair)}\nevaluate = ['{D}', '{D}']\nshown = ''\n" for pair in pairs]
        (tmp_path / "equal.toml").write_text("\n".join(entries))
        _equal.cache_clear()

    yield write
    _equal.cache_clear()


def test_a_change_that_was_shown_to_leave_every_number_is_none(equal: Callable[..., None]) -> None:
    then, now = Fingerprints("p", A, D), Fingerprints("p", B, D)
    equal()
    assert then.changed(now) == ["fit"]
    equal((A, B))
    assert then.changed(now) == []
    assert now.changed(then) == []
    assert then.changed(now, equal=False) == ["fit"]
    assert then.changed(Fingerprints("q", C, D)) == ["plugin", "fit"]


@pytest.mark.parametrize("pairs", [[(A, B), (B, C)], [(B, C), (A, B)], [(A, B), (B, A), (C, A)]])
def test_changes_that_leave_every_number_follow_one_another(
    equal: Callable[..., None], pairs: list[tuple[str, str]]
) -> None:
    equal(*pairs)
    assert len({same_numbers(one) for one in (A, B, C)}) == 1
    assert Fingerprints("p", A, D).changed(Fingerprints("p", C, D)) == []
    assert same_numbers(D) == D


def test_what_is_said_to_give_the_same_numbers_is_said_of_whole_fingerprints_and_how() -> None:
    for change in tomllib.loads(EQUAL.read_text()).get("change", ()):
        assert change.keys() == {"fit", "evaluate", "shown"}
        assert change["shown"]
        marks = [*change["fit"], *change["evaluate"]]
        assert [len(mark) for mark in marks] == [64] * 4
        assert set("".join(marks)) <= set("0123456789abcdef")
