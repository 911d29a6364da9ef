"""Files and text of a table: what they say is what the table says, in each format's own grammar."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench.report import formats, terminal
from bench.report.layout import figure, layout
from bench.report.summary import summary
from bench.report.tables import Table

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

NASTY = r"50 % of $x_1^2$ & {more} #3 | a\b ~ <i>*so*</i> [1] `rm --all`"


@pytest.fixture
def table(mnist: Synthetic) -> Table:
    """A table with something of everything."""
    store = type(mnist)(mnist.folder, settings=["headline.metric=nll"])
    for seed, value in enumerate([95.0, 95.1, 95.2]):
        store.put("normal", seed, value)
        store.put("sliced-score-matching", seed, value - 2, half=0.1)
    store.put("vampprior[components=16]", 1, 95.5, code={"fit": "0" * 64})
    store.put("vampprior[components=16]", 2, status="error", reason=NASTY)
    return store.table()


# ---------------------------------------------------------------- Markdown


def test_markdown_holds_the_whole_table(table: Table) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(formats.markdown([layout(table)]))
    rows: list[list[str]] = []
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("td_open", "th_open"):
            rows[-1].append(_words(tokens[index + 1].children or []))
    expected = [[heading.text for heading in layout(table).headings]]
    for entries in layout(table).rows:
        expected.append([f"{entry.text}{entry.marks}{entry.below}" for entry in entries])
    assert rows == expected
    bold = [token for token in tokens for child in token.children or [] if child.type == "strong_open"]
    assert len(bold) == sum(entry.bold for row in layout(table).rows for entry in row) == 1


def test_markdown_notes_are_a_list_of_text(table: Table) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(formats.markdown([layout(table)]))
    start = next(index for index, token in enumerate(tokens) if token.type == "bullet_list_open")
    items = [_words(token.children or []) for token in tokens[start:] if token.type == "inline"]
    notes = [f"({letter}) {note}" for letter, note in layout(table).footnotes] + [
        *layout(table).notes,
        *(f"{sentence}." for sentence in layout(table).conditions),
        "Records: here.",
    ]
    assert items == [note.replace("`", "") for note in notes]
    assert not [token for token in tokens if token.type in ("html_block", "blockquote_open", "link_open")]


def _words(children: Sequence[Token]) -> str:
    """Return the text of inline tokens, without the tags that tables use."""
    words = "".join(child.content for child in children)
    return re.sub("</?(br|sup)>", "", words)


# ---------------------------------------------------------------- LaTeX


def test_latex_is_balanced(table: Table) -> None:
    text = formats.latex([layout(table), layout(table)])
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z]+)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    bare = re.sub(r"\\[{}]", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2


def test_latex_rows_have_as_many_columns_as_the_head(table: Table) -> None:
    text = formats.latex([layout(table)])
    columns = re.search(r"\\begin\{tabularx\}\{\\linewidth\}\{@\{\}>\{\S+\}X(r+)@\{\}\}", text)
    assert columns is not None
    body = text[columns.end() : text.index(r"\end{tabularx}")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) >= len(table.rows) + 1
    for line in lines:
        assert len(re.findall(r"(?<!\\)&", line)) == len(columns[1])


def test_latex_has_no_bare_special_characters(table: Table) -> None:
    body = formats.latex([layout(table)]).split("\n", 1)[1]  # after the comment
    body = body.replace("$-$", "").replace(r"$\pm$", "").replace(r" \\", "")
    body = re.sub(r"\\begin\{tabularx\}.*", "", body)
    rows = re.sub(r"(?<!\\) & | &  ", " ", body)
    for character in "$%#_&":
        assert re.search(rf"(?<!\\)\{character}", rows) is None, character
    for character in "^~|<>":
        assert character not in rows
    # a bracket straight after a line break would be read as the argument of that break
    assert re.search(r"\\\\\s*\[", formats.latex([layout(table)])) is None


def test_latex_escapes_what_users_write() -> None:
    assert formats._latex(NASTY) == (
        r"50 \% of \$x\_1\textasciicircum{}2\$ \& \{more\} \#3 \textbar{} a\textbackslash{}b \textasciitilde{}"
        r" \textless{}i\textgreater{}*so*\textless{}/i\textgreater{} \allowbreak{}{[}1{]} \texttt{rm -{}-all}"
    )


def test_latex_keeps_an_odd_backtick() -> None:
    assert formats._latex("a `b` c ` d_e") == r"a \texttt{b} c ` d\_e"


# ---------------------------------------------------------------- CSV


def test_csv_gives_back_every_figure_exactly(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(formats.comma_separated([table]))))
    found = {(line["row"], line["metric"]): line for line in lines if line["kind"] == "ours"}
    for row in table.rows:
        for metric, interval in row.scores.items():
            line = found.pop((row.label, metric))
            assert tuple(float(line[name]) for name in ("mean", "lower", "upper")) == (
                interval.mean,
                interval.lower,
                interval.upper,
            )
            assert line["n"].split() == [str(n) for n in interval.n]
            assert (line["interval"], int(line["items_lost"])) == (interval.basis, interval.lost)
            difference = row.differences.get(metric)
            if difference:
                names = ("difference", "difference_lower", "difference_upper")
                ends = (difference.mean, difference.lower, difference.upper)
                assert tuple(float(line[name]) for name in names) == ends
                assert line["difference_n"].split() == [str(n) for n in difference.n]
                assert line["difference_interval"] == difference.basis
            judged = row.verdict if metric == "nll" else None
            assert line["verdict"] == (judged.words if judged else "")
            assert line["p"] == (str(judged.p) if judged and judged.p is not None else "")
            if row.comparison and metric == "vlb":
                assert float(line["published_difference"]) == row.comparison.difference
                assert line["published_verdict"] == row.comparison.verdict
            else:
                assert line["published_verdict"] == ""
    ((place, line),) = found.items()
    assert place == ("vampprior[components=500]", "")
    assert (line["mean"], line["verdict"]) == ("", "preliminary, 0 of 3 seeds")


def test_csv_has_a_line_for_each_published_number_without_a_row_of_ours(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(formats.comma_separated([table]))))
    rest = {line["row"]: (line["kind"], float(line["published"])) for line in lines if line["kind"] != "ours"}
    assert rest == {
        "VAE, GRBM prior, adversarial": ("published", 92.93),
        "NVAE w/o flow": ("reference", 78.01),
        "IAF-VAE": ("reference", 79.10),
        "CR-NVAE": ("reference", 76.93),
        "BFN": ("reference", 77.87),
    }


def test_csv_counts_failed_and_missing_seeds(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(formats.comma_separated([table]))))
    line = next(line for line in lines if line["row"] == "vampprior[components=16]")
    assert [line[name] for name in ("seeds_planned", "seeds_finished", "seeds_missing", "failed")] == [
        "3",
        "1",
        "0",
        "error=1",
    ]
    assert NASTY in line["notes"]


# ---------------------------------------------------------------- the terminal


@pytest.mark.parametrize("width", [80, 100, 120, 160, 250])
def test_the_terminal_table_fits_and_breaks_no_figure(table: Table, width: int) -> None:
    text = terminal.text([layout(table)], width=width)
    lines = text.splitlines()
    notes = [f" {note}" for note in layout(table).notes]  # they hold commands that are to be copied
    assert max(len(line) for line in lines if line not in notes) <= width
    assert "…" not in text
    for entries in layout(table).rows:
        for entry, heading in zip(entries[1:], layout(table).headings[1:], strict=True):
            assert entry.text in text or (heading.words and all(word in text for word in entry.text.split()))
            assert entry.below in text
    for letter, _ in layout(table).footnotes:
        assert f" ({letter}) " in text


@pytest.mark.parametrize("width", [80, 100, 120])
def test_long_verdicts_break_no_figure(mnist: Synthetic, width: int) -> None:
    store = type(mnist)(mnist.folder, settings=["headline.metric=nll"])
    for seed in range(3):
        store.put("normal", seed, 95.0 + seed)
        store.put("sliced-score-matching", seed, 93.0 + seed, code={"fit": "0" * 64})
    made = layout(store.table())
    text = terminal.text([made], width=width)
    lines = [line for line in text.splitlines() if line not in {f" {note}" for note in made.notes}]
    assert max(map(len, lines)) <= width
    for entries in made.rows:
        for entry in entries[1:]:
            assert entry.below in text
            assert all(word in text for word in entry.text.split())


def test_a_wide_terminal_has_one_line_a_row(table: Table) -> None:
    lines = terminal.text([layout(table)], width=250).splitlines()
    line = next(line for line in lines if line.startswith(" sliced-score-matching"))
    # half-widths: 4.30265 * .1 / sqrt(3) + .1 = .35; Welch's 2.77645 * .1 * sqrt(2 / 3) + .1 = .33
    assert "93.10 [92.75, 93.45]" in line
    assert "-2.00 [-2.33, -1.67]" in line
    assert "-2.00* [-2.33, -1.67]" in line
    assert line.endswith(" better")


def test_without_a_terminal_there_are_no_control_characters(table: Table) -> None:
    assert "\x1b" not in terminal.text([layout(table)])


def test_on_a_terminal_what_counts_is_bold(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", Screen())
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1m-2.00*" in terminal.text([layout(table)], width=200)
    assert "\x1b[1;32m▲ better" in terminal.text([summary(table)], width=200), "in green, and by a sign alike"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[(3[0-9]|4[0-9])", terminal.text([summary(table)], width=200))


@pytest.mark.parametrize(
    ("value", "unit", "sign", "text"),
    [
        (95.434, "nats", False, "95.43"),
        (6.1266, "bits/dim", False, "6.127"),
        (-0.6, "nats", True, "-0.60"),
        (0.6, "nats", True, "+0.60"),
        (-0.001, "nats", True, "0.00"),
    ],
)
def test_figures(value: float, unit: str, sign: bool, text: str) -> None:
    assert figure(value, unit, sign) == text
