"""The table that a reader sees first: a line a strategy, with score, difference, verdict, cost and stability.

It is at most `WIDTH` signs wide on a terminal. `beside` sets the published numbers next to ours, and `pairs` compares
every two rows.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Literal

from bench.protocol import Metric
from bench.report.captions import caption, over, own_baselines
from bench.report.layout import NOTHING, Entry, Heading, Layout, interval, published
from bench.report.metrics import after, meaning
from bench.report.rows import Row
from bench.report.statistics import Interval
from bench.report.tables import Table
from bench.report.times import minutes
from bench.report.verdicts import Verdict, judge

WIDTH = 100
_VERDICT = 10  # signs of the column of verdicts


def summary(table: Table) -> Layout:
    """Return a line for each row that has records: the headline score, its difference, cost and stability."""
    metric = table.lead
    headings = [Heading("strategy"), Heading("seeds")]
    if metric:
        headings.append(Heading(f"{meaning(metric.name).title}{after(metric.unit, ', ')}"))
    if table.headline:
        headings += [Heading(f"vs {table.baseline}"), Heading("verdict", words=_VERDICT)]
    headings += [Heading("fit, min"), Heading("worst jump")]
    rows = [row for row in table.rows if row.outcomes] or table.rows
    return Layout(
        table.name,
        table.title,
        tuple(headings),
        (tuple(_entries(table, row) for row in rows),),
        caption=_caption(table),
    )


def _entries(table: Table, row: Row) -> tuple[Entry, ...]:
    metric, entries = table.lead, [label(row), seeds(row)]
    if metric:
        known = _known(row, metric)
        entries.append(interval(row.scores.get(known or metric.name), metric.unit))
    if table.headline:
        entries += _compared(row.differences.get(table.headline.name), row.verdict, table.headline.unit)
    fit, rise = row.resource("fit_seconds"), row.jumps.gradient
    entries.append(Entry(minutes(fit) if fit is not None else NOTHING, sort=fit))
    entries.append(factor(rise))
    return tuple(entries)


def _known(row: Row, metric: Metric) -> str:
    """Return the metric that stands for one by annealing where the likelihood is known; empty where none does."""
    corrected = meaning(metric.name).corrects
    return corrected if row.exact and metric.name not in row.scores and corrected in row.scores else ""


def label(row: Row) -> Entry:
    """Return a row's name, what its settings are below."""
    name, bracket, settings = row.label.partition("[")
    return Entry(name, f"{bracket}{settings}") if bracket else Entry(row.label)


def seeds(row: Row) -> Entry:
    """Return how many seeds came to scores of those planned, and below it how the others ended."""
    ended = ", ".join(f"{number} {status}" for status, number in row.failed.items())
    return Entry(f"{len(row.finished)}/{row.planned}", ended, sort=len(row.finished))


def factor(value: float | None) -> Entry:
    """Return by how many times something rose."""
    return Entry(NOTHING) if value is None else Entry(f"{value:.3g}x", sort=value)


def _compared(apart: Interval | None, verdict: Verdict | None, unit: str) -> list[Entry]:
    """Return a difference and its verdict; of the baseline that it is one."""
    if verdict is None or verdict.kind == "baseline":
        return [Entry(NOTHING), Entry("baseline" if verdict else NOTHING)]
    sign: Literal["", "better", "worse"] = ""
    if verdict.kind == "better" or verdict.kind == "worse":
        sign = verdict.kind
    return [interval(apart, unit, sign=True), Entry(verdict.words, sign=sign, bold=verdict.marked)]


def single(table: Table, metric: Metric) -> Layout:
    """Return a table of one metric: score, difference, and the verdict where it is by this metric."""
    headings = [
        Heading("strategy"),
        Heading("seeds"),
        Heading(f"{meaning(metric.name).title}{after(metric.unit, ', ')}"),
    ]
    judged = table.headline == metric
    if table.baseline:
        headings.append(Heading(f"vs {table.baseline}"))
    if judged:
        headings.append(Heading("verdict", words=_VERDICT))
    lines = []
    rows = [row for row in table.rows if row.outcomes]
    for row in rows:
        entries = [label(row), seeds(row), interval(row.scores.get(metric.name), metric.unit)]
        apart = row.differences.get(metric.name)
        if judged:
            entries += _compared(apart, row.verdict, metric.unit)
        elif table.baseline:
            entries.append(interval(apart, metric.unit, sign=True))
        lines.append(tuple(entries))
    said = caption(rows, [metric], table.baseline, table.headline if judged else None, table.comparisons)
    sections = (tuple(lines),) if lines else ()
    return Layout(f"{table.name}-{metric.name}", table.title, tuple(headings), sections, caption=said)


