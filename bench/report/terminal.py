"""Tables as text for the terminal, as wide as it is; colours and bold type only on a terminal."""

from __future__ import annotations

import io
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from bench import words
from bench.report.layout import OTHER, SIGNS, Entry, Layout

_WIDE = 100  # columns, where the output is no terminal and nobody says how wide it is
_NARROW_LABEL = 18
_COLOURS = {"better": "green", "worse": "red", "failed": "red", "doubt": "yellow"}


def text(
    tables: Sequence[Layout],
    remarks: Sequence[str] = (),
    width: int | None = None,
    terms: Sequence[tuple[str, str]] = (),
    last: bool = False,
) -> str:
    """Return tables as text.

    Args:
        tables: printed one below the other.
        remarks: sentences after the last one.
        width: columns; by default those of the terminal.
        terms: the glossary.
        last: print the findings below all that, where whoever waited for them looks, in place of above their tables.
    """
    terminal = sys.stdout.isatty()
    width = width or shutil.get_terminal_size((_WIDE, 24)).columns
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, markup=False, emoji=False, highlight=False
    )
    for table in tables:
        _print(console, replace(table, findings=()) if last else table)
    _glossary(console, terms)
    for table in tables if last else ():
        if table.findings:
            console.print(Text(table.title, style="bold"))
            _findings(console, table)
            console.print()
    for remark in remarks:
        console.print(Text(words.plain(remark)), soft_wrap=True)
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return written if terminal else "\n".join(line.rstrip() for line in written.splitlines()) + "\n"


def _print(console: Console, table: Layout) -> None:
    console.print(Text(table.title, style="bold"))
    _findings(console, table)
    for part in _fitting(console, table):
        console.print(part)
    if table.caption:
        console.print(Padding(Text(table.caption), (0, 0, 0, 1)))
    for letter, note in table.footnotes:
        console.print(Padding(Text(f"({letter}) {note}"), (0, 0, 0, 1)))
    # commands and paths are not broken, so that they can be copied
    for note in table.notes:
        console.print(Text(f" {note}"), soft_wrap=not console.is_terminal)
    for sentence in (*table.conditions, *([f"Records: {table.source}"] if table.source else ())):
        console.print(Padding(Text(f"{sentence}.", style="dim"), (0, 0, 0, 1)))
    console.print()


def _findings(console: Console, table: Layout) -> None:
    """Print a sentence a paragraph, its sign before it; commands are not broken where they are to be copied."""
    for finding in table.findings:
        sign = Text(SIGNS.get(finding.kind, OTHER), style=_COLOURS.get(finding.kind, ""))
        lines = _wrapped(finding.sentence, min(console.width, _WIDE) - 3)
        for number, line in enumerate(lines):
            console.print(Text.assemble(" ", " " if number else sign, " ", line), soft_wrap=True)


def _glossary(console: Console, terms: Sequence[tuple[str, str]]) -> None:
    if terms:
        console.print(Text("Terms", style="bold"))
    margin = max([len(term) for term, _ in terms], default=0) + 3
    for term, meaning in terms:
        for number, line in enumerate(_wrapped(meaning, min(console.width, _WIDE) - margin)):
            console.print(Text(f" {'' if number else term:{margin - 1}}{line}"), soft_wrap=True)
    if terms:
        console.print()


def _wrapped(text: str, width: int) -> list[str]:
    """Return lines; what stands between backticks is not broken."""
    kept = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(kept, max(width, 20), break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _fitting(console: Console, whole: Layout) -> list[RichTable]:
    """Return the first form that fits: a line for each row, two lines, or two lines in each of several tables."""
    made = [_made(console, whole, stacked=False)]
    for count in range(1, max(whole.parts, 1) + 1):
        if all(fits for _, fits in made):
            break
        parts = whole.cut(count) if count > 1 else [whole]
        made = [_made(console, part, stacked=True) for part in parts]
    return [table for table, _ in made]


def _made(console: Console, content: Layout, stacked: bool) -> tuple[RichTable, bool]:
    """Return the table with its first column as narrow as it must be and can be, and whether it fits."""
    labels = max([_NARROW_LABEL, *(line.cell_len for row in content.rows for line in _lines(row[0], stacked))])
    table = _table(content, stacked, labels)
    excess = console.measure(table, options=console.options.update(width=10_000)).maximum - console.width
    if excess <= 0:
        return table, True
    return _table(content, stacked, max(labels - excess, _NARROW_LABEL)), stacked and labels - excess >= _NARROW_LABEL


def _table(content: Layout, stacked: bool, labels: int) -> RichTable:
    """Return the table; figures are never broken over lines, labels and headings may be."""
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(content.headings):
        parts = heading.text.split() if stacked else [heading.text]
        lines = [line.cell_len for row in content.rows for line in _lines(row[index], stacked)]
        if heading.words and stacked:
            longest = [cell_len(word) for row in content.rows for word in row[index].text.split()]
            lines = [min(max(lines), max([heading.words, *longest]))]
        width = max([*map(cell_len, parts), *lines]) if index else labels
        justify: Literal["left", "right"] = "right" if index else "left"
        table.add_column(Text(heading.text), justify=justify, width=width, overflow="fold")
    for section in content.sections:
        for row in section:
            label, *others = (_lines(entry, stacked) for entry in row)
            broken = [Text(part, style=line.style) for line in label for part in words.lines(line.plain, labels)]
            table.add_row(*(Text("\n").join(lines) for lines in (broken, *others)))
        table.add_section()
    return table


def _lines(entry: Entry, stacked: bool) -> list[Text]:
    """Return an entry's lines: what is below its figure stands beside it unless they are stacked."""
    marks = f" ({entry.marks})" if entry.marks else ""
    sign, style = (f"{SIGNS[entry.sign]} ", _COLOURS[entry.sign]) if entry.sign else ("", "")
    star = "*" if entry.bold and not entry.sign else ""
    lines = [Text(f"{sign}{entry.text}{star}{marks}", style=f"{'bold' if entry.bold else ''} {style}".strip())]
    lines += [Text(entry.below, style="dim")] if entry.below else []
    return lines if stacked else [Text(" ").join(lines)]
