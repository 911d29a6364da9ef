"""A table of one data set: a row per strategy with its hyper-parameters, the published numbers beside it.

Everything a table says is worked out here and in `rows`; `layout` puts it into columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.protocol import Metric, UserError
from bench.report.cells import Plan
from bench.report.metrics import BITS, BOUND, DRAWS, EXACT, NATS, headline, meaning, with_columns
from bench.report.published import Column, Number, Published
from bench.report.rows import Row, group, marks, seeds_listed
from bench.report.selection import select
from bench.report.verdicts import Verdict, judge
from bench.sweep.record import flat
from bench.words import listed, nearest

if TYPE_CHECKING:
    from bench.report.sources import Source


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

    Raises:
        UserError: no row is the baseline's, or no record has the metric.
    """
    plan = source.plan.of(dataset)
    if not alone and plan.title:
        plan = replace(plan, title=f"{plan.title}: {dataset}")
    records = [record for record in source.records if record.dataset.name == dataset]
    selection = select(records, plan, source.evaluation, source.all_settings)
    plan = selection.plan
    rows = group(selection.outcomes, plan)
    key = published.column_of(dataset)
    column, numbers = published.columns.get(key), published.of(key)
    metrics, versions = _metrics(rows, column)
    sampled = any(outcome.sampled for row in rows for outcome in row.outcomes.values())
    columns = with_columns([metric.name for metric in metrics], sampled)
    shown = tuple(metric for metric in metrics if metric.name in columns)
    chosen, doubt = _headline(plan, rows, metrics, metric)
    reference = baseline or published.baseline
    baselines = {row.setting.context: row for row in reversed(rows) if row.setting.strategy == reference}
    if baseline:
        named = {row.setting.context: row for row in reversed(rows) if row.label == baseline}
        baselines = named or baselines
        if not baselines:
            labels = [row.label for row in rows]
            hint = nearest(baseline, labels) or f"; there are {listed(labels)}"
            raise UserError(f'--baseline: {dataset} has no row "{baseline}"{hint}')
    pairs = [(row, baselines[row.setting.context]) for row in rows if row.setting.context in baselines]
    pairs = [(row, other) for row, other in pairs if row is not other]
    for row in rows:
        row.average(metrics, source.arrays)
        row.watch(source.curves)
    for row, other in pairs:
        row.compare(other, metrics)
    for row in rows:
        row.gain(rows, metrics)
    margin = plan.same_within.get(dataset)
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
    leading = chosen or next((m for m in metrics if m.name == headline([m.name for m in metrics])), None)
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
        margin=margin,
        comparisons=len(pairs),
        command=source.command,
        caption=caption(rows, shown, compared_to, judged, len(pairs)),
        conditions=conditions(rows, shown, plan, column, published.source),
        missing=_missing(rows, plan, source.command),
        notes=(*doubt, *selection.notes, *source.notes, *versions),
    )


def _missing(rows: Sequence[Row], plan: Plan, command: str) -> str:
    """Return the note that names the cells without a record and the command that makes them."""
    lacking = [f"{row.label} {seeds_listed(row.missing)}" for row in rows if row.missing]
    count = sum(len(row.missing) for row in rows)
    return f"missing: {'; '.join(lacking)} ({count} of {len(plan.cells)} cells); {command}" if lacking else ""


# ---------------------------------------------------------------- metrics


