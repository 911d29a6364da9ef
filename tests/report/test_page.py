"""The page holds the whole report in one file: findings first, everything recorded, nothing that a name could run."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bench import cli
from bench.protocol import Metric, Score
from bench.report import Records, published, sources
from bench.report.figures import Shown
from bench.report.layout import across
from bench.report.outputs import of_grid
from bench.report.page import content, render
from bench.sweep.record import Record
from tests.report.conftest import CIRCUMSTANCES, items

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

HOSTILE = "<script>alert(1)"  # a name holds no /
KL_DATA = Metric("kl_data", "nats")
FIGURE = Shown("differences-mnist", "mnist", "mnist: differences", "Read it so.", "chart", (4, 3), b"\x89PNG")


def filled(mnist: Synthetic) -> None:
    for label, start in (("normal", 95.0), ("sliced-score-matching", 93.0)):
        for seed in range(3):
            value = start + 0.1 * seed
            mnist.put(label, seed, value, arrays={"vlb": items(value, 1.0), "nll": items(value - 3, 1.0)})


def hostile(mnist: Synthetic) -> None:
    """Replace a record by one of a stranger, in which every text is markup."""
    path = mnist.put("vampprior[components=16]", 0, 95.0)
    record = Record.read(path.read_bytes(), path.parent.name)
    fields = dict.fromkeys(("strategy", "label", "reason", "torch", "platform"), HOSTILE)
    changed = record.model_copy(update={**fields, "hyper": {HOSTILE: f'"{HOSTILE}'}, "status": "error", "scores": []})
    path.write_bytes(changed.json_bytes())
    mnist.store.log(record.cell, record.attempt).write_text(f"{HOSTILE}\x1b[31mred\x1b[0m\u202e<img src=x onerror=1>\n")


def page(mnist: Synthetic, *figures: Shown, notes: tuple[str, ...] = ()) -> str:
    source = replace(sources.of_grid(Records(mnist.grid, [], mnist.registry)), notes=notes)
    pairs = [(table, source) for table in of_grid(source, published.read())]
    return render("A grid", [content.part("A grid", pairs, [], figures)], [("seeds", "trainings")])


def test_findings_come_before_tables_and_figures(mnist: Synthetic) -> None:
    filled(mnist)
    text = page(mnist, FIGURE)
    assert text.index("<h3>Findings</h3>") < text.index("<table>") < text.index("<figure")
    assert "Training takes 10 s" in text


def test_the_page_needs_no_other_file_and_allows_no_request(mnist: Synthetic) -> None:
    filled(mnist)
    text = page(mnist, FIGURE)
    assert not re.findall(r"<link|@import|url\(|https?://|<iframe|<object", text)
    assert set(re.findall(r'src="([^",]*)', text)) == {"data:image/png;base64"}
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])  # type: ignore[index]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_setting_and_all_provenance_of_a_row_is_there(mnist: Synthetic) -> None:
    filled(mnist)
    text = html.unescape(page(mnist))
    row = mnist.row("sliced-score-matching")
    for key, value in row.setting.flat().items():
        shown = value if isinstance(value, str) else json.dumps(value)
        assert f'<th scope="row">{key}</th><td>{shown}</td>' in text
    outcome = row.outcomes[0]
    for part in (
        outcome.cell,
        outcome.fingerprints.fit[:12],
        CIRCUMSTANCES["platform"],
        "0123456789abcdef",
        "max_energy",
    ):
        assert str(part) in text


def test_a_row_links_to_what_is_recorded_of_it(mnist: Synthetic) -> None:
    filled(mnist)
    text = page(mnist)
    for anchor, label in re.findall(r'<a href="#(g1d1r\d+)">([^<]*)</a>', text):
        summary = re.search(rf'id="{anchor}"><summary>([^<]*)</summary>', text)
        assert summary is not None
        assert summary[1].startswith(label)
    assert len(re.findall(r'<details class="row"', text)) == 2


def test_what_casts_doubt_is_a_warning(mnist: Synthetic) -> None:
    filled(mnist)
    git = {"commit": "f" * 40, "dirty": True}
    mnist.put("vampprior[components=16]", 0, 95.0, half=0.1, unreliable="two bases differ", git=git)
    mnist.put("vampprior[components=16]", 1, 95.0, code={"fit": "0" * 64}, device_kind="cpu", platform="Darwin-25")
    mnist.put("vampprior[components=500]", 0, 95.0, torch="2.6.0")
    text = page(mnist, notes=("not known to keep the contracts: strategy x",))
    warnings = re.search(r'<details class="doubts".*?</details>', text, re.S)
    assert warnings is not None
    for words in (
        "two bases differ", "uncommitted changes", "stale", "Mixed hardware", "Darwin-25", "Several commits",
        "Mixed versions of torch: 2.13.0, 2.6.0", "ot known to keep the contracts: strategy x.",
    ):  # fmt: skip
        assert words in warnings[0], words


def test_a_failure_shows_how_it_ended_and_the_end_of_its_log(mnist: Synthetic) -> None:
    filled(mnist)
    path = mnist.put("vampprior[components=16]", 0, status="error", reason="ValueError: no", last_step=7)
    lines = [f"line {number}" for number in range(100)]
    mnist.store.log(path.parent.name, 1).write_text("\n".join([*lines, "10 %\r\x1b[31m20 %\x1b[0m", ""]))
    failed = re.search(r'<details class="failure">.*?</details>', page(mnist), re.S)
    assert failed is not None
    assert "vampprior[components=16], seed 0: error at step 7 (ValueError: no)" in failed[0]
    shown = re.search(r"<pre[^>]*>(.*)</pre>", failed[0], re.S)
    assert shown is not None
    assert shown[1].splitlines() == [*lines[-29:], "20 %"]


def test_a_failure_without_a_log_says_so(mnist: Synthetic) -> None:
    mnist.put("normal", 0, status="timeout", reason="after 60 s")
    assert "No log lies beside this record." in page(mnist)


def test_no_name_becomes_markup(mnist: Synthetic) -> None:
    filled(mnist)
    hostile(mnist)
    text = page(mnist)
    assert html.escape(HOSTILE) in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(re.findall("<script>", text)) == 1


def test_records_without_arrays_say_what_is_not_drawn(mnist: Synthetic) -> None:
    filled(mnist)
    text = page(mnist, FIGURE)
    assert "Not drawn, since the arrays for it do not lie beside these records" in text
    assert "samples, data and reconstructions" in text


def test_data_sets_without_records_are_named_and_have_no_section(toy: Synthetic) -> None:
    toy.put("normal", 0, 4.0, dataset="checkerboard")
    source = sources.of_grid(Records(toy.grid, [], toy.registry))
    pairs = [(table, source) for table in of_grid(source, published.read())]
    part = content.part("Toy", pairs, [], [])
    assert [section.first.name for section in part.sections] == ["checkerboard"]
    assert len(part.absent) == len(pairs) - 1
    assert f"No record yet: {', '.join(part.absent)}." in render("Toy", [part], [])


def test_the_committed_page_is_of_the_committed_records() -> None:
    text = html.unescape(Path("results/index.html").read_text())
    committed = sources.of_grids()
    assert {"mnist", "toy", "cifar10-subset", "mnist-annealed"} <= {source.plan.name for source in committed}
    for source in committed:
        assert source.plan.title in text
        assert all(record.cell in text for record in source.records)


def test_a_page_of_several_grids_begins_with_what_each_comes_to(mnist: Synthetic) -> None:
    filled(mnist)
    source = sources.of_grid(Records(mnist.grid, [], mnist.registry))
    pairs = [(table, source) for table in of_grid(source, published.read())]
    parts = [content.part(title, pairs, [], [], number) for number, title in enumerate(("First", "Second"), 1)]
    glance = render("All", parts, []).partition("At a glance")[2].partition("<article")[0]
    links = ['<a href="#g1">First</a>', '<a href="#g2">Second</a>']
    assert [glance.index(link) for link in links] == sorted(glance.index(link) for link in links)
    assert glance.count(html.escape(parts[0].sections[0].findings[0].sentence)) == 2
    assert "At a glance" not in render("One", parts[:1], [])


def test_what_is_empty_across_data_sets_is_left_out(toy: Synthetic) -> None:
    toy.put(
        "normal", 0, 4.0, dataset="checkerboard", scores=[Score(KL_DATA, 0.2, 100, "quadrature", 0, 0.01, 0.2, 0.2)]
    )
    source = sources.of_grid(Records(toy.grid, [], toy.registry))
    tables = of_grid(source, published.read())
    overview = across(tables, "Toy", "`bench run` makes them")
    part = content.part("Toy", [(table, source) for table in tables], overview, [])
    assert len(overview[0].headings) == 1 + len(tables)
    assert [heading.text for heading in part.overview[0].headings] == ["strategy", "checkerboard"]
    assert [row[0].text for row in part.overview[0].rows] == ["normal"]


# ---------------------------------------------------------------- from the command line


def test_the_page_lies_beside_the_tables_and_opens_in_the_browser(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def browser(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", browser)
    mnist.put("normal", 0, 95.0)
    done = CliRunner().invoke(cli.bench, ["report", "--grid", "mnist"], catch_exceptions=False)
    file = Path("runs/mnist/report/index.html")
    assert not file.exists()
    done = CliRunner().invoke(cli.bench, ["report", "--grid", "mnist", "--open"], catch_exceptions=False)
    assert done.exit_code == 0
    assert f"The page: {file}" in done.output
    assert opened == [file.resolve().as_uri()]
    assert "<h3>Findings</h3>" in file.read_text()


def test_where_no_browser_can_be_opened_it_is_said(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    mnist.put("normal", 0, 95.0)
    done = CliRunner().invoke(cli.bench, ["report", "--grid", "mnist", "--open"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "no browser can be opened here; open runs/mnist/report/index.html yourself" in done.output
