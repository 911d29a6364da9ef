"""A table of one data set: a row per strategy with its hyper-parameters, the published numbers beside it.

Everything a table says is worked out here; `layout` puts it into columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.report.arrays import paired_stderr
from bench.report.captions import METRICS, caption, seeds_listed
from bench.report.cells import Outcome, Plan, Setting, value_of
from bench.report.published import Column, Number, Published
from bench.report.rows import IN_DOUBT, Comparison, Metric, Row
from bench.report.statistics import over_seeds, paired

# A table has columns of one of these, the first that there are scores of: against a known density, in what images in
# colour are published in, and else. Likelihoods by annealing, the third of a kind, are not always asked for.
EXACT = ("kl_data", "nll_exact")
BITS = ("vlb_bits", "nll_bits", "nll_ais_bits")
NATS = ("vlb", "nll", "nll_ais")


@dataclass(frozen=True)
class Table:
    """A table of one data set.

    Attributes:
        name: short, for file labels: the data set.
        title: heading.
        source: where the records come from.
        metrics: those with columns.
        rows: ours.
        others: published numbers of the paper's own models that no row of ours has.
        references: published numbers of other work.
        column: the paper's column, where there is one.
        baseline: the strategy that others are compared to, where it has a row beside others.
        caption: what every figure means.
        notes: what is missing or left out, one sentence each.
    """

    name: str
    title: str
    source: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    others: tuple[Number, ...]
    references: tuple[Number, ...]
    column: Column | None
    baseline: str
    caption: str
    notes: tuple[str, ...]


def build(
    dataset: str,
    found: Mapping[str, Outcome],
    plan: Plan,
    published: Published,
    *,
    source: str,
    command: str,
    notes: Iterable[str] = (),
    stores: Sequence[Path] = (),
) -> Table:
    """Work out the table of one data set.

    Args:
        dataset: its name.
        found: cell id -> its record, as `cells.select` chose them.
        plan: the grid's cells; those on other data sets are not looked at.
        published: the numbers to set beside.
        source: where the records come from, in words.
        command: what makes missing cells.
        notes: further notes.
        stores: folders of run stores, where the scores of single test items are.
    """
    plan = plan.of(dataset)
    notes = list(notes)
    rows = _rows(found, plan)
    key = published.column_of(dataset)
    column = published.columns[key] if key else None
    metrics = _metrics(rows, column, notes)
    for row in rows:
        for metric in metrics:
            scores = over_seeds(list(row.values(metric.name).values()))
            if scores:
                row.scores[metric.name] = scores
    baseline = _pair(rows, metrics, published.baseline, stores)
    shown = with_columns(metrics)
    numbers = published.of(key) if key else []
    _compare(rows, numbers, column, metrics)
    for row in rows:
        row.marks = tuple(_marks(row, shown))
    unmatched = [n for n in numbers if n.strategy and not any(row.number == n for row in rows)]
    title = f"{published.source.rpartition(', ')[2]}, {column.title}" if column else plan.title or plan.name or dataset
    return Table(
        name=dataset,
        title=title,
        source=source,
        metrics=metrics,
        rows=tuple(rows),
        others=tuple(unmatched),
        references=tuple(n for n in numbers if not n.strategy),
        column=column,
        baseline=baseline,
        caption=caption(title, rows, shown, column, published, baseline),
        notes=(*_missing(rows, plan, command), *notes),
    )


# ---------------------------------------------------------------- rows


def _rows(found: Mapping[str, Outcome], plan: Plan) -> list[Row]:
    """Group cells by all but their seed, planned ones first and in their order."""
    labels: dict[Setting, str] = {}
    seeds: dict[Setting, set[int]] = {}
    outcomes: dict[Setting, dict[int, Outcome]] = {}
    for cell in plan.cells:
        labels.setdefault(cell.setting, cell.label)
        seeds.setdefault(cell.setting, set()).add(cell.seed)
        if cell.id in found:
            outcomes.setdefault(cell.setting, {})[cell.seed] = found[cell.id]
    planned = {cell.id for cell in plan.cells}
    for outcome in sorted(found.values(), key=lambda o: (o.setting.strategy, o.label, o.finished)):
        if outcome.cell not in planned:
            labels.setdefault(outcome.setting, outcome.label)
            outcomes.setdefault(outcome.setting, {})[outcome.seed] = outcome
    told = _told_apart(labels)
    rows = []
    for setting in labels:
        known = outcomes.get(setting, {})
        missing = tuple(sorted(seeds.get(setting, set()) - known.keys()))
        rows.append(Row(told[setting], setting, dict(sorted(known.items())), missing))
    return rows


def _told_apart(labels: Mapping[Setting, str]) -> dict[Setting, str]:
    """Add to labels that several settings share what these settings differ in."""
    told = {}
    for setting, label in labels.items():
        same = [other.flat() for other, name in labels.items() if name == label]
        ours = setting.flat()
        keys = dict.fromkeys(key for other in [ours, *same] for key in other)
        parts = [
            f"{key}={_shown(ours[key])}" if key in ours else f"no {key}"
            for key in keys
            if len({_shown(other.get(key)) for other in same}) > 1
        ]
        told[setting] = f"{label} ({', '.join(parts)})" if parts else label
    return told


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _metrics(rows: Sequence[Row], column: Column | None, notes: list[str]) -> tuple[Metric, ...]:
    """Return the metrics of the records, headline first; of several versions of one, the latest is kept."""
    versions: dict[str, int] = {}
    for outcome in _outcomes(rows):
        for score in outcome.scores:
            versions[score.metric] = max(score.version, versions.get(score.metric, 0))
    metrics: dict[str, Metric] = {}
    for row in rows:
        for seed, outcome in row.outcomes.items():
            kept = []
            for score in outcome.scores:
                name = score.metric
                if score.version == versions[name]:
                    kept.append(score)
                    metrics.setdefault(name, Metric(name, METRICS.get(name, (name, ""))[0], score.unit, score.better))
                else:
                    notes.append(
                        f"left out: {name} of {outcome.name}, which is version {score.version}"
                        f" of that metric instead of {versions[name]}"
                    )
            row.outcomes[seed] = outcome.model_copy(update={"scores": kept})
    if not metrics and column:  # nothing has run yet, and the headings are known all the same
        names = BITS if column.metric in BITS else NATS
        return tuple(Metric(name, METRICS[name][0], column.unit, "lower") for name in names[:2])
    first = [*EXACT, *BITS, *NATS]
    return tuple(sorted(metrics.values(), key=lambda m: first.index(m.name) if m.name in first else len(first)))


def with_columns(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Return the metrics that have columns; the others are in the CSV file."""
    for names in (EXACT, BITS, NATS):
        found = tuple(metric for metric in metrics if metric.name in names)
        if found:
            return found
    return tuple(metrics[:2])