def _headline(
    plan: Plan, rows: Sequence[Row], metrics: Sequence[Metric], asked: str | None
) -> tuple[Metric | None, list[str]]:
    """Return the metric of the verdicts, and a note where it is not the one that the grid names, or ranks no models.

    Raises:
        UserError: no record has the metric that was asked for.
    """
    names = {metric.name: metric for metric in metrics}
    if asked and asked not in names:
        hint = nearest(asked, names) or f"; there are {listed(names)}"
        raise UserError(f'--metric: no record has the metric "{asked}"{hint}')
    if asked and not meaning(asked).ranks:
        return names[asked], [f"verdicts are by {meaning(asked).title}, {BOUND}: they may be on that bias"]
    chosen = asked or plan.headline or headline(list(names))
    title, corrected = meaning(chosen).title, next((name for name in names if meaning(name).corrects == chosen), "")
    if not any(row.outcomes for row in rows) or (chosen in names and meaning(chosen).ranks):
        return names.get(chosen), []
    if corrected:
        return None, [f'no verdicts: {title}, the grid\'s headline metric, is {BOUND}; "{corrected}" ranks them']
    if chosen in names:
        return names[chosen], [f"verdicts are by {title}, {BOUND}: they may be on that bias"]
    hint = nearest(chosen, names) or f"; there are {listed(names)}"
    return None, [f'no verdicts: no record has the grid\'s headline metric "{chosen}"{hint}']


def _metrics(rows: Sequence[Row], column: Column | None) -> tuple[tuple[Metric, ...], list[str]]:
    """Return the metrics of the records, headline first, and notes on scores of all but the latest version of one.

    These scores are dropped from the rows.
    """
    outcomes = [outcome for row in rows for outcome in row.outcomes.values()]
    # few in all, of many scores
    kinds = dict.fromkeys((s.metric, s.unit, s.better, s.version) for outcome in outcomes for s in outcome.scores)
    versions: dict[str, int] = {}
    for name, *_, version in kinds:
        versions[name] = max(version, versions.get(name, 0))
    metrics: dict[str, Metric] = {}
    for name, unit, better, version in kinds:
        if version == versions[name]:
            metrics.setdefault(name, Metric(name, unit, better, version))
    notes = []
    for row in rows if len(versions) < len({(name, version) for name, *_, version in kinds}) else ():
        for seed, outcome in row.outcomes.items():
            latest = [score for score in outcome.scores if score.version == versions[score.metric]]
            if len(latest) < len(outcome.scores):
                row.outcomes[seed] = outcome.with_scores(latest)
            notes += [
                f"left out: {score.metric} of {outcome.name}, which is version {score.version} of that metric instead"
                f" of {versions[score.metric]}"
                for score in outcome.scores
                if score.version != versions[score.metric]
            ]
    if not metrics and column:  # nothing has run yet, and the headings are clear all the same
        names = BITS if column.metric in BITS else NATS
        return tuple(Metric(name, column.unit) for name in names[:2]), notes
    first = [*EXACT, *BITS, *NATS, *DRAWS]
    return tuple(sorted(metrics.values(), key=lambda m: first.index(m.name) if m.name in first else len(first))), notes


# ---------------------------------------------------------------- what a table says about itself


def caption(
    rows: Sequence[Row], metrics: Sequence[Metric], baseline: str, judged: Metric | None, comparisons: int
) -> str:
    """Return what every figure of a table means, in two sentences.

    Args:
        rows: its rows.
        metrics: those with columns.
        baseline: the strategy of the differences; empty where there are none.
        judged: the metric of the verdicts, where there are any.
        comparisons: how many there are to the baseline.
    """
    units = dict.fromkeys(metric.unit for metric in metrics)
    titles = [meaning(metric.name).title for metric in metrics]
    if not titles:
        return "No scores yet."
    directions = {metric.better for metric in metrics} - {"neither"}
    better = f"; {directions.pop()} is better" if len(directions) == 1 else ""
    sentences = [f"{', '.join(titles)} in {' and '.join(units)}{better}"]
    if any(row.scores for row in rows):
        items = any(meaning(metric.name).items for metric in metrics)
        over = f"trainings and {_splits(rows)} items" if items else "trainings"
        sentences.append(f"In brackets: 95 % intervals over {over}")
    if baseline and judged:
        many = f"all {comparisons} comparisons" if comparisons > 1 else "the comparison"
        sentences.append(f"Verdicts are by {meaning(judged.name).title} and hold at 5 % for {many} together")
    return ". ".join(sentences) + "."


