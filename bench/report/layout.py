"""Tables put into columns, the same ones for the terminal, Markdown and LaTeX: of one data set, or across all."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from bench import words
from bench.protocol import Metric
from bench.report.captions import caption
from bench.report.metrics import EXACT, after, meaning
from bench.report.published import Number
from bench.report.rows import Comparison, Row, marks
from bench.report.statistics import Interval
from bench.report.tables import Table

if TYPE_CHECKING:
    from bench.report.findings import Finding

NOTHING = "-"
#: kind of a finding, or sign of an entry -> what stands before it, which tells them apart without colour
SIGNS = {"better": "▲", "worse": "▼", "same": "=", "undecided": "?", "failed": "✗", "doubt": "!"}
OTHER = "·"
_DIGITS = {"nats": 2, "bits/dim": 3, "1": 3}  # after the point, by unit


class Heading(NamedTuple):
    """A column's heading.

    Attributes:
        part: 1, 2, ... says where a narrow table is cut, and 0 what stands in every part.
        words: below it stand words in place of figures: they are broken at blanks to lines of about so many signs
            where the table is too wide; 0: figures, which are never broken.
    """

    text: str
    part: int = 0
    words: int = 0


@dataclass(frozen=True)
class Entry:
    """What stands in a column of a row.

    Attributes:
        text: a figure or words.
        below: smaller, what belongs to it.
        bold: whether it is set off.
        marks: footnote letters.
        sign: `better` or `worse`, which is shown in colour and by a sign alike.
        sort: the number by which a page sorts; None where there is none.
    """

    text: str
    below: str = ""
    bold: bool = False
    marks: str = ""
    sign: Literal["", "better", "worse"] = ""
    sort: float | None = None

    def __post_init__(self) -> None:
        words.clean(self, "text", "below")


@dataclass(frozen=True)
class Layout:
    """A table as it is printed; its first column holds labels, the others figures.

    Attributes:
        name: short, for file labels.
        title: what stands above it.
        headings: one a column.
        sections: rows of entries, one a column.
        footnotes: letters of entries and what they stand for.
        notes: what is missing or left out, one sentence each.
        caption: what every figure means.
        conditions: how the models were trained and scored, one sentence each.
        source: where the records come from.
        findings: what it comes to, in sentences that stand before it.
    """

    name: str
    title: str
    headings: tuple[Heading, ...]
    sections: tuple[tuple[tuple[Entry, ...], ...], ...]
    footnotes: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    caption: str = ""
    conditions: tuple[str, ...] = ()
    source: str = ""
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        # records and plans may come from a stranger
        words.clean(self, "name", "title", "headings", "footnotes", "notes", "caption", "conditions", "source")

    @property
    def rows(self) -> tuple[tuple[Entry, ...], ...]:
        """The rows of all sections."""
        return tuple(row for section in self.sections for row in section)

    @property
    def plain(self) -> Layout:
        """The same without footnotes and notes, of which findings say what matters."""
        sections = (tuple(tuple(replace(e, marks="") for e in row) for row in section) for section in self.sections)
        return replace(self, sections=tuple(sections), footnotes=(), notes=(), conditions=(), source="")

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
        headings = tuple(self.headings[index] for index in kept)
        return replace(self, headings=headings, sections=tuple(filter(None, sections)))


class _Letters(dict[str, str]):
    """Footnotes and their letters: a, b, ..., z, aa, ab, ..., in the order in which they are asked for."""

    def __missing__(self, note: str) -> str:
        index, letters = len(self), ""
        while index >= 0:
            index, place = divmod(index, 26)
            index, letters = index - 1, string.ascii_lowercase[place] + letters
        self[note] = letters
        return letters

    def of(self, notes: Iterable[str]) -> str:
        """Return the letters of these footnotes."""
        return ",".join(self[note] for note in notes)

    @property
    def footnotes(self) -> tuple[tuple[str, str], ...]:
        return tuple((letter, note) for note, letter in self.items())


# ---------------------------------------------------------------- of one data set


def layout(table: Table) -> Layout:
    """Put the table of one data set into columns."""
    headings = [Heading("strategy", 0), Heading("seeds", 1)]
    for part, metric in enumerate(table.shown, 1):
        title = meaning(metric.name).title
        headings.append(Heading(f"{title}{after(metric.unit, ', ')}", part))
        if table.column and metric.name == table.column.metric:
            headings += [Heading("published", 1), Heading("difference", 1)]
        # a verdict and its difference are a part of their own, so that both fit where the screen is narrow
        compared = len(table.shown) + 1 if table.headline == metric else max(part, 2)
        if table.baseline:
            headings.append(Heading(f"{title} vs {table.baseline}", compared))
        if table.headline == metric:
            headings.append(Heading("verdict", compared, words=20))
    letters = _Letters()
    ours = [_entries(table, row, letters.of(row.marks)) for row in table.rows]
    others, references = (
        [_entries(table, Row(number.model, number=number)) for number in numbers]
        for numbers in (table.others, table.references)
    )
    return Layout(
        f"{table.name}-metrics",
        f"{table.title}: every metric",
        tuple(headings),
        tuple(tuple(section) for section in (ours, others, references) if section),
        letters.footnotes,
        (*filter(None, [table.missing]), *table.notes),
        table.caption,
        table.conditions,
        table.source,
    )


def _entries(table: Table, row: Row, letters: str = "") -> tuple[Entry, ...]:
    """Return what stands in the columns of a row: of ours, or of a published number that no row of ours has."""
    number, compared = row.number, row.comparison
    if row.planned:
        below, seeds = number.model if number else "", f"{len(row.finished)}/{row.planned}"
    elif number and number.strategy:
        below, seeds = f"strategy {number.strategy}, no row of its settings", NOTHING
    else:
        below, seeds = f"({number.citation})" if number else "", NOTHING
    entries = [Entry(row.label, below, marks=letters), Entry(seeds, _failed(row))]
    for metric in table.shown:
        entries.append(interval(row.scores.get(metric.name), metric.unit))
        if table.column and metric.name == table.column.metric:
            entries += published(number, compared, metric.unit)
        if table.baseline:
            marked = table.headline == metric and row.verdict is not None and row.verdict.marked
            entries.append(interval(row.differences.get(metric.name), metric.unit, sign=True, bold=marked))
        if table.headline == metric:
            entries.append(Entry(row.verdict.words if row.verdict else NOTHING))
    return tuple(entries)


def published(number: Number | None, compared: Comparison | None, unit: str) -> tuple[Entry, Entry]:
    """Return a published number, and ours minus it with what that comes to."""
    there = Entry(f"{number.value:.2f}", sort=number.value) if number else Entry(NOTHING)
    if compared is None:
        return there, Entry(NOTHING)
    apart = figure(compared.difference, unit, sign=True)
    return there, Entry(apart, compared.verdict, sort=compared.difference)


def figure(value: float, unit: str, sign: bool = False) -> str:
    """Return a number as tables print it: two digits for nats, three for bits per dimension and what has no unit.

    In other units it has two, and where these would leave little of it three that count.
    """
    if unit not in _DIGITS and 0 < abs(value) < 0.1:
        return f"{value:{'+' if sign else ''}.3g}"
    text = f"{value:{'+' if sign else ''}.{_DIGITS.get(unit, 2)}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def amount(value: float, unit: str) -> str:
    """Return a number with its unit."""
    return f"{figure(value, unit)}{after(unit)}"


def interval(estimate: Interval | None, unit: str, sign: bool = False, bold: bool = False) -> Entry:
    """Return an estimate with its 95 % interval below."""
    if estimate is None:
        return Entry(NOTHING)
    lower, upper = (figure(end, unit, sign) for end in (estimate.lower, estimate.upper))
    return Entry(figure(estimate.mean, unit, sign), f"[{lower}, {upper}]", bold, sort=estimate.mean)


def _failed(row: Row) -> str:
    return ", ".join(f"{count} {status}" for status, count in row.failed.items())


# ---------------------------------------------------------------- across data sets


def across(tables: Sequence[Table], title: str, command: str) -> list[Layout]:
    """Return a table of one metric, a row per strategy and a column per data set.

    There is one for each metric against a known density that the tables of several data sets have.

    Args:
        tables: one a data set, of one grid.
        title: the grid's.
        command: what makes missing cells.
    """
    metrics = {metric.name: metric for table in tables for metric in table.metrics}
    shown = [metrics[name] for name in EXACT if name in metrics]
    return [_across(tables, metric, title, command) for metric in shown] if len(tables) > 1 else []


def _across(tables: Sequence[Table], metric: Metric, title: str, command: str) -> Layout:
    rows = [row for table in tables for row in table.rows]
    letters = _Letters()
    section = []
    for label in dict.fromkeys(row.label for row in rows):
        line = [next((row for row in table.rows if row.label == label), Row(label)) for table in tables]
        own_marks = [marks(row, [metric], (), None) for row in line]  # not those of other metrics
        attempted = [said for row, said in zip(line, own_marks, strict=True) if row.outcomes]
        common = [mark for mark in attempted[0] if all(mark in said for said in attempted)] if attempted else []
        entries = [Entry(label, marks=letters.of(common))]
        for row, said in zip(line, own_marks, strict=True):
            verdict = row.verdict if any(t.headline == metric and row in t.rows for t in tables) else None
            entry = interval(row.scores.get(metric.name), metric.unit, bold=verdict is not None and verdict.marked)
            below = entry.below or _failed(row)
            if verdict and verdict.kind in ("better", "worse", "same"):  # the others stand in the table of one data set
                below = f"{below} {verdict.words}"
            own = letters.of(mark for mark in said if mark not in common)
            entries.append(replace(entry, below=below, marks=own))
        section.append(tuple(entries))
    heading = f"{title}, {meaning(metric.name).title}"
    lacking = {table.name: sum(len(row.missing) for row in table.rows) for table in tables}
    where = ", ".join(f"{number} on {name}" for name, number in lacking.items() if number)
    missing = f"missing: {sum(lacking.values())} of {sum(row.planned for row in rows)} cells ({where}); {command}"
    baseline = next((table.baseline for table in tables if table.baseline), "")
    judged = next((table.headline for table in tables if table.headline == metric), None)
    compared = max(sum(row.verdict is not None and row.verdict.kind != "baseline" for row in t.rows) for t in tables)
    return Layout(
        metric.name,
        heading,
        (Heading("strategy", 0), *(Heading(table.name, part) for part, table in enumerate(tables, 1))),
        (tuple(section),),
        letters.footnotes,
        (*([missing] if where else []), *dict.fromkeys(note for table in tables for note in table.notes)),
        caption(rows, [metric], baseline, judged, compared, " of each data set"),
        tuple(sentence for sentence in tables[0].conditions if all(sentence in t.conditions for t in tables)),
        tables[0].source,
    )
