"""Plugins are found where they should be, described without surprises, and never crash what looks at them."""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from bench.plugins import Plugin, PluginError, Registry
from bench.plugins.foreign import as_before
from bench.protocol import Settings, UserError
from tests.plugins.conftest import BARE, BODY, DATASET, NULL_BYTES, STRATEGY, Write, described, first

# ---------------------------------------------------------------- finding


def test_a_plugin_is_found_by_name_and_by_file(folder: Path, write: Write) -> None:
    file = write("my_toy", STRATEGY)
    (folder / "datasets" / "points.py").write_text(DATASET)
    (folder / "strategies" / "_shared.py").write_text("1 / 0")
    registry = Registry([folder])
    assert "my-toy" in registry.names("strategy")
    assert "points" in registry.names("dataset")
    assert "-shared" not in registry.names("strategy")
    assert registry.find("strategy", "my-toy") == Plugin("strategy", "my-toy", str(folder), file)
    assert registry.find("strategy", str(file)) == registry.find("strategy", "my-toy")


def test_a_file_outside_every_folder_is_known_by_its_name_once_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lone_wolf.py").write_text(STRATEGY)
    monkeypatch.chdir(tmp_path)
    registry = Registry()
    with pytest.raises(UserError, match=r'^unknown strategy "lone-wolf"; known: '):
        registry.find("strategy", "lone-wolf")  # the working directory is never searched
    plugin = registry.find("strategy", "lone_wolf.py")
    assert plugin.file == tmp_path / "lone_wolf.py"
    assert registry.find("strategy", "lone-wolf") == plugin


