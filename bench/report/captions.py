"""What a table says about itself: what its figures mean, and how its rows were trained and scored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.protocol import Metric
from bench.report.cells import Plan, Setting
from bench.report.metrics import BOUND, after, meaning
from bench.report.published import Column
from bench.report.rows import Row
from bench.report.statistics import BOTH
from bench.sweep.record import flat


def caption(
    rows: Sequence[Row], metrics: Sequence[Metric], baseline: str, judged: Metric | None, comparisons: int, of: str = ""
) -> str:
    """Return what every figure of a table means, in two sentences.

    Args:
        rows: its rows.
        metrics: those with columns.
        baseline: the strategy of the differences; empty where there are none.
        judged: the metric of the verdicts, where there are any.
        comparisons: how many there are to the baseline.
        of: whose they are, where that is not the whole table.
    """
    titles: dict[str, list[str]] = {}
    for metric in metrics:
        titles.setdefault(metric.unit, []).append(meaning(metric.name).title)
    if not titles:
        return "No scores yet."
    directions = {metric.better for metric in metrics} - {"neither"}
    better = f"; {directions.pop()} is better" if len(directions) == 1 else ""
    sentences = [", ".join(f"{', '.join(own)}{after(unit, ' in ')}" for unit, own in titles.items()) + better]
    if any(row.scores for row in rows):
        sentences.append(f"In brackets: 95 % intervals over {over(rows, metrics)}")
    if baseline and judged:
        many = f"all {comparisons} comparisons{of} together" if comparisons > 1 else f"the comparison{of}"
        if own := own_baselines(rows, baseline):
            sentences.append(own)
        sentences.append(f"Verdicts are by {meaning(judged.name).title} and hold at 5 % for {many}")
    return ". ".join(sentences) + "."


def own_baselines(rows: Sequence[Row], baseline: str) -> str:
    """Return what rows are compared to where a data set has several baselines; empty where it has one."""
    bases = [row.setting.dataset for row in rows if row.verdict and row.verdict.kind == "baseline"]
    return f"vs {baseline}: each row to the {baseline} of its own settings" if len(bases) > len({*bases}) else ""


def over(rows: Sequence[Row], metrics: Sequence[Metric]) -> str:
    """Return what intervals of these metrics are over."""
    scores = [(metric, row.scores[metric.name]) for metric in metrics for row in rows if metric.name in row.scores]
    shared = any(meaning(metric.name).items or score.basis == BOTH for metric, score in scores)
    if scores and all(score.n == (1,) for _, score in scores):
        return f"{_splits(rows)} items, of one training each" if shared else "the estimate of one training each"
    return f"trainings and {_splits(rows)} items" if shared else "trainings"


def conditions(rows: Sequence[Row], metrics: Sequence[Metric], column: Column | None, source: str) -> tuple[str, ...]:
    """Return how the rows were trained and scored, as far as all of them were so alike, and what else is to be known.

    Args:
        rows: of the table.
        metrics: those with columns.
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
    unpaired = [meaning(metric.name).title for metric in metrics if not meaning(metric.name).items]
    if unpaired and any(row.scores for row in rows):
        sentences.append(
            f"No mean over {_splits(rows)} items, so that items are not paired in differences: {', '.join(unpaired)}"
        )
    certain = [row.label for row in rows if row.exact]
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
        included = "; intervals hold how far it may be off, which no number of seeds narrows" if sampled else ""
        sentences.append(f"log Z is {'; '.join(ways)}{included}")
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


def extended(rows: Sequence[Row], plan: Plan) -> Iterator[str]:
    """Give a sentence where seeds were added to a plan, or may have been, once a verdict could be seen."""
    if plan.extended:
        first, last = plan.extended
        yield (
            f"the plan was extended from {first} to {last} seeds after verdicts on {first} could be seen, so that"
            " verdicts are wrong in more than 5 % of cases"
        )
        return
    planned: dict[Setting, int] = Counter(cell.setting for cell in plan.cells)
    more = {row.label: row.planned - planned[row.setting] for row in rows if row.setting in planned}
    if min(more.values(), default=0) < (most := max(more.values(), default=0)):  # of all alike the run had so many
        who = ", ".join(label for label, number in more.items() if number == most)
        yield (
            f"{who}: {most} seed{'s' * (most > 1)} more than the grid plans, and than other rows have; if they were"
            " added once a verdict could be seen, verdicts are wrong in more than 5 % of cases"
        )


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
        parts += [f"is {share} times its full value {within}"] if kind == "step" else []
        parts += [f"falls by a cosine to {share} times its full value {within}"] if kind == "cosine" else []
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
