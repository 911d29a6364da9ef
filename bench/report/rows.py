"""A row of a table: a strategy with its hyper-parameters, what became of its seeds, and what they come to."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.protocol import Metric
from bench.report.cells import Outcome, Plan, Planned, Setting, value_of
from bench.report.published import Column, Number
from bench.report.statistics import Interval, Value, over_seeds, paired
from bench.sweep.record import CorruptRecord, Score
from bench.sweep.store import Store

IN_DOUBT = "in doubt"
NO_CELLS = Setting("", "{}", "", "{}", "{}", "{}")


class Meaning(NamedTuple):
    """A metric's heading, what it is, and the setting of an evaluation that a caption names beside it, in `words`."""

    title: str
    words: str = ""
    setting: str = ""
    setting_words: str = ""


_SAMPLES = ("importance_samples", "S = {}")
_FIRST = ("ais_nll.images", "of the first {} items")
_VLB = Meaning("VLB", "variational bound")
_NLL = Meaning("NLL", "importance-weighted negative log-likelihood", *_SAMPLES)
_ANNEALED = Meaning("AIS-NLL", "negative log-likelihood by annealing", *_FIRST)

#: metric -> what is said of it; of any other its name is all that is known
MEANINGS = {
    "kl_data": Meaning("KL from the data", "divergence from the data's distribution to the model's"),
    "nll_exact": Meaning("exact NLL", "negative log-likelihood by quadrature"),
    "vlb": _VLB,
    "nll": _NLL,
    "nll_ais": _ANNEALED,
    "vlb_bits": _VLB,
    "nll_bits": _NLL,
    "nll_ais_bits": _ANNEALED,
    "log_z": Meaning("log Z", "log normaliser of the prior"),
    "kl": Meaning("KL", "divergence of the posterior from the prior"),
    "reconstruction": Meaning("reconstruction", "expected negative log-likelihood given z"),
    "sliced_wasserstein": Meaning("SW", "sliced Wasserstein distance between model and data"),
    "sliced_wasserstein_base": Meaning("SW of the data", "the same between two samples of the data"),
    "c2st": Meaning("C2ST", "accuracy of a classifier of model against data, best at .5"),
}


def meaning(metric: str) -> Meaning:
    """Return what is said of a metric."""
    return MEANINGS.get(metric, Meaning(metric))


class Comparison(NamedTuple):
    """A published number beside a mean of ours.

    Attributes:
        difference: ours minus published.
        verdict: `inside`: it lies within our interval, widened by the column's margin; else `outside, better` or
            `outside, worse`, which is what ours are; `in doubt` where one of ours is unreliable.
    """

    difference: float
    verdict: str


