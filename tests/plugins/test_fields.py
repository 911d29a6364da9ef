"""What a plugin's fields are is shown, and values for them are checked in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.plugins import PluginError, Registry, build
from bench.protocol import UserError
from tests.plugins.conftest import BODY, STRATEGY, Write, described, first

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
