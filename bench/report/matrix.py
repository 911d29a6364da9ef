"""One metric over all data sets of a grid: a row per strategy, a column per data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.captions import caption, matrix_title
from bench.report.published import Published
from bench.report.rows import Metric, Row
from bench.report.tables import EXACT, Table


@dataclass(frozen=True)
class Matrix:
    """A table of one metric.

    Attributes:
        name: short, for file labels.
        title: heading.
        source: where the records come from.
        metric: what it shows.
        columns: data sets.
        rows: label -> the row of each data set's own table, None where it has none.
        caption: what every figure means.
        notes: what is missing or left out, one sentence each.
    """

    name: str
    title: str
    source: str
    metric: Metric
    columns: tuple[str, ...]
    rows: dict[str, tuple[Row | None, ...]]
    caption: str
    notes: tuple[str, ...]


def build(tables: Sequence[Table], title: str, published: Published, command: str) -> list[Matrix]:
    """Return a matrix for each metric against a known density that the tables of several data sets have.

    Args:
        tables: one a data set, of one grid.
        title: the grid's.
        published: names the strategy that others are compared to.
        command: what makes missing cells.
    """
    if len(tables) < 2:
        return []
    found = {metric.name: metric for table in tables for metric in table.metrics}
    labels = dict.fromkeys(row.label for table in tables for row in table.rows)
    by_label = [{row.label: row for row in table.rows} for table in tables]
    rows = {label: tuple(known.get(label) for known in by_label) for label in labels}
    every = [row for table in tables for row in table.rows]
    baseline = next((table.baseline for table in tables if table.baseline), "")
    notes = (*_missing(tables, command), *_left_out(tables))
    made = []
    for name in EXACT:
        if name not in found:
            continue
        metric, heading = found[name], matrix_title(title, name)
        made.append(
            Matrix(
                name=name,
                title=heading,
                source=tables[0].source,
                metric=metric,
                columns=tuple(table.name for table in tables),
                rows=rows,
                caption=caption(heading, every, [metric], None, published, baseline),
                notes=notes,
            )
        )
    return made


def _missing(tables: Sequence[Table], command: str) -> list[str]:
    """Return the note that counts the cells without a record."""
    lacking = {table.name: sum(len(row.missing) for row in table.rows) for table in tables}
    planned = sum(row.planned for table in tables for row in table.rows)
    count = sum(lacking.values())
    if not count:
        return []
    where = ", ".join(f"{number} on {name}" for name, number in lacking.items() if number)
    return [f"missing: {count} of {planned} cells ({where}); {command}"]


def _left_out(tables: Sequence[Table]) -> list[str]:
    """Return the tables' own notes; where the missing cells of each are named, here they are counted."""
    notes = [note for table in tables for note in table.notes if not note.startswith("missing: ")]
    return list(dict.fromkeys(notes))
