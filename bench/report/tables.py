"""A table of one data set: a row per strategy with its hyper-parameters, the published numbers beside it.

Everything a table says is worked out here and in `rows`; `layout` puts it into columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.protocol import Metric
from bench.report.cells import Plan, outcomes, select
from bench.report.published import Column, Number, Published
from bench.report.rows import IN_DOUBT, Row, group, marks, meaning, seeds_listed
from bench.sweep.record import flat

if TYPE_CHECKING:
    from bench.report.sources import Source

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
        metrics: those of the records, the ones with columns first.
        shown: those that have columns; the others are in the CSV file.
        rows: ours.
        others: published numbers of the paper's own models that no row of ours has.
        references: published numbers of other work.
        column: the paper's column, where there is one.
        baseline: the strategy that others are compared to, where it has a row beside others.
        caption: what every figure means.
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
    caption: str
    missing: str
    notes: tuple[str, ...]


def build(dataset: str, source: Source, published: Published, alone: bool = True, baseline: str | None = None) -> Table:
    """Work out the table of one data set.

    Args:
        dataset: its name.
        source: the records and the cells that were planned, on this data set and others.
        published: the numbers to set beside.
        alone: whether it is the only one of its grid, and so needs no name of its own.
        baseline: the label of the row that others are compared to; by default that of the published baseline.
    """
    plan = source.plan.of(dataset)
    if not alone and plan.title:
        plan = replace(plan, title=f"{plan.title}: {dataset}")
    records, left_out = select(outcomes(source.frame[source.frame["dataset"] == dataset]), plan, source.evaluation)
    rows = group(records, plan)
    key = published.column_of(dataset)
    column, numbers = published.columns.get(key), published.of(key)
    metrics, versions = _metrics(rows, column)
    shown = _with_columns(metrics)
    reference = baseline or published.baseline
    baselines = {
        row.setting.context: row
        for row in reversed(rows)
        if (row.label if baseline else row.setting.strategy) == reference
    }
    for row in rows:
        row.average(metrics)
        other = baselines.get(row.setting.context, row)
        if other is not row:
            row.pair(other, metrics, source.stores)
        if column:
            row.compare(numbers, column, metrics)
        row.marks = marks(row, shown)
    paired_to = reference if any(row.paired for row in rows) else ""
    title = f"{published.source.rpartition(', ')[2]}, {column.title}" if column else plan.title or plan.name or dataset
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
        baseline=paired_to,
        caption=caption(title, rows, shown, paired_to, column, published.source),
        missing=_missing(rows, plan, source.command),
        notes=(*left_out, *source.notes, *versions),
    )


def _missing(rows: Sequence[Row], plan: Plan, command: str) -> str:
    """Return the note that names the cells without a record and the command that makes them."""
    lacking = [f"{row.label} {seeds_listed(row.missing)}" for row in rows if row.missing]
    count = sum(len(row.missing) for row in rows)
    return f"missing: {'; '.join(lacking)} ({count} of {len(plan.cells)} cells); {command}" if lacking else ""


# ---------------------------------------------------------------- metrics


def headline(metrics: Sequence[Metric]) -> Metric | None:
    """Return the metric by which models are compared where nobody says another; None where there are no scores."""
    names = {metric.name: metric for metric in metrics}
    chosen = next((names[name] for name in (EXACT[0], BITS[1], NATS[1]) if name in names), None)
    return chosen or next(iter(metrics), None)


def _metrics(rows: Sequence[Row], column: Column | None) -> tuple[tuple[Metric, ...], list[str]]:
    """Return the metrics of the records, headline first, and notes on scores of all but the latest version of one.

    These scores are dropped from the rows.
    """
    versions: dict[str, int] = {}
    for outcome in (outcome for row in rows for outcome in row.outcomes.values()):
        for name, score in outcome.by_metric.items():
            versions[name] = max(score.version, versions.get(name, 0))
    metrics: dict[str, Metric] = {}
    notes = []
    for row in rows:
        for seed, outcome in row.outcomes.items():
            latest = [score for score in outcome.scores if score.version == versions[score.metric]]
            row.outcomes[seed] = outcome.model_copy(update={"scores": latest})
            for score in latest:
                metrics.setdefault(score.metric, Metric(score.metric, score.unit, score.better, score.version))
            notes += [
                f"left out: {score.metric} of {outcome.name}, which is version {score.version} of that metric instead"
                f" of {versions[score.metric]}"
                for score in outcome.scores
                if score.version != versions[score.metric]
            ]
    if not metrics and column:  # nothing has run yet, and the headings are clear all the same
        names = BITS if column.metric in BITS else NATS
        return tuple(Metric(name, column.unit) for name in names[:2]), notes
    first = [*EXACT, *BITS, *NATS]
    return tuple(sorted(metrics.values(), key=lambda m: first.index(m.name) if m.name in first else len(first))), notes


def _with_columns(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    for names in (EXACT, BITS, NATS):
        if shown := tuple(metric for metric in metrics if metric.name in names):
            return shown
    return metrics[:2]


# ---------------------------------------------------------------- what a table says about itself


def caption(
    title: str, rows: Sequence[Row], metrics: Sequence[Metric], baseline: str, column: Column | None, source: str
) -> str:
    """Return what every figure of a table means, and under which conditions it was made, as sentences.

    Args:
        title: the table's.
        rows: its rows.
        metrics: those with columns.
        baseline: the strategy of the differences; empty where there are none.
        column: the paper's column beside it, if there is one.
        source: where that was published.
    """
    evaluation = _shared(o.scoring for row in rows for o in row.outcomes.values())
    names = []
    for metric in metrics:
        said = meaning(metric.name)
        setting = said.setting_words.format(evaluation[said.setting]) if evaluation.get(said.setting) else ""
        inside = ", ".join(filter(None, [said.title if said.words else "", setting]))
        names.append(f"{said.words or said.title}{f' ({inside})' if inside else ''} in {metric.unit}")
    directions = {metric.better for metric in metrics} - {"neither"}
    better = f", {directions.pop()} is better" if len(directions) == 1 else ""
    sentences = [f"{title}: {' and '.join(names) or 'no scores yet'}{better}"]
    if any(row.scores for row in rows):
        sentences.append(
            "Figures are means over seeds; brackets hold the 95 % Student's t interval over seeds, widened by the"
            " interval in which log Z lies, which no number of seeds narrows"
        )
    if baseline:
        sentences.append(
            f"Differences to {baseline} are paired by seed and by test item, and hold for these items: over seeds they"
            " leave out the choice of items, which counts where these are few; * (bold) marks one that is better, with"
            " 0 outside its interval, two or more seeds, and no failed, stale or unreliable record on either side"
        )
    verdicts = {row.comparison.verdict for row in rows if row.comparison}
    if column and verdicts:
        sentences.append(
            f"Difference is ours minus published; inside: the published number lies within our interval"
            f" ± {column.margin:g} ({column.margin_reason})"
            f"{f'; {IN_DOUBT}: a record of ours is unreliable' if IN_DOUBT in verdicts else ''}"
        )
    sentences += _conditions(rows, evaluation)
    if column:
        sentences.append(f"Published: {source}")
    return ". ".join(sentences) + "."


def _conditions(rows: Sequence[Row], evaluation: dict[str, object]) -> list[str]:
    """Say how the rows were trained and scored, as far as all of them were so alike."""
    training = _shared(row.setting.budget for row in rows)
    training |= {"latent": _shared(row.setting.networks for row in rows).get("latent")}
    words = {"epochs": "{} epochs", "batch_size": "batches of {}", "latent": "{} latent dimensions"}
    trained = [text.format(training[key]) for key, text in words.items() if training.get(key)]
    sentences = [f"Trained for {', '.join(trained)}"] if trained else []
    if evaluation:
        images = evaluation.get("images")
        sentences.append(
            f"Scored on {f'the first {images}' if images else 'all'} test items,"
            f" {evaluation.get('vlb_samples')} posterior samples each for the VLB"
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
        sentences.append(f"log Z is {'; '.join(ways)}")
    circumstances = sorted({outcome.made for row in rows for outcome in row.outcomes.values()})
    if circumstances:
        sentences.append(f"Made with {'; '.join(circumstances)}")
    return sentences


def _shared(settings: Iterable[str]) -> dict[str, object]:
    """Return the settings, flat, that all of these have alike."""
    first, *rest = [dict(flat(json.loads(text))) for text in dict.fromkeys(settings)] or [{}]
    return {key: value for key, value in first.items() if all(key in t and t[key] == value for t in rest)}
