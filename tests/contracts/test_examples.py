"""The example plugins work as they are written, and never take the place of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contracts import check, find, values, write
from bench.plugins import KINDS, Kind, Registry
from bench.protocol import UserError


@pytest.mark.parametrize("kind", [*KINDS])
def test_an_example_keeps_its_contracts_right_away(kind: Kind, tmp_path: Path) -> None:
    file = write(kind, "my_idea", tmp_path)
    plugin = Registry([tmp_path]).find(kind, "my-idea")
    assert (plugin.file, plugin.load().__name__) == (file, "MyIdea")
    given = values(["energy.hidden=4"] if kind == "strategy" else [])
    verdicts = list(check(plugin, given))
    assert [verdict for verdict in verdicts if verdict.status == "fail"] == []
    unchecked = {verdict.contract for verdict in verdicts if verdict.status == "not checked"}
    assert unchecked == {"capture"} | {"dataset": {"likelihood", "validation"}, "energy": {"exact"}}.get(kind, set())


@pytest.mark.parametrize("kind", [*KINDS])
def test_a_file_is_never_overwritten(kind: Kind, tmp_path: Path) -> None:
    file = write(kind, "my-idea", tmp_path)
    file.write_text("precious")
    with pytest.raises(UserError, match=r"my_idea\.py exists already and is left as it is; give another name"):
        write(kind, "my-idea", tmp_path)
    assert file.read_text() == "precious"


@pytest.mark.parametrize("name", ["My-idea", "my idea", "1st", "-idea", "idea-", "a--b", "../x", ""])
def test_a_name_is_a_plugins_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no name for a strategy; allowed are words of small letters and digits"):
        write("strategy", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_claimed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'the data set name "digits" is claimed by \S+digits\.py; give another name'):
        write("dataset", "digits", tmp_path)


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "strategies").write_text("")
    with pytest.raises(UserError, match=r"strategies exists already|my_idea\.py cannot be written"):
        write("strategy", "my-idea", tmp_path)


# ---------------------------------------------------------------- finding what to check


def test_a_plugin_is_found_by_its_name_whatever_its_kind(tmp_path: Path) -> None:
    write("dataset", "my-ring", tmp_path)
    registry = Registry([tmp_path])
    assert [find(registry, name).kind for name in ("normal", "digits", "my-ring")] == ["strategy", "dataset", "dataset"]


@pytest.mark.parametrize("kind", [*KINDS])
def test_the_kind_of_a_file_is_that_of_its_class(kind: Kind, tmp_path: Path) -> None:
    file = write(kind, "my-idea", tmp_path)
    moved = file.rename(tmp_path / "elsewhere.py")
    assert find(Registry(), str(moved)).kind == kind


def test_a_data_set_may_be_called_like_a_strategy_but_not_like_a_data_set(tmp_path: Path) -> None:
    file = write("dataset", "normal", tmp_path)
    assert find(Registry(), str(file)).kind == "dataset"
    with pytest.raises(UserError, match='the data set name "digits" is claimed by'):
        find(Registry(), str(file.rename(tmp_path / "digits.py")))


def test_a_name_of_both_kinds_needs_a_file(tmp_path: Path) -> None:
    for kind in ("strategy", "dataset"):
        write(kind, "both", tmp_path)
    with pytest.raises(UserError, match='"both" is a strategy and a data set; give the FILE of the one to check'):
        find(Registry([tmp_path]), "both")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("x = 1", "defines no plugin: a public class with fit and evaluate (a strategy), or with load and prepare"),
        ("x = (", "does not load: SyntaxError: '(' was never closed (line 1)"),
        (
            "from bench.data import Dataset\nclass Ring(Dataset):\n    def load(self, folder): ...",
            "Ring does not define prepare",
        ),
    ],
)
def test_what_does_not_load_is_said(source: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(UserError) as caught:
        find(Registry(), str(tmp_path / "mine.py"))
    assert sentence in str(caught.value)


def test_settings_make_tables() -> None:
    found = values(["energy.hidden=8", "energy.kind=mlp", "lr=1e-3"])
    assert found == {"energy": {"hidden": 8, "kind": "mlp"}, "lr": 1e-3}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["lr"], "--set lr: write KEY=VALUE, such as energy.hidden=8"),
        (["energy=1", "energy.hidden=8"], "--set energy.hidden=8: energy is 1, not a table; set it whole"),
        (["lr=a b"], "--set lr=a b: a b is not a TOML value; text with other signs needs quotes"),
    ],
)
def test_what_is_no_setting_is_said(settings: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        values(settings)
    assert str(caught.value) == sentence


def test_a_field_without_a_default_needs_a_value(tmp_path: Path) -> None:
    file = write("dataset", "my-ring", tmp_path)
    file.write_text(file.read_text().replace("Field(0.1, ", "Field("))
    plugin = Registry([tmp_path]).find("dataset", "my-ring")
    with pytest.raises(UserError, match="width of my-ring has no default; give it with --set width=VALUE"):
        list(check(plugin))
    assert next(check(plugin, {"width": 0.2})).status == "pass"