def _outcomes(rows: Iterable[Row]) -> list[Outcome]:
    return [outcome for row in rows for outcome in row.outcomes.values()]


# ---------------------------------------------------------------- comparisons


def _pair(rows: Sequence[Row], metrics: Sequence[Metric], strategy: str, stores: Sequence[Path]) -> str:
    """Fill in the differences to the baseline of the same context; return the baseline's name if there are any."""
    baselines: dict[tuple[str, str, str, str], Row] = {}
    for row in rows:
        if row.setting.strategy == strategy:
            baselines.setdefault(row.setting.context, row)
    for row in rows:
        baseline = baselines.get(row.setting.context)
        if baseline is None or baseline is row:
            continue
        better = set()
        for metric in metrics:
            ours, theirs = row.values(metric.name), baseline.values(metric.name)
            difference = paired(
                ours,
                theirs,
                partial(_stderr, row, baseline, metric.name, stores),
            )
            if difference is None:
                continue
            row.paired[metric.name] = difference
            doubtful = row.unreliable(metric.name) or baseline.unreliable(metric.name)
            sign = {"lower": -1, "higher": 1}.get(metric.better, 0)
            sure = difference.basis == "seeds" and difference.excludes_zero and sign * difference.mean > 0
            if sure and not (doubtful or row.doubtful or baseline.doubtful):
                better.add(metric.name)
        row.better = frozenset(better)
    return strategy if any(row.paired for row in rows) else ""


