"""A table put into columns, the same ones for the terminal, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.report.matrix import Matrix
from bench.report.published import Number
from bench.report.rows import Metric, Row
from bench.report.statistics import Interval
from bench.report.tables import Table, with_columns

NOTHING = "-"


@dataclass(frozen=True)
class Heading:
    """A column's heading; `part`, 1, 2, ..., says where a narrow table is cut, and 0 what stands in every part."""

    text: str
    part: int
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

    @property
    def parts(self) -> int:
        """Into how many tables it can be cut."""
        return max(heading.part for heading in self.headings)

    def cut(self, count: int) -> tuple[Layout, ...]:
        """Return so many tables, each with a share of the parts; those that would have no row are left out."""
        every = range(1, self.parts + 1)
        shares = [{part for part in every if (part - 1) * count // self.parts == share} for share in range(count)]
        return tuple(part for part in map(self._of, shares) if len(part.headings) > 1 and part.sections)

    def _of(self, parts: set[int]) -> Layout:
        kept = [index for index, heading in enumerate(self.headings) if heading.part in {0, *parts}]
        rows = ([tuple(row[index] for index in kept) for row in section] for section in self.sections)
        # a row that has its only figure in another part is of no use in this one
        sections = [
            tuple(row for row in section if any(entry.text != NOTHING or entry.below for entry in row[1:]))
            for section in rows
        ]
        return Layout(tuple(self.headings[index] for index in kept), tuple(filter(None, sections)), self.footnotes)


def layout(table: Table | Matrix) -> Layout:
    """Put a table into columns."""
    if isinstance(table, Matrix):
        return _matrix(table)
    metrics = with_columns(table.metrics)
    headings = [Heading("strategy", 0, numeric=False), Heading("seeds", 1)]
    for part, metric in enumerate(metrics, 1):
        headings.append(Heading(f"{metric.title}, {metric.unit}", part))
        if table.column and metric.name == table.column.metric:
            headings += [Heading("published", 1), Heading("difference", 1)]
        if table.baseline:
            headings.append(Heading(f"{metric.title} vs {table.baseline}", max(part, 2)))
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


def _matrix(matrix: Matrix) -> Layout:
    """Put one metric over several data sets into columns."""
    headings = [Heading("strategy", 0, numeric=False)]
    headings += [Heading(name, index) for index, name in enumerate(matrix.columns, 1)]
    letters: dict[str, str] = {}
    rows = []

    def lettered(marks: Iterable[str]) -> str:
        return ",".join(letters.setdefault(mark, _letter(len(letters))) for mark in marks)

    for label, across in matrix.rows.items():
        known = [row.marks for row in across if row and row.outcomes]
        common = [mark for mark in known[0] if all(mark in marks for marks in known)] if known else []
        entries = [Entry(label, marks=lettered(common))]
        for row in across:
            entry = _scored(row, matrix.metric) if row else Entry(NOTHING)
            own = lettered(mark for mark in row.marks if mark not in common) if row else ""
            entries.append(replace(entry, marks=own))
        rows.append(tuple(entries))
    return Layout(tuple(headings), (tuple(rows),), tuple((letter, mark) for mark, letter in letters.items()))


def _scored(row: Row, metric: Metric) -> Entry:
    """Return a row's mean, or what became of its cells where there is none."""
    entry = _interval(row.scores.get(metric.name), metric.unit, bold=metric.name in row.better)
    failed = ", ".join(f"{count} {status}" for status, count in row.failed.items())
    return replace(entry, below=failed) if entry.text == NOTHING else entry


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
