"""A table put into columns, the same ones for the terminal, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.report.published import Number
from bench.report.statistics import Interval
from bench.report.tables import HEADLINE, Metric, Row, Table

NOTHING = "-"


@dataclass(frozen=True)
class Heading:
    """A column's heading; `part` is 1 or 2 where a narrow table is cut in two, and 0 for what stands in both."""

    text: str
    part: Literal[0, 1, 2]
    numeric: bool = True


@dataclass(frozen=True)
class Entry:
    """What stands in a column of a row: a figure and, smaller, what belongs to it; `marks` are footnote letters."""

    text: str
    below: str = ""
    bold: bool = False
    marks: str = ""


@dataclass(frozen=True)
class Layout:
    """Headings and sections of rows of entries, with the footnotes that the entries' letters stand for."""

    headings: tuple[Heading, ...]
    sections: tuple[tuple[tuple[Entry, ...], ...], ...]
    footnotes: tuple[tuple[str, str], ...]

    @property
    def rows(self) -> tuple[tuple[Entry, ...], ...]:
        """The rows of all sections."""
        return tuple(row for section in self.sections for row in section)

    def halves(self) -> tuple[Layout, ...]:
        """Return the two parts of a table that is too wide: the first metric and what is published, and the rest."""
        return tuple(part for part in map(self._part, (1, 2)) if len(part.headings) > 1)

    def _part(self, part: int) -> Layout:
        kept = [index for index, heading in enumerate(self.headings) if heading.part in (0, part)]
        rows = ([tuple(row[index] for index in kept) for row in section] for section in self.sections)
        # a row that has its only figure in the other part is of no use in this one
        sections = [
            tuple(row for row in section if any(entry.text != NOTHING for entry in row[1:])) for section in rows
        ]
        return Layout(tuple(self.headings[index] for index in kept), tuple(filter(None, sections)), self.footnotes)


def layout(table: Table) -> Layout:
    """Put a table into columns."""
    metrics = shown(table)
    headings = [Heading("strategy", 0, numeric=False), Heading("seeds", 1)]
    for metric in metrics:
        headings.append(Heading(f"{metric.title}, {metric.unit}", 1 if metric is metrics[0] else 2))
        if table.column and metric.name == table.column.metric:
            headings += [Heading("published", 1), Heading("difference", 1)]
        if table.baseline:
            headings.append(Heading(f"{metric.title} vs {table.baseline}", 2))
    letters: dict[str, str] = {}
    ours = []
    for row in table.rows:
        marks = ",".join(letters.setdefault(mark, _letter(len(letters))) for mark in row.marks)
        ours.append(tuple(_entries(table, row, metrics, marks)))
    sections = [
        ours,
        *([_published(table, n, metrics) for n in numbers] for numbers in (table.others, table.references)),
    ]
    return Layout(
        tuple(headings),
        tuple(tuple(section) for section in sections if section),
        tuple((letter, mark) for mark, letter in letters.items()),
    )


def shown(table: Table) -> tuple[Metric, ...]:
    """Return the metrics that have columns; the others are in the CSV file."""
    return tuple(metric for metric in table.metrics if metric.name in HEADLINE) or table.metrics[:2]


def figure(value: float, unit: str, sign: bool = False) -> str:
    """Return a number as tables print it: two digits for nats, three for bits per dimension."""
    text = f"{value:{'+' if sign else ''}.{3 if unit == 'bits/dim' else 2}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def _entries(table: Table, row: Row, metrics: Sequence[Metric], marks: str) -> list[Entry]:
    failed = ", ".join(f"{count} {status}" for status, count in row.failed.items())
    entries = [
        Entry(row.label, row.number.model if row.number else "", marks=marks),
        Entry(f"{len(row.finished)}/{row.planned}", failed),
    ]
    for metric in metrics:
        entries.append(_interval(row.scores.get(metric.name), metric.unit))
        if table.column and metric.name == table.column.metric:
            beside = row.comparison
            entries.append(Entry(f"{row.number.value:.2f}" if row.number else NOTHING))
            entries.append(
                Entry(figure(beside.difference, metric.unit, sign=True), beside.verdict) if beside else Entry(NOTHING)
            )
        if table.baseline:
            bold = metric.name in row.better
            entries.append(_interval(row.paired.get(metric.name), metric.unit, sign=True, bold=bold))
    return entries


def _interval(interval: Interval | None, unit: str, sign: bool = False, bold: bool = False) -> Entry:
    if interval is None:
        return Entry(NOTHING)
    lower, upper = (figure(end, unit, sign) for end in (interval.lower, interval.upper))
    return Entry(figure(interval.mean, unit, sign), f"[{lower}, {upper}]", bold)


def _published(table: Table, number: Number, metrics: Sequence[Metric]) -> tuple[Entry, ...]:
    """Return the row of a published number that no row of ours has."""
    if number.strategy:
        label = Entry(number.model, f"strategy {number.strategy}, no cells here")
    else:
        label = Entry(number.model, f"({number.citation})")
    entries = [label, Entry(NOTHING)]
    for metric in metrics:
        entries.append(Entry(NOTHING))
        if table.column and metric.name == table.column.metric:
            entries += [Entry(f"{number.value:.2f}"), Entry(NOTHING)]
        if table.baseline:
            entries.append(Entry(NOTHING))
    return tuple(entries)


def _letter(index: int) -> str:
    """Return a, b, ..., z, aa, ab, ..."""
    letters = ""
    index += 1
    while index:
        index, place = divmod(index - 1, 26)
        letters = chr(ord("a") + place) + letters
    return letters
