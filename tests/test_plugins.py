"""Plugins are found where they should be, described without surprises, and never crash what looks at them."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.plugins import Description, Plugin, PluginError, Registry, build
from bench.protocol import Settings, UserError

STRATEGY = '''
"""A strategy for tests."""
from __future__ import annotations
from typing import Annotated, ClassVar, Literal
from pydantic import Field
from bench.protocol import Search, Settings

class Energy(Settings):
    kind: Literal["grbm"] = Field("grbm", description="the family")
    hidden: int = Field(64, ge=1, description="hidden units")

class _Private(Settings):
    def fit(self): ...
    def evaluate(self): ...

class Toy(_Private):
    """The first line.

    More.
    """

    name: ClassVar[str]
    rate: Annotated[float, Field(gt=0, le=1, description="a rate"), Search(low=1e-4, high=0.1, log=True)] = 1e-3
    energy: Energy = Energy(hidden=16)
    widths: list[int] = Field([8, 8], min_length=1)
'''

DATASET = '''
from bench.protocol import Settings

class Points(Settings):
    """Points."""

    count: int = 10

    def load(self, folder): ...
    def prepare(self, x, noise): ...
'''

BODY = "\n    def fit(self): ...\n    def evaluate(self): ...\n"
BARE = f"from bench.protocol import Settings\nclass Bare(Settings):{BODY}"

Write = Callable[[str, str], Path]

NULL_BYTES = SyntaxError if sys.version_info >= (3, 11, 4) else ValueError  # what Python says of such a source


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plugin folder."""
    home = tmp_path / "plugins"
    (home / "strategies").mkdir(parents=True)
    (home / "datasets").mkdir()
    return home


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a strategy's file into the plugin folder."""

    def write(name: str, source: str) -> Path:
        file = folder / "strategies" / f"{name}.py"
        file.write_text(source)
        return file

    return write


def first(code: str) -> str:
    """The strategy of these tests, with some code before all other."""
    return STRATEGY.replace("from typing", f"{code}\nfrom typing", 1)


def described(folder: Path, name: str) -> Description:
    (found,) = [each for each in Registry([folder]).describe("strategy") if each.name == name]
    return found


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


# ---------------------------------------------------------------- describing


def test_a_description_has_types_defaults_bounds_and_search_ranges(folder: Path, write: Write) -> None:
    write("toy", STRATEGY)
    found = described(folder, "toy")
    assert (found.summary, found.origin, found.error) == ("The first line.", str(folder), "")
    rate, kind, hidden, widths = found.fields
    assert (rate.key, rate.type, rate.default, rate.required) == ("rate", "number", 1e-3, False)
    assert (rate.bounds, rate.description) == ("above 0 and at most 1", "a rate")
    assert rate.search == {"low": 1e-4, "high": 0.1, "log": True, "choices": None}
    assert (kind.key, kind.type, kind.search) == ("energy.kind", '"grbm"', None)
    assert (hidden.key, hidden.default, hidden.bounds) == ("energy.hidden", 16, "at least 1"), "the field's default"
    assert (widths.type, widths.default, widths.bounds) == ("list of integers", [8, 8], "at least 1 item")


def test_descriptions_are_cached_by_content_and_errors_are_not(folder: Path, write: Write, tmp_path: Path) -> None:
    def executions() -> int:
        return len(marks.read_text()) if marks.exists() else 0

    marks = tmp_path / "marks"
    counted = first(f"open({str(marks)!r}, 'a').write('x')")
    listing = f"""
from pathlib import Path
from bench.plugins import Registry
[found] = [each for each in Registry([Path({str(folder)!r})]).describe("strategy") if each.name == "toy"]
print(found.error or found.summary, [field.key for field in found.fields])
"""

    def listed() -> str:
        return subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout

    write("toy", counted)
    listing_of_toy = listed()
    assert listing_of_toy == "The first line. ['rate', 'energy.kind', 'energy.hidden', 'widths']\n"
    assert listed() == listing_of_toy
    assert executions() == 1
    write("toy", counted.replace("The first line.", "Another."))
    assert listed().startswith("Another. ")
    assert executions() == 2
    write("toy", counted + "import no_such_library\n")
    assert listed() == listed()
    assert executions() == 4


def test_built_in_plugins_are_described_without_being_executed_where_their_code_is_as_before() -> None:
    listing = """
import sys
from bench.plugins import KINDS, Registry
described = {kind: Registry().describe(kind, fields=False) for kind in KINDS}
print(sum(name.startswith("bench_plugin.") for name in sys.modules), described["strategy"])
"""
    first, second = (
        subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split(" ", 1)
        for _ in range(2)
    )
    assert int(first[0]) > 0
    assert second == ["0", first[1]]