def _caption(table: Table) -> str:
    metric = table.lead
    if metric is None or not any(row.scores for row in table.rows):
        return "No scores yet."
    said = meaning(metric.name)
    way = f"; {metric.better} is better" if metric.better != "neither" else ""
    text = f"{said.title}: {said.words or 'a metric of these records'}{way}. In brackets: 95 % intervals over"
    text += f" {over(table.rows, [metric])}"
    if table.headline:
        number = f"all {table.comparisons} comparisons" if table.comparisons > 1 else "the comparison"
        text += f", not adjusted; verdicts at 5 % for {number}"
    if own := own_baselines(table.rows, table.baseline):
        text += f". {own}"
    if known := [row.label for row in table.rows if _known(row, metric)]:
        text += f". Known exactly, and not by annealing: {', '.join(known)}"
    return f"{text}."


# ---------------------------------------------------------------- the published numbers


def beside(table: Table) -> list[Layout]:
    """Return the table of our numbers beside the published ones; none where there are none of these settings."""
    column = table.column
    if column is None or not any(row.number for row in table.rows):
        return []
    title = meaning(column.metric).title
    headings = (
        Heading("model"),
        Heading("seeds"),
        Heading(f"{title}{after(column.unit, ', ')}"),
        Heading("published"),
        Heading("difference"),
        Heading("", words=20),
    )
    sections = [[_beside(table, row) for row in table.rows if row.number or row.outcomes]]
    for numbers in (table.others, table.references):
        sections.append([_beside(table, Row(number.model, number=number)) for number in numbers])
    reason = f" ± {column.margin:g} ({column.margin_reason})" if column.margin else ""
    said = f"Difference: ours minus published. Inside: the published number lies within our interval{reason}."
    if any(row.comparison and row.comparison.verdict == "too wide to tell" for row in table.rows):
        said += f" Too wide to tell: that is over ± {column.widest:g}{after(column.unit)}."
    kept = tuple(tuple(section) for section in sections if section)
    return [
        Layout(f"{table.name}-published", f"{table.title}: beside the published numbers", headings, kept, caption=said)
    ]


def _beside(table: Table, row: Row) -> tuple[Entry, ...]:
    column, number, compared = table.column, row.number, row.comparison
    assert column is not None, "asked for where there is one"
    own = number.model if number and row.planned else f"({number.citation})" if number and not number.strategy else ""
    return (
        Entry(row.label, own),
        seeds(row) if row.planned else Entry(NOTHING),
        interval(row.scores.get(column.metric), column.unit),
        *(replace(entry, below="") for entry in published(number, compared, column.unit)),
        Entry(compared.verdict if compared else ""),
    )


# ---------------------------------------------------------------- every pair


def pairs(table: Table) -> list[Layout]:
    """Return a table of the difference of every two rows of the same conditions; none where nothing can be compared."""
    metric = table.lead
    if metric is None:
        return []
    compared: list[tuple[Row, Row]] = []
    for other, row in itertools.combinations(table.rows, 2):
        if row.setting.context == other.setting.context:
            own = replace(row, differences={}, verdict=None)
            own.compare(other, [metric])
            compared.append((own, other))
    if table.judges:
        judge(compared, metric, table.margin)
    lines = []
    for row, other in (pair for pair in compared if all(side.outcomes for side in pair)):
        line = label(row), label(other), interval(row.differences.get(metric.name), metric.unit, sign=True)
        untested = row.verdict is not None and row.verdict.kind == "none"  # the summary says why
        verdict = Entry("none") if untested else _compared(None, row.verdict, metric.unit)[1]
        lines.append((*line, verdict) if table.judges else line)
    if not lines:
        return []
    headings = ("strategy", "compared to", "difference", *(["verdict"] if table.judges else []))
    said = f"{meaning(metric.name).title}{after(metric.unit, ', ')}: the first minus the second."
    if table.judges:
        said += f" Verdicts hold at 5 % for all {len(compared)} comparisons together."
    title = f"{table.title}: every pair"
    return [Layout(f"{table.name}-pairs", title, tuple(map(Heading, headings)), (tuple(lines),), caption=said)]
