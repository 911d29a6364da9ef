"""Whether fresh records agree with those that come with bench and with the published numbers (`--check`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench.protocol import Metric, UserError
from bench.report import Records, View, outputs, published, sources
from bench.report.layout import amount, figure
from bench.report.metrics import meaning
from bench.report.statistics import CONFIDENCE, Interval, again, difference, holm, mean
from bench.report.tables import Table, build


@dataclass(frozen=True)
class _Compared:
    """A score of a row, the same row's committed one, and their difference."""

    place: str
    metric: Metric
    ours: Interval
    committed: Interval
    apart: Interval

    @property
    def visible(self) -> bool:
        """Whether the difference is more than 0 in the digits that are printed."""
        return figure(abs(self.apart.mean), self.metric.unit) != figure(0.0, self.metric.unit)


def agreement(records: Records, view: View) -> tuple[str, bool]:
    """Return what differs, a sentence each, and whether nothing does; see `bench.report.agreement`.

    A score differs where 0 is outside of the interval of the difference at 5 % for all comparisons together, by Holm's
    method, and the difference is not 0 as printed; a published number does where the table says `outside`.
    """
    registry = records.registry or sources.default_registry()
    made = outputs.gathered(replace(records, registry=registry), view)
    if not any(source.stores for _, source in made.tables):
        raise UserError(
            "--check compares fresh records with the committed ones: there is no run store; name one by --store"
        )
    numbers = published.read()
    compared: list[_Compared] = []
    lone: list[_Compared] = []
    for table, source in made.tables:
        committed = sources.committed_of(source.plan, registry, source.plan.name) if source.stores else None
        if committed is not None:
            other = build(table.name, replace(committed, evaluation=source.evaluation), numbers)
            for one in _with_committed(table, other):
                (compared if one.apart.seeds else lone).append(one)
    fresh = [table for table, source in made.tables if source.stores]
    beside = [row for table in fresh for row in table.rows if row.comparison]
    if not (compared or lone or beside):
        raise UserError("--check: no record that comes with bench and no published number is of these settings")
    adjusted = holm([one.apart.p for one in compared])
    level = 1 - CONFIDENCE
    lines = [_sentence(one) for one, p in zip(compared, adjusted, strict=True) if p <= level and one.visible]
    lines += [sentence for table in fresh for sentence in _outside(table)]
    counts = [_counted(len(compared), "committed score")] if compared or lone else []
    counts += [_counted(len(beside), "published number")] if beside else []
    differ = "1 differs" if len(lines) == 1 else f"{len(lines) or 'none'} differ"
    text = f"Compared with {' and '.join(counts)}: {differ} by more than chance explains."
    if lone:
        rows = dict.fromkeys(one.place for one in lone)
        lines.append(f"Not compared, since one seed cannot tell: {'; '.join(rows)}")
    return "\n".join([text, *lines]), not (len(lines) - bool(lone))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _with_committed(table: Table, committed: Table) -> Iterator[_Compared]:
    """Give every score of a row that was committed, too, under the same settings."""
    rows = {row.setting: row for row in committed.rows}
    for row in table.rows:
        other = rows.get(row.setting)
        for metric in table.shown if other else ():
            ours, theirs = row.trained(metric.name), other.trained(metric.name) if other else {}
            both = ours.keys() & theirs.keys()
            if paired := len(both) > 1:  # cell by cell
                ours, theirs = ({seed: side[seed] for seed in sorted(both)} for side in (ours, theirs))
            apart = again(ours, theirs) if paired else difference([*ours.values()], [*theirs.values()])
            means = mean([*ours.values()]), mean([*theirs.values()])
            if means[0] and means[1] and apart:
                yield _Compared(f"{table.name}, {row.label}", metric, means[0], means[1], apart)


def _sentence(one: _Compared) -> str:
    unit, title = one.metric.unit, meaning(one.metric.name).title
    mean, low, high = (figure(value, unit, sign=True) for value in (one.apart.mean, one.apart.lower, one.apart.upper))
    return (
        f"{one.place}: {title} {amount(one.ours.mean, unit)}, committed {figure(one.committed.mean, unit)};"
        f" difference {mean} [{low}, {high}]"
    )


def _outside(table: Table) -> Iterator[str]:
    """Give a sentence on each row whose published number lies outside of its interval."""
    for row in table.rows:
        if row.comparison and row.comparison.outside and row.number and table.column:
            score, unit = row.scores[table.column.metric], table.column.unit
            low, high = figure(score.lower, unit), figure(score.upper, unit)
            yield (
                f"{table.name}, {row.label}: {meaning(table.column.metric).title} {figure(score.mean, unit)}"
                f" [{low}, {high}] {unit}, published {figure(row.number.value, unit)}"
            )
