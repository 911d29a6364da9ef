"""A store may come from a stranger: nothing in it is executed, overwrites anything, or reaches a screen uncleaned."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import places
from bench.files import json_bytes
from bench.plugins import Registry
from bench.protocol import Metric, Score
from bench.report import Records, report
from bench.sweep.seal import sealed
from bench.words import comma_separated, is_name, plain
from tests.report.conftest import Synthetic

ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x9b31m\u202e\udcff\u2028end\r"
PLUGIN = """\
from pathlib import Path

from bench.strategy import Strategy

Path({mark!r}).write_text("executed")


class Mine(Strategy):
    def fit(self, task, run): ...
    def evaluate(self, state, task, run): ...
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def altered(mnist: Synthetic, **fields: object) -> None:
    """Write a record with these fields as a stranger would: sealed, and not by our model."""
    path = mnist.put("normal", 0, 95.5)
    record = mnist.store.records()[0].model_dump(mode="json", by_alias=True) | fields
    path.write_bytes(sealed(json_bytes(record)))


@pytest.mark.parametrize("named", [False, True])
def test_a_file_that_a_store_names_is_executed_only_where_this_user_has_named_it(
    mnist: Synthetic, here: Path, named: bool
) -> None:
    mark, file = here / "executed", here / "mine.py"
    file.write_text(PLUGIN.format(mark=str(mark)))
    strategies = [*mnist.grid.source["strategy"], {"name": str(file)}]
    mnist.put("normal", 0, 95.5)
    mnist.store.write_grid(mnist.grid.source | {"strategy": strategies})
    if named:
        places.remember("plugin", file)
    text = report(Records("mnist", [mnist.folder], Registry()), here / "out")
    assert mark.exists() == named
    assert ("is named by a run store alone" in " ".join(text.split())) != named
    assert "normal" in text


def test_a_name_that_leads_elsewhere_is_no_records(mnist: Synthetic, here: Path) -> None:
    victim = here / "out" / "victim.png"
    victim.parent.mkdir()
    victim.write_text("mine")
    data = {"name": "q/../../victim", "version": "1", "sha256": "d" * 64, "options": {}}
    altered(mnist, dataset=data)
    text = report(Records("mnist", [mnist.folder]), here / "out" / "report")
    assert "corrupt record" in text
    assert "`dataset.name`: a name has 1 to 100 printable signs, no / or \\ among them" in text
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("mnist", True), ("späte-netze_2", True), ("a b", True)]
    + [(name, False) for name in ("", "..", ".hidden", "a/b", "a\\b", "a\nb", "a\x1bb", "a\udcff", "a" * 101)],
)
def test_names_are_printable_and_no_paths(name: str, allowed: bool) -> None:
    assert is_name(name) == allowed


def unclean(text: str, keep: str = "") -> Sequence[str]:
    return [sign for sign in text if not sign.isprintable() and sign not in keep]


def test_escape_sequences_reach_neither_terminal_nor_file(mnist: Synthetic, here: Path) -> None:
    name = f"vlb{ESCAPES}"
    own = Score(Metric(name, ESCAPES), 3.0, 100, ESCAPES, 0.1, 0.1, 3.0, 3.0, ESCAPES)
    mnist.put("normal", 0, scores=[own], budget={"epochs": ESCAPES.replace("\udcff", "")})
    mnist.put("normal", 1, status="error", reason=ESCAPES, device=ESCAPES, platform=ESCAPES)
    path = mnist.folder / "grid.json"
    path.write_bytes(sealed(json_bytes(mnist.grid.source | {"title": "x\x1b[31m"})))
    text = report(Records("mnist", [mnist.folder], all_settings=True), here / "out")
    assert not unclean(text, "\n")
    for file in ("table.md", "table.tex", "table.csv"):
        assert not unclean((here / "out" / file).read_text(), "\n"), file


def test_a_spreadsheet_takes_no_text_of_a_record_for_a_formula(mnist: Synthetic, here: Path) -> None:
    link = '=HYPERLINK("http://evil")'
    mnist.put("normal", 0, scores=[Score(Metric(link, "@unit"), -3.0, 100, "+x", 0.1, 0.1, -3.0, -3.0, "")])
    report(Records("mnist", [mnist.folder]), here / "out")
    with open(here / "out" / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"'{link}" in [row["metric"] for row in rows]
    assert all(not cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())
    assert -3.0 in [float(row["mean"]) for row in rows if row["mean"]]
    assert comma_separated(-3.0) == -3.0
    assert comma_separated("-x") == "'-x"


def test_plain_text_stays_what_it_is() -> None:
    assert plain("log p(x|z) ± 0.1 nats, Äpfel 数") == "log p(x|z) ± 0.1 nats, Äpfel 数"
    assert plain("a\tb\nc\x1b[0m\udcff") == "a b c?[0m?"
    assert plain("a\nb\x1b", "\n") == "a\nb?"