def _stderr(row: Row, baseline: Row, metric: str, stores: Sequence[Path], seed: int) -> float | None:
    return paired_stderr(row.outcomes[seed], baseline.outcomes[seed], metric, stores)


def _compare(rows: Sequence[Row], numbers: Sequence[Number], column: Column | None, metrics: Sequence[Metric]) -> None:
    """Set the published number beside each row that is the same model."""
    if column is None:
        return
    metric = next((m for m in metrics if (m.name, m.unit) == (column.metric, column.unit)), None)
    for row in rows:
        hyper = json.loads(row.setting.hyper)
        row.number = next((n for n in numbers if n.belongs_to(row.setting.strategy, hyper)), None)
        ours = row.scores.get(column.metric)
        if row.number and ours and metric:
            value = row.number.value
            if row.unreliable(column.metric):
                verdict = IN_DOUBT
            elif ours.lower - column.margin <= value <= ours.upper + column.margin:
                verdict = "inside"
            else:
                verdict = "outside, better" if (ours.mean < value) == (metric.better == "lower") else "outside, worse"
            row.comparison = Comparison(row.number, ours.mean - value, verdict)


# ---------------------------------------------------------------- what is said about a row


def _marks(row: Row, shown: Sequence[Metric]) -> list[str]:
    """Return the footnotes of a row: what happened to its seeds, and what casts doubt on its figures."""
    seeds: dict[str, list[int]] = {}
    for seed, outcome in row.outcomes.items():
        if outcome.status != "ok":
            step = f" at step {outcome.last_step}" if outcome.last_step is not None else ""
            seeds.setdefault(f"{outcome.status}{step}{_because(outcome)}", []).append(seed)
            continue
        for sentence in _doubts(outcome, shown):
            seeds.setdefault(sentence, []).append(seed)
    marks = [f"{seeds_listed(found)}: {sentence}" for sentence, found in seeds.items()]
    if any(row.scores[metric.name].basis == "images" for metric in shown if metric.name in row.scores):
        marks.append("one seed: the interval is that of the test images and of log Z, and holds no other training")
    for metric in shown:
        ours, difference = row.scores.get(metric.name), row.paired.get(metric.name)
        if ours and difference and difference.n < ours.n:
            marks.append(f"{metric.title}: the difference is over the {difference.n} of {ours.n} seeds that both have")
    return marks


def _because(outcome: Outcome) -> str:
    # Diverged says its step itself
    reason = outcome.reason.removesuffix(f" at step {outcome.last_step}")
    return f" ({reason})" if reason else ""


def _doubts(outcome: Outcome, shown: Sequence[Metric]) -> list[str]:
    doubts: dict[str, list[str]] = {}
    concerned = {*(metric.name for metric in shown), "log_z"}  # which is in most of what is shown
    for name, score in outcome.by_metric.items():
        if name not in concerned:
            continue
        title = METRICS.get(name, (name, ""))[0]
        if not value_of(score).finite:
            doubts.setdefault("not a finite number, left out of the mean", []).append(title)
        elif score.unreliable:
            # what makes log Z unreliable makes whatever holds it so, for the reason `log Z: ...`
            reason = f"{title}: {score.unreliable}" if name == "log_z" else score.unreliable
            doubts.setdefault(f"unreliable ({reason})", []).append(title)
    sentences = [f"{', '.join(titles)} {doubt}" for doubt, titles in doubts.items()]
    without = [metric.title for metric in shown if metric.name not in outcome.by_metric]
    if without and not outcome.exact:  # an exact likelihood is not estimated in further ways
        sentences.append(f"{', '.join(without)} not scored")
    if outcome.plugin_changed:
        sentences.append("the strategy's or data set's file has changed since; `bench run` runs it again")
    elif outcome.stale:
        sentences.append("stale, the code of bench has changed since; `bench run --stale` runs it again")
    return sentences


def _missing(rows: Sequence[Row], plan: Plan, command: str) -> list[str]:
    """Return the note that names the cells without a record and the command that makes them."""
    lacking = [f"{row.label} {seeds_listed(row.missing)}" for row in rows if row.missing]
    count = sum(len(row.missing) for row in rows)
    if lacking:
        return [f"missing: {'; '.join(lacking)} ({count} of {len(plan.cells)} cells); {command}"]
    return []
