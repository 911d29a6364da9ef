"""A table of one data set: a row per strategy with its hyper-parameters, the published numbers beside it.

Everything a table says is worked out here and in `rows`; `layout` puts it into columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.protocol import Metric, UserError
from bench.report.captions import caption, conditions, extended
from bench.report.cells import Plan
from bench.report.metrics import BITS, BOUND, DRAWS, EXACT, NATS, headline, meaning, with_columns
from bench.report.published import Column, Number, Published
from bench.report.rows import Row, group, marks, seeds_listed
from bench.report.selection import select
from bench.report.verdicts import Verdict, judge
from bench.words import listed, nearest

if TYPE_CHECKING:
    from bench.report.sources import Source
    from bench.sweep.record import Score as ScoreRow


@dataclass(frozen=True)
class Table:
    """A table of one data set.

    Attributes:
        name: short, for file labels: the data set.
        title: heading.
        source: where the records come from.
        metrics: those of the records, the ones with columns first.
        shown: those that have columns; the others are in the CSV file.
        rows: ours.
        others: published numbers of the paper's own models that no row of ours has.
        references: published numbers of other work.
        column: the paper's column, where there is one.
        baseline: the strategy that others are compared to, where it has a row beside others.
        headline: the metric of the verdicts; None where there are none.
        lead: the metric that a reader is shown first: that of the verdicts, else the nearest to a likelihood.
        judges: whether verdicts are by `lead`, where rows can be compared.
        margin: delta: differences in the headline metric within it are of no interest; None where nobody set one.
        comparisons: how many rows are compared to the baseline.
        command: what makes missing cells, in words.
        caption: what every figure means, in two sentences.
        conditions: how the models were trained and scored, one sentence each.
        missing: the note that names the cells without a record; empty where there are none.
        notes: what else is missing or left out, one sentence each.
    """

    name: str
    title: str
    source: str
    metrics: tuple[Metric, ...]
    shown: tuple[Metric, ...]
    rows: tuple[Row, ...]
    others: tuple[Number, ...]
    references: tuple[Number, ...]
    column: Column | None
    baseline: str
    headline: Metric | None
    lead: Metric | None
    judges: bool
    margin: float | None
    comparisons: int
    command: str
    caption: str
    conditions: tuple[str, ...]
    missing: str
    notes: tuple[str, ...]


def build(
    dataset: str,
    source: Source,
    published: Published,
    alone: bool = True,
    baseline: str | None = None,
    metric: str | None = None,
) -> Table:
    """Work out the table of one data set.

    Args:
        dataset: its name.
        source: the records and the cells that were planned, on this data set and others.
        published: the numbers to set beside.
        alone: whether it is the only one of its grid, and so needs no name of its own.
        baseline: the label or strategy of the row that others are compared to; by default that of the published one.
        metric: of the verdicts, in place of the grid's.

    A baseline or a metric that this data set lacks is said in a note; `demand` refuses one that no data set has.
    """
    plan = source.plan.of(dataset)
    if not alone and plan.title:
        plan = replace(plan, title=f"{plan.title}: {dataset}")
    records = [record for record in source.records if record.dataset.name == dataset]
    selection = select(records, plan, source.evaluation, source.all_settings)
    plan = selection.plan
    rows = group(selection.outcomes, plan, selection.left)
    key = published.column_of(dataset)
    column, numbers = published.columns.get(key), published.of(key)
    metrics, versions = _metrics(rows, column)
    sampled = any(outcome.sampled for row in rows for outcome in row.outcomes.values())
    columns = with_columns([metric.name for metric in metrics], sampled)
    chosen, doubt = _headline(plan, rows, metrics, metric)
    nearest_name = headline([m.name for m in metrics])  # to a likelihood
    leading = chosen or next((m for m in metrics if m.name == nearest_name), None)
    shown = tuple(metric for metric in metrics if metric.name in columns or metric is leading)
    reference = baseline or published.baseline
    baselines = {row.setting.context: row for row in reversed(rows) if row.setting.strategy == reference}
    if baseline:
        named = {row.setting.context: row for row in reversed(rows) if row.label == baseline}
        baselines = named or baselines
        if not baselines:
            doubt = [*doubt, f'nothing is compared: {dataset} has no row "{baseline}"']
        elif not any(row.finished for row in baselines.values()):
            doubt = [*doubt, f'nothing is compared: "{baseline}" has no scores yet']
    pairs = [(row, baselines[row.setting.context]) for row in rows if row.setting.context in baselines]
    pairs = [(row, other) for row, other in pairs if row is not other]
    for row in rows:
        row.average(metrics, source.arrays)
        row.watch(source.curves)
    for row, other in pairs:
        row.compare(other, metrics)
    for row in rows:
        row.gain(rows, metrics)
    # it is a difference in the grid's own metric
    own = chosen is None or chosen.name == (plan.headline or nearest_name)
    margin = plan.same_within.get(dataset) if own else None
    if chosen:
        judge(pairs, chosen, margin)
        for other in {id(other): other for _, other in pairs}.values():
            other.verdict = Verdict("baseline", "baseline")
    for row in rows:
        if column:
            row.set_beside(numbers, column, metrics)
        row.marks = marks(row, shown, numbers, column)
    compared_to = reference if any(row.differences for row in rows) else ""
    paper = column and plan.name in ("", column.grid)  # another grid on the same data has a title of its own
    title = f"{published.source.rpartition(', ')[2]}, {column.title}" if column and paper else plan.title or dataset
    judged = chosen if compared_to else None
    return Table(
        name=dataset,
        title=title,
        source=source.words,
        metrics=metrics,
        shown=shown,
        rows=tuple(rows),
        others=tuple(n for n in numbers if n.strategy and not any(row.number == n for row in rows)),
        references=tuple(n for n in numbers if not n.strategy),
        column=column,
        baseline=compared_to,
        headline=judged,
        lead=leading,
        judges=chosen is not None,
        margin=margin,
        comparisons=len(pairs),
        command=source.command,
        caption=caption(rows, shown, compared_to, judged, len(pairs)),
        conditions=conditions(rows, shown, column, published.source),
        missing=_missing(rows, source.command),
        notes=(*doubt, *extended(rows, plan), *selection.notes, *source.notes, *versions),
    )


def demand(tables: Sequence[Table], baseline: str | None, metric: str | None) -> None:
    """Refuse a baseline or a metric that no data set has.

    Raises:
        UserError: it says what there is.
    """
    metrics = list(dict.fromkeys(one.name for table in tables for one in table.metrics))
    if metric and metric not in metrics:
        there = f"; there are {listed(metrics)}" if metrics else ": none of these settings has scores"
        raise UserError(f'--metric: no record has the metric "{metric}"{nearest(metric, metrics) or there}')
    rows = [row for table in tables for row in table.rows]
    labels = list(dict.fromkeys(row.label for row in rows))
    if baseline and baseline not in {*labels, *(row.setting.strategy for row in rows)}:
        hint = nearest(baseline, labels) or f"; there are {listed(labels)}"
        where = f"{tables[0].name} has no" if len(tables) == 1 else "no data set has a"
        raise UserError(f'--baseline: {where} row "{baseline}"{hint}')


def _missing(rows: Sequence[Row], command: str) -> str:
    """Return the note that names the cells without a record and the command that makes them."""
    lacking = [f"{row.label} {seeds_listed(row.missing)}" for row in rows if row.missing]
    count, planned = sum(len(row.missing) for row in rows), sum(row.planned for row in rows)
    return f"missing: {'; '.join(lacking)} ({count} of {planned} cells); {command}" if lacking else ""


# ---------------------------------------------------------------- metrics


def _otherwise(score: ScoreRow, metrics: Mapping[str, Metric]) -> str:
    """Return in what a score is not of the metric that counts, in words; empty where it is."""
    metric = metrics[score.metric]
    if score.version != metric.version:
        return f"version {score.version} of that metric instead of {metric.version}"
    if score.unit != metric.unit:
        return f"in {score.unit} instead of {metric.unit}"
    return f"better {score.better} instead of {metric.better}" if score.better != metric.better else ""


def _headline(
    plan: Plan, rows: Sequence[Row], metrics: Sequence[Metric], asked: str | None
) -> tuple[Metric | None, list[str]]:
    """Return the metric of the verdicts, and a note where it is not the one that was named, or ranks no models."""
    names = {metric.name: metric for metric in metrics}
    if asked and asked not in names:
        return None, [f'no verdicts: no record has the metric "{asked}"; there are {listed(names)}'] if names else []
    if asked and not meaning(asked).ranks:
        return names[asked], [f"verdicts are by {meaning(asked).title}, {BOUND}: they may be on that bias"]
    chosen = asked or plan.headline or headline(list(names))
    if not chosen:
        return None, []  # nothing was named, and nothing has a score
    title, corrected = meaning(chosen).title, next((name for name in names if meaning(name).corrects == chosen), "")
    if not any(row.finished for row in rows) or (chosen in names and meaning(chosen).ranks):
        return names.get(chosen), []
    if corrected:
        return None, [f'no verdicts: {title}, the grid\'s headline metric, is {BOUND}; "{corrected}" ranks them']
    if chosen in names:
        return names[chosen], [f"verdicts are by {title}, {BOUND}: they may be on that bias"]
    hint = nearest(chosen, names) or f"; there are {listed(names)}"
    return None, [f'no verdicts: no record has the grid\'s headline metric "{chosen}"{hint}']


def _metrics(rows: Sequence[Row], column: Column | None) -> tuple[tuple[Metric, ...], list[str]]:
    """Return the metrics of the records, headline first, and notes on scores that are of another metric of that name.

    Of each name one metric counts: the latest version, and the unit and direction that most scores of it have. Other
    scores are dropped from the rows.
    """
    outcomes = [outcome for row in rows for outcome in row.outcomes.values()]
    # few in all, of many scores
    kinds = Counter((s.metric, s.unit, s.better, s.version) for outcome in outcomes for s in outcome.scores)
    metrics: dict[str, Metric] = {}
    for name, unit, better, version in sorted(kinds, key=lambda kind: (-kind[-1], -kinds[kind])):
        metrics.setdefault(name, Metric(name, unit, better, version))
    metrics = {name: metrics[name] for name in dict.fromkeys(name for name, *_ in kinds)}  # in their order
    notes = []
    for row in rows if len(metrics) < len(kinds) else ():
        for seed, outcome in row.outcomes.items():
            others = {score.metric: way for score in outcome.scores if (way := _otherwise(score, metrics))}
            if others:
                kept = [score for score in outcome.scores if score.metric not in others]
                row.outcomes[seed] = outcome.with_scores(kept)
            notes += [f"left out: {name} of {outcome.name}, which is {way}" for name, way in others.items()]
    if not metrics and column:  # nothing has run yet, and the headings are clear all the same
        names = BITS if column.metric in BITS else NATS
        return tuple(Metric(name, column.unit) for name in names[:2]), notes
    first = [*EXACT, *BITS, *NATS, *DRAWS]
    return tuple(sorted(metrics.values(), key=lambda m: first.index(m.name) if m.name in first else len(first))), notes
