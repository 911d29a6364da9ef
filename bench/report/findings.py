"""What a table comes to, in sentences that stand before it: the answer first, then what is open, failed and in doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.protocol import Metric
from bench.report.layout import figure
from bench.report.metrics import meaning
from bench.report.power import MOST, Need, need
from bench.report.rows import Row
from bench.report.tables import Table
from bench.sweep.record import FAILED

Kind = Literal["better", "worse", "same", "undecided", "published", "failed", "cost", "doubt"]


@dataclass(frozen=True)
class Finding:
    """A sentence, or a few, on some rows of a table.

    Attributes:
        kind: what it is about.
        sentence: for a reader who has not seen the table yet.
        rows: the labels of the rows that it speaks of.
    """

    kind: Kind
    sentence: str
    rows: tuple[str, ...] = ()


def findings(table: Table) -> list[Finding]:
    """Return what a table comes to, in the order in which it is to be read."""
    return [*_verdicts(table), *_failures(table), *_costs(table)]


def _verdicts(table: Table) -> Iterator[Finding]:
    metric = table.headline
    if metric is None:
        return
    for kind in ("better", "worse"):
        rows = [row for row in table.rows if row.verdict and row.verdict.kind == kind]
        if rows:
            parts = [f"{row.label}, by {_size(row, metric)}" for row in rows]
            title = meaning(metric.name).title
            yield Finding(
                kind, f"{kind.capitalize()} than {table.baseline} in {title}: {'; '.join(parts)}.", _labels(rows)
            )


def _size(row: Row, metric: Metric) -> str:
    apart = row.differences[metric.name]
    ends = sorted((abs(apart.lower), abs(apart.upper)))
    low, high = (figure(end, metric.unit) for end in ends)
    return f"{figure(abs(apart.mean), metric.unit)} {metric.unit} [{low}, {high}]"


def _failures(table: Table) -> Iterator[Finding]:
    rows = [row for row in table.rows if any(status in FAILED for status in row.failed)]
    if rows:
        parts = [
            f"{row.label}, {', '.join(f'{n} {status}' for status, n in row.failed.items())} of {len(row.outcomes)}"
            for row in rows
        ]
        yield Finding("failed", f"Failed: {'; '.join(parts)}.", _labels(rows))


def _costs(table: Table) -> Iterator[Finding]:
    return iter(())


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(row.label for row in rows)