def conditions(
    rows: Sequence[Row], metrics: Sequence[Metric], plan: Plan, column: Column | None, source: str
) -> tuple[str, ...]:
    """Return how the rows were trained and scored, as far as all of them were so alike, and what else is to be known.

    Args:
        rows: of the table.
        metrics: those with columns.
        plan: its cells.
        column: the paper's column beside it, if there is one.
        source: where that was published.
    """
    evaluation = _shared(o.scoring for row in rows for o in row.outcomes.values())
    training = _shared(row.setting.budget for row in rows)
    training |= {"latent": _shared(row.setting.networks for row in rows).get("latent")}
    words = {"epochs": "{} epochs", "batch_size": "batches of {}", "latent": "{} latent dimensions"}
    trained = [text.format(training[key]) for key, text in words.items() if training.get(key)]
    if training.get("epochs") == 1:
        trained[0] = "1 epoch"
    sentences = [f"Trained for {', '.join(trained)}"] if trained else []
    if patience := training.get("early_stopping.patience"):
        sentences.append(_ended(rows, patience))
    doubtful = [row.label for row in rows if row.ledger and row.ledger.unreliable]
    sentences += [f"No trial of {label} had a score that can be relied on" for label in doubtful]
    if ways := _ways(training):
        sentences.append(f"In training, {'; '.join(ways)}")
    if evaluation:
        sentences.append(f"Scored on {_scored(evaluation, rows)}")
    loose = [
        meaning(metric.name).title
        for metric in metrics
        if not meaning(metric.name).ranks
        and any(score.estimator != "exact" for row in rows for score in row.seeds(metric.name).values())
    ]
    if loose:
        sentences.append(f"{', '.join(loose)} is {BOUND}; it ranks nothing")
    alone = [meaning(metric.name).title for metric in metrics if not meaning(metric.name).items]
    if alone and any(row.scores for row in rows):
        sentences.append(
            f"No mean over {_splits(rows)} items, so that intervals are over seeds alone: {', '.join(alone)}"
        )
    if plan.extended:
        first, last = plan.extended
        sentences.append(
            f"The plan was extended from {first} to {last} seeds after verdicts on {first} could be seen, so that the"
            " 5 % of the verdicts is too low"
        )
    certain = [row.label for row in rows if row.outcomes and all(o.exact for o in row.outcomes.values())]
    if certain:
        sentences.append(f"The likelihood of {', '.join(certain)} is exact, whatever these settings")
    # how log Z was had in a row's records; nothing where the prior is normalised
    estimators = [(row.label, {score.estimator for score in row.seeds("log_z").values()}) for row in rows]
    exact = dict.fromkeys(
        label for label, kinds in estimators if kinds and kinds <= {"exact-enumeration", "quadrature"}
    )
    sampled = dict.fromkeys(label for label, kinds in estimators if "ais" in kinds)
    effort = " x ".join(f"{evaluation.get(f'ais.{name}')} {name}" for name in ("temperatures", "chains", "repeats"))
    ways = [f"exact in {', '.join(exact)}"] if exact else []
    ways += [f"by AIS (at most {effort}) in {', '.join(sampled)}"] if sampled else []
    if ways:
        included = "intervals hold how far it may be off, which no number of seeds narrows"
        sentences.append(f"log Z is {'; '.join(ways)}; {included}")
    circumstances = sorted({outcome.made for row in rows for outcome in row.outcomes.values()})
    if circumstances:
        sentences.append(f"Made with {'; '.join(circumstances)}")
    if column and any(row.comparison for row in rows):
        reason = f" ± {column.margin:g} ({column.margin_reason})" if column.margin else ""
        sentences.append(
            f"Difference is ours minus published; inside: the published number lies within our interval{reason}; too"
            f" wide to tell: that is over ± {column.widest:g} {column.unit}"
        )
    if column:
        sentences.append(f"Published: {source}")
    return tuple(sentences)