@dataclass
class Row:
    """A strategy with its hyper-parameters; without cells, what stands for a number that is only published.

    Attributes:
        label: what tells it from the other rows.
        setting: what its cells share.
        outcomes: seed -> what became of it.
        missing: planned seeds that have no record.
        scores: metric -> mean over seeds.
        paired: metric -> difference to the baseline over common seeds.
        better: metrics on which the row is better than the baseline, 0 outside the interval and nothing in doubt.
        verdicts: metric -> what the difference says: `better`, `worse`, `undecided`, `one seed`, `in doubt`.
        number: the published number of this model, if there is one.
        comparison: the same beside our mean, if there is one.
        marks: footnotes.
    """

    label: str
    setting: Setting = NO_CELLS
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    scores: dict[str, Interval] = field(default_factory=dict)
    paired: dict[str, Interval] = field(default_factory=dict)
    better: set[str] = field(default_factory=set)
    verdicts: dict[str, str] = field(default_factory=dict)
    number: Number | None = None
    comparison: Comparison | None = None
    marks: tuple[str, ...] = ()

    @property
    def planned(self) -> int:
        """How many seeds it has or should have."""
        return len(self.outcomes) + len(self.missing)

    @property
    def finished(self) -> tuple[int, ...]:
        """Seeds that came to scores."""
        return tuple(seed for seed, outcome in self.outcomes.items() if outcome.status == "ok")

    @property
    def failed(self) -> Counter[str]:
        """Other statuses and how many seeds ended so."""
        return Counter(outcome.status for outcome in self.outcomes.values() if outcome.status != "ok")

    def seeds(self, metric: str) -> dict[int, Score]:
        """Return seed -> score of a metric, where there is one."""
        scores = {seed: outcome.by_metric.get(metric) for seed, outcome in self.outcomes.items()}
        return {seed: score for seed, score in scores.items() if score}

    def values(self, metric: str) -> dict[int, Value]:
        """Return seed -> value of a metric, finite ones only."""
        values = {seed: value_of(score) for seed, score in self.seeds(metric).items()}
        return {seed: value for seed, value in values.items() if value.finite}

    def unreliable(self, metric: str) -> bool:
        """Tell whether a seed's score of a metric is unreliable or not finite, and so left out of the mean."""
        return any(score.unreliable or not value_of(score).finite for score in self.seeds(metric).values())

    def doubtful(self, metric: str) -> bool:
        """Tell whether a mean is in doubt: a score is unreliable, seeds are lost to failure, or the code changed."""
        changed = any(outcome.stale or outcome.plugin_changed for outcome in self.outcomes.values())
        return changed or bool(self.failed) or self.unreliable(metric)

    def average(self, metrics: Iterable[Metric]) -> None:
        """Fill in the means over seeds."""
        means = {metric.name: over_seeds(list(self.values(metric.name).values())) for metric in metrics}
        self.scores = {name: mean for name, mean in means.items() if mean is not None}

    def pair(self, baseline: Row, metrics: Iterable[Metric], stores: Sequence[Path]) -> None:
        """Fill in the differences to the baseline, and on which metrics they make this row the better one."""
        for metric in metrics:
            name = metric.name
            stderr = partial(_paired_stderr, self, baseline, name, stores)
            difference = paired(self.values(name), baseline.values(name), stderr)
            if difference is None:
                continue
            self.paired[name] = difference
            ahead = {"lower": difference.mean < 0, "higher": difference.mean > 0}.get(metric.better, False)
            sure = difference.basis == "seeds" and difference.excludes_zero
            decided = ("better" if ahead else "worse") if sure else "undecided"
            doubt = self.doubtful(name) or baseline.doubtful(name)
            single = "one seed" if difference.basis == "images" else decided
            self.verdicts[name] = "" if metric.better == "neither" else IN_DOUBT if doubt else single
            if self.verdicts[name] == "better":
                self.better.add(name)

    def compare(self, numbers: Sequence[Number], column: Column, metrics: Sequence[Metric]) -> None:
        """Set the published number beside the row, if one is of the same model."""
        hyper = json.loads(self.setting.hyper)
        self.number = next((n for n in numbers if n.belongs_to(self.setting.strategy, hyper)), None)
        ours = self.scores.get(column.metric)
        metric = next((m for m in metrics if (m.name, m.unit) == (column.metric, column.unit)), None)
        if self.number and ours and metric:
            value = self.number.value
            if self.unreliable(column.metric):
                verdict = IN_DOUBT
            elif ours.lower - column.margin <= value <= ours.upper + column.margin:
                verdict = "inside"
            else:
                verdict = "outside, better" if (ours.mean < value) == (metric.better == "lower") else "outside, worse"
            self.comparison = Comparison(ours.mean - value, verdict)


# ---------------------------------------------------------------- rows from records


def group(outcomes: Mapping[str, Outcome], plan: Plan) -> list[Row]:
    """Group cells by all but their seed, planned ones first and in their order.

    Args:
        outcomes: cell id -> its record.
        plan: the grid's cells.
    """
    planned = {cell.id for cell in plan.cells}
    others = [outcome for outcome in outcomes.values() if outcome.cell not in planned]
    others.sort(key=lambda outcome: (outcome.setting.strategy, outcome.label, outcome.finished))
    labels: dict[Setting, str] = {}
    seeds: dict[Setting, dict[int, Outcome | None]] = {}
    places: list[tuple[Planned | Outcome, Outcome | None]] = [(cell, outcomes.get(cell.id)) for cell in plan.cells]
    places += [(outcome, outcome) for outcome in others]
    for cell, outcome in places:
        labels.setdefault(cell.setting, cell.label)
        seeds.setdefault(cell.setting, {})[cell.seed] = outcome
    rows = []
    for setting, label in _distinct(labels).items():
        ended = {seed: outcome for seed, outcome in sorted(seeds[setting].items()) if outcome}
        rows.append(Row(label, setting, ended, tuple(sorted(seeds[setting].keys() - ended.keys()))))
    return rows


def _distinct(labels: Mapping[Setting, str]) -> dict[Setting, str]:
    """Add to labels that several settings share what these settings differ in."""
    distinct = {}
    for setting, label in labels.items():
        same = [other.flat() for other, name in labels.items() if name == label]
        ours = setting.flat()
        keys = dict.fromkeys(key for other in [ours, *same] for key in other)
        parts = [
            f"{key}={_plain(ours[key])}" if key in ours else f"no {key}"
            for key in keys
            if len({_plain(other.get(key)) for other in same}) > 1
        ]
        distinct[setting] = f"{label} ({', '.join(parts)})" if parts else label
    return distinct


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


