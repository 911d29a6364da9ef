"""Tables as text for the terminal, as wide as it is; colours and bold type only on a terminal."""

from __future__ import annotations

import io
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
from bench.report.layout import Entry, Layout

_WIDE = 120  # columns, where the output is no terminal and nobody says how wide it is
_NARROW_LABEL = 18
_WORDS = 20  # the width of a column of words


def text(tables: Sequence[Layout], remarks: Sequence[str] = (), width: int | None = None) -> str:
    """Return tables as text.

    Args:
        tables: printed one below the other.
        remarks: sentences after the last one.
        width: columns; by default those of the terminal.
    """
    terminal = sys.stdout.isatty()
    width = width or shutil.get_terminal_size((_WIDE, 24)).columns
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, markup=False, emoji=False, highlight=False
    )
    for table in tables:
        _print(console, table)
    for remark in remarks:
        console.print(Text(words.plain(remark)), soft_wrap=True)
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return written if terminal else "\n".join(line.rstrip() for line in written.splitlines()) + "\n"


def _print(console: Console, table: Layout) -> None:
    console.print(Text(table.title, style="bold"))
    for part in _fitting(console, table):
        console.print(part)
    console.print(Padding(Text(table.caption), (0, 0, 0, 1)))
    for letter, note in table.footnotes:
        console.print(Padding(Text(f"({letter}) {note}"), (0, 0, 0, 1)))
    # commands and paths are not broken, so that they can be copied
    for note in table.notes:
        console.print(Text(f" {note}"), soft_wrap=not console.is_terminal)
    for sentence in (*table.conditions, f"Records: {table.source}"):
        console.print(Padding(Text(f"{sentence}.", style="dim"), (0, 0, 0, 1)))
    console.print()


def _fitting(console: Console, whole: Layout) -> list[RichTable]:
    """Return the first form that fits: a line for each row, two lines, or two lines in each of several tables."""
    made = [_made(console, whole, stacked=False)]
    for count in range(1, whole.parts + 1):
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
        words = heading.text.split() if stacked else [heading.text]
        lines = [line.cell_len for row in content.rows for line in _lines(row[index], stacked)]
        if heading.words and stacked:
            longest = [cell_len(word) for row in content.rows for word in row[index].text.split()]
            lines = [min(max(lines), max(_WORDS, *longest))]
        width = max([*map(cell_len, words), *lines]) if index else labels
        justify: Literal["left", "right"] = "right" if index else "left"
        table.add_column(Text(heading.text), justify=justify, width=width, overflow="fold")
    for section in content.sections:
        for row in section:
            first = row[0]
            if any(cell_len(word) > labels for word in first.text.split()):
                # broken before the bracket or at a hyphen rather than anywhere
                first = replace(first, text="\n".join(textwrap.wrap(first.text.replace("[", " ["), labels)))
            table.add_row(*(Text("\n").join(_lines(entry, stacked)) for entry in (first, *row[1:])))
        table.add_section()
    return table


def _lines(entry: Entry, stacked: bool) -> list[Text]:
    """Return an entry's lines: what is below its figure stands beside it unless they are stacked."""
    marks = f" ({entry.marks})" if entry.marks else ""
    lines = [Text(f"{entry.text}{'*' if entry.bold else ''}{marks}", style="bold" if entry.bold else "")]
    lines += [Text(entry.below, style="dim")] if entry.below else []
    return lines if stacked else [Text(" ").join(lines)]