def test_a_damaged_cache_is_made_anew(folder: Path, write: Write, tmp_path: Path) -> None:
    write("toy", STRATEGY)
    first = described(folder, "toy")
    caches = list(tmp_path.rglob("descriptions/*.json"))
    assert caches
    for cache in caches:
        cache.write_text('{"summary": "half')
    assert described(folder, "toy") == first
    assert all("fields" in json.loads(cache.read_text()) for cache in caches)


def test_a_cache_that_cannot_be_written_does_no_harm(
    folder: Path, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write("toy", STRATEGY)
    assert described(folder, "toy").error == ""


def test_a_field_that_has_no_words_is_an_error_of_the_plugin_not_a_crash(folder: Path, write: Write) -> None:
    write(
        "odd",
        "from collections.abc import Callable\nfrom bench.protocol import Settings\n"
        f"class Odd(Settings):\n    f: Callable[[], int] = int{BODY}",
    )
    assert "odd.py: the fields of Odd cannot be described: " in described(folder, "odd").error


def test_a_set_is_refused_because_its_order_would_change_ids(folder: Path, write: Write) -> None:
    write("bag", f"from bench.protocol import Settings\nclass Bag(Settings):\n    words: set[str] = {{'a'}}{BODY}")
    assert "words is a set, which has no order that an id could rest on; use a list" in described(folder, "bag").error


# ---------------------------------------------------------------- building


def test_building_fills_defaults_and_takes_an_integer_for_a_number(folder: Path, write: Write) -> None:
    write("toy", STRATEGY)
    built = build(Registry([folder]).find("strategy", "toy"), {"rate": 1, "energy": {"kind": "grbm"}}, "here")
    dump = built.model_dump(mode="json")
    assert dump == {"rate": 1.0, "energy": {"kind": "grbm", "hidden": 16}, "widths": [8, 8]}
    assert isinstance(dump["rate"], float)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rte": 1}, 'unknown key strategy.toy.rte; did you mean "rate"? allowed: rate, energy, widths'),
        (
            {"energy": {"hiden": 1}},
            'unknown key strategy.toy.energy.hiden; did you mean "hidden"? allowed: kind, hidden',
        ),
        ({"rate": 0}, "strategy.toy.rate = 0 is not allowed; it must be a number, above 0 and at most 1"),
        ({"rate": "x"}, 'strategy.toy.rate = "x" is not allowed; it must be a number, above 0 and at most 1'),
        ({"rate": float("inf")}, "strategy.toy.rate = Infinity is not allowed; it must be a finite number"),
        ({"energy": 3}, "strategy.toy.energy = 3 is not allowed; it must be a table"),
        (
            {"energy": {"kind": "grmb"}},
            'strategy.toy.energy.kind = "grmb" is not allowed; did you mean "grbm"? it must be "grbm"',
        ),
        (
            {"energy": {"hidden": 2.0}},
            "strategy.toy.energy.hidden = 2.0 is not allowed; it must be an integer, at least 1",
        ),
        (
            {"energy": {"hidden": True}},
            "strategy.toy.energy.hidden = true is not allowed; it must be an integer, at least 1",
        ),
        ({"widths": [8, "x"]}, 'strategy.toy.widths[1] = "x" is not allowed; it must be an integer'),
        ({"widths": []}, "strategy.toy.widths = [] is not allowed; it must be a list of integers, at least 1 item"),
    ],
)
def test_a_bad_value_is_one_sentence_with_key_and_what_is_allowed(
    folder: Path, write: Write, values: dict[str, object], sentence: str
) -> None:
    write("toy", STRATEGY)
    with pytest.raises(UserError) as raised:
        build(Registry([folder]).find("strategy", "toy"), values, "grid.toml")
    assert str(raised.value) == f"grid.toml: {sentence}"


def test_a_plugin_s_own_check_is_quoted_and_its_own_failure_is_its_error(folder: Path, write: Write) -> None:
    source = (
        "from pydantic import model_validator, field_validator\nfrom bench.protocol import Settings\n"
        "class A(Settings):\n    low: int = 1\n    high: int = 2\n"
        "    @model_validator(mode='after')\n    def order(self):\n"
        "        if self.low == self.high: raise ValueError('low must be below high')\n"
        "        1 / (self.low - 7)\n        return self\n" + BODY
    )
    write("own", source)
    plugin = Registry([folder]).find("strategy", "own")
    with pytest.raises(UserError, match=r"^g.toml: strategy.own: low must be below high$"):
        build(plugin, {"low": 2}, "g.toml")
    with pytest.raises(PluginError, match=r"^g.toml: strategy.own: .*own.py fails: ZeroDivisionError: .* \(line 9\)$"):
        build(plugin, {"low": 7}, "g.toml")


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


def test_an_import_does_not_move_the_process_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "mover.py").write_text("import os\nos.chdir('/')\n")
    with pytest.raises(PluginError, match="defines no strategy"):
        Registry([tmp_path]).find("strategy", "mover").load()
    assert Path.cwd() == tmp_path