# ---------------------------------------------------------------- the arrays beside a record


def beside(
    outcome: Outcome, stores: Sequence[Path], names: Sequence[str] = (), prefix: str = ""
) -> dict[str, np.ndarray]:
    """Return arrays beside a record, from the first store where they can be read; nothing where there is none.

    Those that are not what was written are not read; `sources.collect` says so.

    Args:
        outcome: the record.
        stores: folders of run stores.
        names: of the arrays; all have to be there.
        prefix: in place of `names`, what their names start with; they come in their order in the file.
    """
    for store in stores:
        try:
            content = Store(store).beside(outcome, outcome.key, "arrays")
            if content is None:
                continue
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                chosen = names or [name for name in file.files if name.startswith(prefix)]
                return {name: file[name] for name in chosen}
        except (CorruptRecord, KeyError, ValueError, zipfile.BadZipFile):
            continue
    return {}


def _paired_stderr(ours: Row, theirs: Row, metric: str, stores: Sequence[Path], seed: int) -> float | None:
    """Return the standard error of the mean difference of a metric over the test items that two records share.

    The same items are scored in both, so that what makes an item easy or hard for either cancels.

    Returns:
        None where a record has no score of every item, or they are not as many.
    """
    arrays = [beside(row.outcomes[seed], stores, [metric]) for row in (ours, theirs)]
    a, b = (np.asarray(array.get(metric, ()), dtype=np.float64) for array in arrays)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        return None
    return float((a - b).std(ddof=1) / len(a) ** 0.5)


# ---------------------------------------------------------------- what is said about a row


def marks(row: Row, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Return the footnotes of a row: what happened to its seeds, and what casts doubt on the metrics with columns."""
    seeds: dict[str, list[int]] = {}
    for seed, outcome in row.outcomes.items():
        for sentence in _doubts(outcome, metrics) if outcome.status == "ok" else [_failure(outcome)]:
            seeds.setdefault(sentence, []).append(seed)
    sentences = [f"{seeds_listed(concerned)}: {sentence}" for sentence, concerned in seeds.items()]
    if any(row.scores[metric.name].basis == "images" for metric in metrics if metric.name in row.scores):
        sentences.append("one seed: the interval is that of the test images and of log Z, and holds no other training")
    for metric in metrics:
        ours, difference = row.scores.get(metric.name), row.paired.get(metric.name)
        if ours and difference and difference.n < ours.n:
            share = f"{difference.n} of {ours.n}"
            sentences.append(f"{meaning(metric.name).title}: the difference is over the {share} seeds that both have")
    return tuple(sentences)


def seeds_listed(seeds: Sequence[int]) -> str:
    """Return `seed 0`, `seeds 0, 2`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _failure(outcome: Outcome) -> str:
    step = f" at step {outcome.last_step}" if outcome.last_step is not None else ""
    reason = outcome.reason.removesuffix(f" at step {outcome.last_step}")  # Diverged says its step itself
    return f"{outcome.status}{step}{f' ({reason})' if reason else ''}"


def _doubts(outcome: Outcome, metrics: Sequence[Metric]) -> list[str]:
    doubts: dict[str, list[str]] = {}
    concerned = {*(metric.name for metric in metrics), "log_z"}  # which is in most of what is shown
    for name, score in outcome.by_metric.items():
        if name not in concerned:
            continue
        title = meaning(name).title
        if not value_of(score).finite:
            doubts.setdefault("not a finite number, left out of the mean", []).append(title)
        elif score.unreliable:
            # what makes log Z unreliable makes whatever holds it so, for the reason `log Z: ...`
            reason = f"{title}: {score.unreliable}" if name == "log_z" else score.unreliable
            doubts.setdefault(f"unreliable ({reason})", []).append(title)
    sentences = [f"{', '.join(titles)} {doubt}" for doubt, titles in doubts.items()]
    absent = [meaning(metric.name).title for metric in metrics if metric.name not in outcome.by_metric]
    if absent and outcome.sampled:
        sentences.append(f"the prior can be sampled and has no density, so {', '.join(absent)} cannot be had")
    elif absent and not outcome.exact:  # an exact likelihood is not estimated in further ways
        sentences.append(f"{', '.join(absent)} not scored")
    if outcome.plugin_changed:
        sentences.append("the code of one of its plugins has changed since; `bench run` runs it again")
    elif outcome.stale:
        sentences.append("stale, the code of bench has changed since; `bench run --stale` runs it again")
    return sentences