def _splits(rows: Sequence[Row]) -> str:
    """Return the split on which rows were scored, in words."""
    splits = sorted({outcome.split for row in rows for outcome in row.outcomes.values()})
    return " or ".join(splits) or "test"


def _ended(rows: Sequence[Row], patience: object) -> str:
    """Return how training ended early, in words, with the epochs that each row took."""
    epochs = {
        row.label: [o.resources["epochs"] for o in row.outcomes.values() if "epochs" in o.resources] for row in rows
    }
    used = [f"{label} {', '.join(f'{count:g}' for count in counts)}" for label, counts in epochs.items() if counts]
    ended = f"Training ended after {patience} epochs without a better validation bound, and kept the best state"
    return f"{ended}; epochs used, a seed each: {'; '.join(used)}" if used else ended


def _ways(training: Mapping[str, object]) -> list[str]:
    """Return what else training did that all rows have alike, in words: schedule, clipping, averaging, warm-up."""
    ways = []
    if kind := training.get("schedule.kind"):
        share, epochs = training.get("schedule.share"), training.get("schedule.epochs")
        warmup = training.get("schedule.warmup")
        within = f"in the last {_epochs(epochs)}" if epochs else "until the last step"
        parts = [f"rises for {_epochs(warmup)}"] if warmup else []
        parts += [f"is {share} of it {within}"] if kind == "step" else []
        parts += [f"falls by a cosine to {share} of it {within}"] if kind == "cosine" else []
        ways.append(f"the learning rate of encoder and decoder {' and '.join(parts)}")
    norms = {group: training.get(f"clip.{group}", training.get("clip")) for group in ("encoder", "decoder")}
    if any(norms.values()):
        clipped = " and ".join(f"{group} at {norm}" for group, norm in norms.items() if norm)
        ways.append(f"gradient norms are clipped: {clipped}")
    if decay := training.get("average.decay"):
        ways.append(f"scores are of the moving average of the weights (decay {decay})")
    if epochs := training.get("warmup.epochs"):
        ways.append(f"the weight of the KL term rises to 1 over {_epochs(epochs)}")
    return ways


def _epochs(number: object) -> str:
    return f"{number:g} epoch{'s' * (number != 1)}" if isinstance(number, int | float) else ""


def _scored(evaluation: Mapping[str, object], rows: Sequence[Row]) -> str:
    """Return on what models were scored and with which effort, in words."""
    images, metrics = evaluation.get("images"), {name for row in rows for name in row.scores}
    split = _splits(rows)
    parts = [f"the first {images} {split} items" if images else f"all {split} items"]
    if metrics & {"vlb", "vlb_bits"}:
        parts.append(f"VLB: {evaluation.get('vlb_samples')} posterior samples")
    if metrics & {"nll", "nll_bits"}:
        parts.append(f"NLL: importance-weighted, S = {evaluation.get('importance_samples')}")
    if metrics & {"nll_ais", "nll_ais_bits"}:
        counts = [count for count in (images, evaluation.get("ais_nll.images")) if isinstance(count, int)]
        scores = [score for row in rows for name in ("nll_ais", "nll_ais_bits") for score in row.seeds(name).values()]
        if counts and all(score.n <= min(counts) for score in scores):
            parts.append(f"AIS-NLL: by annealing, the first {min(counts)} items")
        else:
            some = f" of {min(counts)} of them" if counts else ""
            parts.append(f"AIS-NLL: all of these, by annealing{some}; the NLL of the others is corrected by it")
    return "; ".join(parts)


def _shared(settings: Iterable[str]) -> dict[str, object]:
    """Return the settings, flat, that all of these have alike."""
    first, *rest = [dict(flat(json.loads(text))) for text in dict.fromkeys(settings)] or [{}]
    return {key: value for key, value in first.items() if all(key in t and t[key] == value for t in rest)}