def test_a_working_directory_with_plugin_folders_is_not_searched(
    folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("stray", STRATEGY)
    monkeypatch.chdir(folder)
    assert "stray" not in Registry().names("strategy")


def test_an_unknown_name_comes_with_the_nearest(folder: Path, write: Write) -> None:
    write("vampire", BARE)
    with pytest.raises(UserError, match=r'^unknown strategy "vampyre"; did you mean "vampire"[?] known: .*vampire'):
        Registry([folder]).find("strategy", "vampyre")


def test_a_file_that_does_not_exist_is_said_so() -> None:
    with pytest.raises(UserError, match=r"^the data set file no/such.py does not exist$"):
        Registry().find("dataset", "no/such.py")


def test_a_file_must_be_python(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"notes\.txt is no Python file; its name must end in \.py$"):
        Registry().find("strategy", f"{tmp_path}/notes.txt")


def test_a_plugin_folder_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^the plugin folder {tmp_path}/none does not exist$"):
        Registry([tmp_path / "none"])
    with pytest.raises(
        UserError, match=f"^the plugin folder {tmp_path} holds none of strategies/, datasets/, networks/, energies/$"
    ):
        Registry([tmp_path])


@pytest.mark.parametrize("taken", ["normal", "sliced_score_matching"])
def test_a_name_claimed_by_a_built_in_and_a_folder_is_an_error_that_names_both_files(
    folder: Path, write: Write, taken: str
) -> None:
    file = write(taken, BARE)
    name = taken.replace("_", "-")
    built_in = Registry().find("strategy", name).file
    registry = Registry([folder])
    places = f"{built_in} (built-in) and by {file} ({folder})"
    expected = f'the strategy name "{name}" is claimed by {places}; rename one of the files'
    with pytest.raises(UserError) as raised:
        registry.find("strategy", name)
    assert str(raised.value) == expected
    errors = [each.error for each in registry.describe("strategy") if each.name == name]
    assert errors == [expected, expected]
    with pytest.raises(UserError, match=r"is claimed by"):
        Registry().find("strategy", str(file))
    assert registry.names("strategy").count(name) == 1


def test_two_spellings_of_one_name_are_a_conflict_and_others_are_untouched(folder: Path, write: Write) -> None:
    write("a_b", BARE), write("a-b", BARE), write("c", BARE)
    registry = Registry([folder])
    with pytest.raises(UserError, match=r'"a-b" is claimed by .*a-b.py .*a_b.py '):
        registry.find("strategy", "a-b")
    assert registry.find("strategy", "c").load().__name__ == "Bare"


def test_the_same_folder_given_twice_is_no_conflict(folder: Path, write: Write) -> None:
    write("toy", STRATEGY)
    (folder.parent / "link").symlink_to(folder)
    assert Registry([folder, folder.parent / "link"]).find("strategy", "toy").load().__name__ == "Toy"


# ---------------------------------------------------------------- entry points


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution with a package `elsewhere_pkg` that offers strategies."""
    site = tmp_path / "site"
    (site / "elsewhere_pkg").mkdir(parents=True)
    (site / "elsewhere_pkg" / "__init__.py").write_text("raise RuntimeError('listing must not import this')")
    (site / "elsewhere_pkg" / "toys.py").write_text(STRATEGY)
    (site / "elsewhere-1.dist-info").mkdir()
    (site / "elsewhere-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1\n")
    (site / "elsewhere-1.dist-info" / "entry_points.txt").write_text(
        "[bench.strategies]\nfar-toy = elsewhere_pkg.toys:Toy\nfar-module = elsewhere_pkg.toys\n"
        "lost = elsewhere_pkg.nowhere\n"
    )
    monkeypatch.syspath_prepend(str(site))
    for name in [name for name in sys.modules if name.startswith("elsewhere_pkg")]:
        monkeypatch.delitem(sys.modules, name)
    return site


def test_entry_points_are_found_with_their_file_and_without_an_import(site: Path) -> None:
    plugin = Registry().find("strategy", "far-toy")
    assert (plugin.origin, plugin.file) == ("entry point elsewhere", site / "elsewhere_pkg" / "toys.py")
    assert "elsewhere_pkg" not in sys.modules


@pytest.mark.parametrize("name", ["far-toy", "far-module"])
def test_an_entry_point_may_name_a_class_or_a_module(site: Path, name: str) -> None:
    (site / "elsewhere_pkg" / "__init__.py").write_text("")
    cls = Registry().find("strategy", name).load()
    assert (cls.__name__, cls.__module__, cls.name) == ("Toy", "elsewhere_pkg.toys", name)  # type: ignore[attr-defined]


def test_an_entry_point_that_does_not_import_is_a_described_error(site: Path) -> None:
    errors = {each.name: each.error for each in Registry().describe("strategy") if each.origin != "built-in"}
    assert "does not load: RuntimeError: listing must not import this" in errors["far-toy"]
    (site / "elsewhere_pkg" / "__init__.py").write_text("")
    errors = {each.name: each.error for each in Registry().describe("strategy") if each.origin != "built-in"}
    assert "does not load: ModuleNotFoundError: No module named 'elsewhere_pkg.nowhere'" in errors["lost"]


# ---------------------------------------------------------------- loading


def test_a_loaded_class_knows_its_name_and_its_module_is_importable_while_it_executes(
    folder: Path, write: Write
) -> None:
    write("toy", first("import sys\nassert sys.modules[__name__].__dict__ is globals()"))
    plugin = Registry([folder]).find("strategy", "toy")
    cls = plugin.load()
    assert cls.name == "toy"  # type: ignore[attr-defined]
    assert cls.__module__.startswith("bench_plugin.strategies.toy.")
    assert plugin.load() is cls, "an unchanged file is executed once"


def test_a_changed_file_is_executed_again(folder: Path, write: Write) -> None:
    write("toy", BARE)
    plugin = Registry([folder]).find("strategy", "toy")
    before = plugin.load()
    write("toy", BARE.replace("Bare", "Late"))  # as long as before, and within the clock's resolution
    assert (before.__name__, plugin.load().__name__) == ("Bare", "Late")


def test_a_registry_and_its_plugins_can_be_pickled(folder: Path, write: Write) -> None:
    write("toy", STRATEGY)
    registry = Registry([folder])
    registry.find("strategy", "toy").load()
    assert pickle.loads(pickle.dumps(registry)).find("strategy", "toy").load().__name__ == "Toy"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import math\nimport no_such_library", "ModuleNotFoundError: No module named 'no_such_library' (line 2)"),
        (
            "from . import beside",
            "ModuleNotFoundError: a plugin is one file, and imports nothing relative to itself (line 1)",
        ),
        ("x = 1\ny = (", "SyntaxError: '(' was never closed (line 2)"),
        ("\n\ndef f():\n    return 1 / 0\nf()", "ZeroDivisionError: division by zero (line 4)"),
        ("raise SystemExit('bye')", "SystemExit: bye (line 1)"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines (line 1)"),
        ("x = '\0'", f"{NULL_BYTES.__name__}: source code string cannot contain null bytes"),
        (
            "from pydantic import BaseModel\nclass A(BaseModel):\n    x: Nope = 1",
            "NameError: name 'Nope' is not defined (line 3)",
        ),
    ],
)
def test_a_file_that_does_not_import_is_one_line_with_type_message_and_line(
    folder: Path, write: Write, source: str, reason: str
) -> None:
    file = write("broken", source)
    write("fine", BARE)
    before = set(sys.modules)
    with pytest.raises(PluginError) as raised:
        Registry([folder]).find("strategy", "broken").load()
    assert str(raised.value) == f"{file} does not load: {reason}"
    assert described(folder, "broken").error == str(raised.value)
    assert described(folder, "fine").error == ""
    assert not [name for name in set(sys.modules) - before if name.startswith("bench_plugin.strategies.broken")]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = 1", " defines no strategy: a public class with fit and evaluate"),
        (
            "from bench.protocol import Settings\nclass A(Settings):\n    def fit(self): ...",
            " defines no strategy: a public class",
        ),
        (
            BARE + f"\nclass Other(Settings):{BODY}",
            " defines 2 public classes with fit and evaluate, not one: Bare, Other",
        ),
        (f"class A:{BODY}", ": A does not extend bench.strategy.Strategy"),
        (f"{BARE}    fit: int = 3", " defines no strategy: a public class with fit and evaluate"),
        (f"{BARE}class _Base(Bare): ...\n", None),
        (
            f"from bench.protocol import Settings\nclass _Base(Settings):{BODY}\nclass A(_Base):\n    fit: int = 3",
            ': the field "fit" of A shadows _Base.fit; rename it',
        ),
        (
            f"from bench.protocol import Settings\nclass A(Settings):\n    copy: int = 3{BODY}",
            ': the field "copy" of A shadows BaseModel.copy; rename it',
        ),
        (
            f"from bench.protocol import Settings\nclass A(Settings):\n    name: str = 'x'{BODY}",
            ': A has a field "name", which is the plugin\'s own name',
        ),
        (
            "from abc import abstractmethod\nfrom bench.protocol import Settings\nclass _Base(Settings):\n"
            "    @abstractmethod\n    def fit(self): ...\n    @abstractmethod\n    def evaluate(self): ...\n"
            "class A(_Base):\n    def fit(self): ...",
            ": A does not define evaluate",
        ),
    ],
)
def test_a_class_that_breaks_the_rules_is_an_error_of_the_plugin(
    folder: Path, write: Write, source: str, reason: str | None
) -> None:
    file = write("rules", source)
    error = described(folder, "rules").error
    assert error.startswith(f"{file}{reason}") if reason else error == ""


# ---------------------------------------------------------------- the built-ins


def test_every_built_in_plugin_loads_and_describes_itself() -> None:
    registry = Registry()
    assert {"normal", "vampprior", "sliced-score-matching"} <= set(registry.names("strategy"))
    assert {"digits", "mnist"} <= set(registry.names("dataset"))
    for found in [*registry.describe("strategy"), *registry.describe("dataset")]:
        if found.origin == "built-in":
            assert found.error == ""
            assert found.summary.endswith("."), f"{found.file} needs a docstring with a first line"
            assert all(field.description for field in found.fields), f"every field of {found.file} says what it means"
            assert issubclass(registry.find(found.kind, found.name).load(), Settings)


def test_listing_the_built_ins_imports_nothing_heavy() -> None:
    code = """
import sys
from bench.plugins import Registry
registry = Registry()
assert all(not each.error for kind in ("strategy", "dataset") for each in registry.describe(kind))
from bench.grid import embedded, load
assert all(load(name, registry).cells for name in embedded())
print(*[name for name in ("torch", "pandas", "matplotlib", "sklearn", "scipy", "pyarrow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("\n", "", 0)


# ---------------------------------------------------------------- imports that harm the process


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import os; os._exit(3)", "its import ends the process, with exit code 3"),
        ("import time; time.sleep(1000)", "its import has not ended after 0.2 seconds"),
        ("while True: pass", "its import has not ended after 0.2 seconds"),
        ("class Rude(BaseException): pass\nraise Rude('no manners')", "Rude: no manners (line 2)"),
        ("class Mute(Exception):\n    def __str__(self): raise KeyError\nraise Mute", "Mute (line 3)"),
    ],
)
def test_an_import_that_never_ends_or_ends_all_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    monkeypatch.setattr("bench.plugins.foreign.LONGEST", 0.2)
    (tmp_path / "strategies").mkdir()
    (file := tmp_path / "strategies" / "harm.py").write_text(f"{line}\n")
    plugin = Registry([tmp_path]).find("strategy", "harm")
    leave = os._exit
    with pytest.raises(PluginError, match=rf"^{re.escape(f'{file} does not load: {said}')}$"):
        plugin.load()
    assert os._exit is leave


def test_an_import_leaves_the_ways_of_the_process(tmp_path: Path) -> None:
    """The mode of new files, the log, torch's type and gradients, and what ends the process."""
    lines = [
        "import logging, os, signal, torch",
        "os.umask(0o777)",
        "logging.basicConfig(level=logging.DEBUG)",
        "torch.set_default_dtype(torch.float64)",
        "torch.set_grad_enabled(False)",
        "signal.signal(signal.SIGINT, signal.SIG_IGN)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    ]
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "rude.py").write_text("\n".join(lines))
    mask = os.umask(0o022)
    root = logging.getLogger()
    before = [*root.handlers], root.level, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(PluginError, match="defines no strategy"):
            Registry([tmp_path]).find("strategy", "rude").load()
        (tmp_path / "new").touch()
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)
    after = [*root.handlers], root.level, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert after == before
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_a_library_that_another_thread_is_importing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    half = types.ModuleType("torch")  # without what is used of it
    monkeypatch.setitem(sys.modules, "torch", half)
    with as_before():
        monkeypatch.setitem(sys.modules, "torch", torch)
        torch.set_grad_enabled(False)
    assert torch.is_grad_enabled(), "it has come in meanwhile, and begins so"
    with as_before():
        monkeypatch.setitem(sys.modules, "torch", half)
    assert not vars(half).keys() & {"set_default_dtype", "set_grad_enabled"}


def test_an_import_does_not_move_the_process_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "mover.py").write_text("import os\nos.chdir('/')\n")
    with pytest.raises(PluginError, match="defines no strategy"):
        Registry([tmp_path]).find("strategy", "mover").load()
    assert Path.cwd() == tmp_path
