"""What a table says about itself: what every figure in it means, and under which conditions it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from bench.report.published import Column, Published
from bench.report.rows import IN_DOUBT, Metric, Row
from bench.sweep.record import flat

#: metric -> its heading and what it is
METRICS = {
    "kl_data": ("KL from the data", "divergence from the data's distribution to the model's"),
    "nll_exact": ("exact NLL", "negative log-likelihood by quadrature"),
    "vlb": ("VLB", "variational bound"),
    "nll": ("NLL", "importance-weighted negative log-likelihood"),
    "nll_ais": ("AIS-NLL", "negative log-likelihood by annealing"),
    "vlb_bits": ("VLB", "variational bound"),
    "nll_bits": ("NLL", "importance-weighted negative log-likelihood"),
    "nll_ais_bits": ("AIS-NLL", "negative log-likelihood by annealing"),
    "log_z": ("log Z", "log normaliser of the prior"),
    "kl": ("KL", "divergence of the posterior from the prior"),
    "reconstruction": ("reconstruction", "expected negative log-likelihood given z"),
    "sliced_wasserstein": ("SW", "sliced Wasserstein distance between model and data"),
    "sliced_wasserstein_base": ("SW of the data", "the same between two samples of the data"),
    "c2st": ("C2ST", "accuracy of a classifier of model against data, best at .5"),
}


def caption(
    title: str,
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    column: Column | None,
    published: Published,
    baseline: str,
) -> str:
    """Return a table's caption, as sentences."""
    evaluation = _shared(o.scoring for row in rows for o in row.outcomes.values())
    samples, images = evaluation.get("importance_samples"), evaluation.get("ais_nll.images")
    names = []
    for metric in metrics:
        what = METRICS.get(metric.name, ("", ""))[1]
        inside = ", ".join(
            filter(
                None,
                [
                    metric.title if what else "",
                    f"S = {samples}" if metric.name in ("nll", "nll_bits") and samples else "",
                    f"of the first {images} items" if metric.name in ("nll_ais", "nll_ais_bits") and images else "",
                ],
            )
        )
        names.append(f"{what or metric.title}{f' ({inside})' if inside else ''} in {metric.unit}")
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
    if column and any(row.comparison for row in rows):
        doubt = any(row.comparison.verdict == IN_DOUBT for row in rows if row.comparison)
        sentences.append(
            f"Difference is ours minus published; inside: the published number lies within our interval"
            f" ± {column.margin:g} ({column.margin_reason})"
            f"{f'; {IN_DOUBT}: a record of ours is unreliable' if doubt else ''}"
        )
    sentences += _conditions(rows, evaluation)
    if column:
        sentences.append(f"Published: {published.source}")
    return ". ".join(sentences) + "."


def matrix_title(title: str, metric: str) -> str:
    """Return the heading of a table of one metric over several data sets."""
    return f"{title}, {METRICS.get(metric, (metric, ''))[0]}"


def _conditions(rows: Sequence[Row], evaluation: dict[str, object]) -> list[str]:
    """Say how the rows were trained and scored, as far as all of them were so alike."""
    budget = _shared(row.setting.budget for row in rows)
    latent = _shared(row.setting.networks for row in rows).get("latent")
    trained = [
        *([f"{budget['epochs']} epochs"] if "epochs" in budget else []),
        *([f"batches of {budget['batch_size']}"] if "batch_size" in budget else []),
        *([f"{latent} latent dimensions"] if latent else []),
    ]
    sentences = [f"Trained for {', '.join(trained)}"] if trained else []
    exact = [row.label for row in rows if _estimators(row) and _estimators(row) <= {"exact-enumeration", "quadrature"}]
    sampled = [row.label for row in rows if "ais" in _estimators(row)]
    if evaluation:
        images = evaluation.get("images")
        sentences.append(
            f"Scored on {f'the first {images}' if images else 'all'} test items,"
            f" {evaluation.get('vlb_samples')} posterior samples each for the VLB"
        )
    known = [row.label for row in rows if row.outcomes and all(o.exact for o in row.outcomes.values())]
    if known:
        sentences.append(f"The likelihood of {', '.join(known)} is exact, whatever these settings")
    if sampled or exact:
        effort = " x ".join(f"{evaluation.get(f'ais.{name}')} {name}" for name in ("temperatures", "chains", "repeats"))
        parts = [f"exact in {', '.join(dict.fromkeys(exact))}"] if exact else []
        parts += [f"by AIS (at most {effort}) in {', '.join(dict.fromkeys(sampled))}"] if sampled else []
        sentences.append(f"log Z is {'; '.join(parts)}")
    made = sorted({outcome.made for row in rows for outcome in row.outcomes.values()})
    if made:
        sentences.append(f"Made with {'; '.join(made)}")
    return sentences


def _estimators(row: Row) -> set[str]:
    """Return how log Z was had in a row's records; empty where the prior is normalised."""
    found = (outcome.by_metric.get("log_z") for outcome in row.outcomes.values())
    return {score.estimator for score in found if score is not None}


def _shared(settings: Iterable[str]) -> dict[str, object]:
    """Return the settings, flat, that all of these have alike."""
    tables = [dict(flat(json.loads(text))) for text in dict.fromkeys(settings)]
    if not tables:
        return {}
    return {key: value for key, value in tables[0].items() if all(key in t and t[key] == value for t in tables)}


def seeds_listed(seeds: Sequence[int]) -> str:
    """Return `seed 0`, `seeds 0, 2`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
