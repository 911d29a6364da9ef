"""A row of a table: a strategy with its hyper-parameters, what became of its seeds, and what they come to."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.ledger import Ledger
from bench.protocol import Metric
from bench.report.arrays import Arrays
from bench.report.cells import Outcome, Plan, Planned, Setting
from bench.report.curves import NO_JUMPS, Curves, Jumps
from bench.report.metrics import meaning
from bench.report.published import Column, Number
from bench.report.statistics import Interval, Items, Side, Trained, difference, mean
from bench.report.verdicts import Verdict
from bench.sweep.fingerprints import Fingerprints, same_numbers
from bench.sweep.record import Score

NO_CELLS = Setting("", "{}", "", "{}", "{}", "{}", "{}")


#: what an estimate of log Z shows of a prior that calls itself normalised -> what is said of it
CHECKS = {
    "not checked": "whether the prior integrates to one could not be checked",
    "below": "the check that the prior integrates to one missed mass of it, which harms its own scores alone",
}


class Comparison(NamedTuple):
    """A published number beside a mean of ours.

    Attributes:
        difference: ours minus published.
        verdict: in words: `inside`, that is within our interval, widened by the column's margin; `outside, better` or
            `outside, worse`, which is what ours are; `too wide to tell`; `one seed`; `unreliable` where one of ours is.
        outside: whether it lies outside.
    """

    difference: float
    verdict: str
    outside: bool = False


@dataclass
class Row:
    """A strategy with its hyper-parameters; without cells, what stands for a number that is only published.

    Attributes:
        label: what tells it from the other rows.
        setting: what its cells share.
        outcomes: seed -> what became of it.
        missing: planned seeds that have no record.
        left: planned seeds whose records a table leaves out: a sweep takes them for finished, and makes none anew.
        scores: metric -> mean over seeds.
        differences: metric -> difference to the baseline.
        verdict: on the headline metric, where the row is compared to another or is the baseline.
        number: the published number of this model, if there is one.
        comparison: the same beside our mean, if there is one.
        marks: footnotes.
        jumps: the worst of any of its seeds' trainings.
        ledger: of the study that its hyper-parameters come from.
        gains: metric -> difference to the row with what the grid had before.
    """

    label: str
    setting: Setting = NO_CELLS
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    scores: dict[str, Interval] = field(default_factory=dict)
    differences: dict[str, Interval] = field(default_factory=dict)
    verdict: Verdict | None = None
    number: Number | None = None
    comparison: Comparison | None = None
    marks: tuple[str, ...] = ()
    jumps: Jumps = NO_JUMPS
    ledger: Ledger | None = None
    gains: dict[str, Interval] = field(default_factory=dict)
    _trained: dict[str, dict[int, Trained]] = field(default_factory=dict)
    _sides: dict[str, Side | None] = field(default_factory=dict)

    @property
    def planned(self) -> int:
        """How many seeds it has or should have."""
        return len(self.outcomes) + len(self.missing) + len(self.left)

    @property
    def finished(self) -> tuple[int, ...]:
        """Seeds that came to scores."""
        return tuple(seed for seed, outcome in self.outcomes.items() if outcome.status == "ok")

    @property
    def failed(self) -> Counter[str]:
        """Other statuses and how many seeds ended so."""
        return Counter(outcome.status for outcome in self.outcomes.values() if outcome.status != "ok")

    @property
    def exact(self) -> bool:
        """Whether its models' likelihood is known, so that none was estimated."""
        return bool(self.outcomes) and all(outcome.exact for outcome in self.outcomes.values())

    def spent(self, name: str) -> list[float]:
        """Return what each of the seeds that came to scores took of a resource."""
        taken = (o.resources.get(name, math.nan) for o in self.outcomes.values() if o.status == "ok")
        return [value for value in taken if math.isfinite(value)]

    def resource(self, name: str) -> float | None:
        """Return the median of these; None without them. A mean would be that of one seed whose machine was busy."""
        spent = self.spent(name)
        return statistics.median(spent) if spent else None

    @property
    def codes(self) -> set[tuple[str, str]]:
        """Fingerprints of what trained and scored the seeds that came to scores; one where all were made alike."""
        return {(same_numbers(mark.fit), same_numbers(mark.evaluate)) for mark in self._fingerprints}

    @property
    def plugins(self) -> set[str]:
        """Fingerprints of the plugins of the seeds that came to scores; one where all were made alike."""
        return {mark.plugin for mark in self._fingerprints}

    @property
    def _fingerprints(self) -> list[Fingerprints]:
        return [outcome.fingerprints for outcome in self.outcomes.values() if outcome.status == "ok"]

    def seeds(self, metric: str) -> dict[int, Score]:
        """Return seed -> score of a metric, where there is one."""
        held = ((seed, outcome.by_metric) for seed, outcome in self.outcomes.items())
        return {seed: scores[metric] for seed, scores in held if metric in scores}

    def trained(self, metric: str) -> dict[int, Trained]:
        """Return seed -> score of a metric of which means are taken: the finite ones."""
        return self._trained.get(metric, {})

    def unreliable(self, metric: str) -> bool:
        """Tell whether a seed's score of a metric is unreliable, or not finite, and so left out of the mean."""
        scores = self.seeds(metric)
        return len(self.trained(metric)) < len(scores) or any(score.unreliable for score in scores.values())

    def average(self, metrics: Iterable[Metric], arrays: Arrays) -> None:
        """Fill in the means over seeds, with the scores of single items from `arrays`."""
        for name in [metric.name for metric in metrics]:
            averages = meaning(name).items
            scores = {
                seed: _trained(score, arrays.items(self.outcomes[seed], name) if averages else None)
                for seed, score in self.seeds(name).items()
            }
            self._trained[name] = {seed: score for seed, score in scores.items() if score.finite}
            side = self._sides[name] = Side.of([*self._trained[name].values()])
            if side and (estimate := mean(side)):
                self.scores[name] = estimate

    def watch(self, curves: Curves) -> None:
        """Fill in the worst jumps of its trainings."""
        made = [curves.jumps(outcome) for outcome in self.outcomes.values()]
        worst = [[value for value in values if value is not None] for values in zip(*made, strict=True)]
        self.jumps = Jumps(*(max(values, default=None) for values in worst)) if worst else NO_JUMPS

    def compare(self, baseline: Row, metrics: Iterable[Metric]) -> None:
        """Fill in the differences to the baseline."""
        for name in [metric.name for metric in metrics]:
            ours, theirs = self._sides.get(name), baseline._sides.get(name)
            if ours and theirs and (estimate := difference(ours, theirs)):
                self.differences[name] = estimate

    def untuned(self, rows: Iterable[Row]) -> Row | None:
        """Return the row that has what the grid had before, where this one has what a study found."""
        if self.ledger is None:
            return None
        before = self.setting.flat() | self.ledger.defaults
        kin = (row for row in rows if row.ledger is None and row.setting.strategy == self.setting.strategy)
        return next((row for row in kin if row.setting.flat() == before), None)

    def gain(self, rows: Iterable[Row], metrics: Iterable[Metric]) -> None:
        """Fill in the differences to the row that has what the grid had before."""
        before = self.untuned(rows)
        for name in [metric.name for metric in metrics] if before else ():
            ours, theirs = self._sides.get(name), before._sides.get(name) if before else None
            if ours and theirs and (estimate := difference(ours, theirs)):
                self.gains[name] = estimate

    def set_beside(self, numbers: Sequence[Number], column: Column, metrics: Sequence[Metric]) -> None:
        """Set the published number beside the row, if there is one of the same model under the same protocol."""
        self.number = next((n for n in numbers if not column.deviations(n, self.setting)), None)
        ours = self.scores.get(column.metric)
        metric = next((m for m in metrics if (m.name, m.unit) == (column.metric, column.unit)), None)
        if not (self.number and ours and metric):
            return
        value = self.number.value
        outside = False
        if self.unreliable(column.metric):
            verdict = "unreliable"
        elif ours.n == (1,):
            verdict = "one seed"
        elif (ours.upper - ours.lower) / 2 > column.widest:
            verdict = "too wide to tell"
        elif ours.lower - column.margin <= value <= ours.upper + column.margin:
            verdict = "inside"
        else:
            outside = True
            verdict = "outside, better" if (ours.mean < value) == (metric.better == "lower") else "outside, worse"
        self.comparison = Comparison(ours.mean - value, verdict, outside)


def _trained(score: Score, items: Items | None = None) -> Trained:
    """Return a score for statistics, with the scores of single items if it is a mean over them."""
    known = meaning(score.metric)
    shared = 0.0 if known.items or known.drawn else score.stderr if known.model_free else score.stderr_images
    return Trained(score.value, score.sys_lower, score.sys_upper, score.stderr, known.items, items, shared)


# ---------------------------------------------------------------- rows from records


def group(outcomes: Iterable[Outcome], plan: Plan, left_out: Collection[str] = ()) -> list[Row]:
    """Group cells by all but their seed, planned ones first and in their order.

    Args:
        outcomes: the records, one a cell and way of scoring.
        plan: the grid's cells.
        left_out: those of them whose records are not among these.
    """
    away = {(cell.setting, cell.seed) for cell in plan.cells if cell.id in left_out}
    left = {(outcome.cell, outcome.setting): outcome for outcome in outcomes}
    labels: dict[Setting, str] = {}
    seeds: dict[Setting, dict[int, Outcome | None]] = {}
    places: list[tuple[Planned | Outcome, Outcome | None]] = [
        (cell, left.pop((cell.id, cell.setting), None)) for cell in plan.cells
    ]
    others = sorted(left.values(), key=lambda o: (o.setting.strategy, o.label, o.scoring, o.finished))
    places += [(outcome, outcome) for outcome in others]
    for cell, outcome in places:
        labels.setdefault(cell.setting, cell.label)
        seeds.setdefault(cell.setting, {})[cell.seed] = outcome
    ledgers = {cell.setting: cell.ledger for cell in plan.cells}
    rows = []
    for setting, label in _distinct(labels).items():
        ended = {seed: outcome for seed, outcome in sorted(seeds[setting].items()) if outcome}
        lacking = sorted(seeds[setting].keys() - ended.keys())
        gone = tuple(seed for seed in lacking if (setting, seed) in away)
        missing = tuple(seed for seed in lacking if seed not in gone)
        rows.append(Row(label, setting, ended, missing, gone, ledger=ledgers.get(setting)))
    return rows


def _distinct(labels: Mapping[Setting, str]) -> dict[Setting, str]:
    """Add to labels that several settings share what these settings differ in."""
    sharing: dict[str, dict[Setting, dict[str, Any]]] = {}
    for setting, label in labels.items():
        sharing.setdefault(label, {})[setting] = setting.flat()
    distinct = dict.fromkeys(labels, "")  # in their order
    for label, settings in sharing.items():
        keys = dict.fromkeys(key for own in settings.values() for key in own)
        differing = {key: None for key in keys if len({_plain(own.get(key)) for own in settings.values()}) > 1}
        for setting, ours in settings.items():
            parts = [f"{key}={_plain(value)}" for key, value in ours.items() if key in differing]
            parts += [f"no {key}" for key in differing if key not in ours]
            distinct[setting] = f"{label} ({', '.join(parts)})" if parts else label
    return distinct


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


# ---------------------------------------------------------------- what is said about a row


def marks(row: Row, metrics: Sequence[Metric], numbers: Sequence[Number], column: Column | None) -> tuple[str, ...]:
    """Return the footnotes of a row: what happened to its seeds, and what casts doubt on the metrics with columns.

    Args:
        row: with its figures filled in.
        metrics: those with columns.
        numbers: published ones of the column.
        column: the paper's, where there is one.
    """
    seeds: dict[str, dict[int, str]] = {}
    for seed, outcome in row.outcomes.items():
        for doubt in doubts(outcome, metrics) if outcome.status == "ok" else [Doubt(failure(outcome))]:
            seeds.setdefault(doubt.sentence, {})[seed] = doubt.reason
    sentences = [f"{seeds_listed([*why])}: {sentence}{_why(why)}" for sentence, why in seeds.items()]
    sentences += [f"{seeds_listed(row.left)}: left out, as the notes say"] if row.left else []
    if any(row.scores[metric.name].n == (1,) for metric in metrics if metric.name in row.scores):
        sentences.append("one seed: its intervals are over test items alone; another training may differ by more")
    elif any(1 in row.differences[metric.name].n for metric in metrics if metric.name in row.differences):
        sentences.append("differences are to a single seed, and their intervals over test items alone")
    sentences += _fallbacks(row.scores, metrics, "", "the records' own standard errors over items")
    sentences += _fallbacks(
        row.differences, metrics, "difference of ", "both standard errors, as if the items were not the same"
    )
    for name, estimate in row.differences.items():
        if estimate.common is not None and name in {metric.name for metric in metrics}:
            sentences.append(f"difference of {meaning(name).title}: over the {estimate.common} items that both have")
    if column and row.scores and not row.number:
        namesake = [number for number in numbers if number.strategy == row.setting.strategy]
        ways = min((column.deviations(number, row.setting) for number in namesake), key=len, default=[])
        if ways:
            more = f" and {len(ways) - 3} more" if len(ways) > 3 else ""
            sentences.append(f"no published number is of these settings: {', '.join(ways[:3])}{more}")
    return tuple(sentences)


class Doubt(NamedTuple):
    """What is said of a seed, and why, where that may differ from seed to seed."""

    sentence: str
    reason: str = ""


def _why(reasons: Mapping[int, str]) -> str:
    """Return the reason of all seeds in brackets, or that of the first where they differ."""
    (seed, reason), *others = reasons.items()
    if not reason:
        return ""
    return f" ({reason})" if all(other == reason for _, other in others) else f" (seed {seed}: {reason})"


def _fallbacks(intervals: Mapping[str, Interval], metrics: Sequence[Metric], of: str, stand_in: str) -> list[str]:
    """Say where scores of single items were lost, and what stands in for them."""
    titles = [meaning(m.name).title for m in metrics if m.name in intervals and intervals[m.name].lost]
    if not titles:
        return []
    return [f"{of}{', '.join(titles)}: scores of single items are not there; the interval takes {stand_in}"]


def seeds_listed(seeds: Sequence[int]) -> str:
    """Return `seed 0`, `seeds 0, 2`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def failure(outcome: Outcome) -> str:
    """Return how a record without scores ended: its status, where, and why."""
    step = f" at step {outcome.last_step}" if outcome.last_step is not None else ""
    reason = outcome.reason.removesuffix(f" at step {outcome.last_step}")  # Diverged says its step itself
    return f"{outcome.status}{step}{f' ({reason})' if reason else ''}"


def doubts(outcome: Outcome, metrics: Sequence[Metric]) -> list[Doubt]:
    """Return what casts doubt on these metrics of a record that came to scores."""
    doubtful: dict[Doubt, list[str]] = {}
    concerned = {*(metric.name for metric in metrics), "log_z"}  # which is in most of what is shown
    for name in [name for name in outcome.by_metric if name in concerned]:
        score, said = outcome.by_metric[name], meaning(name)
        if not _trained(score).finite:
            doubt = Doubt("not a finite number, left out of the mean")
        elif score.unreliable:
            # what makes log Z unreliable makes whatever holds it so, for the reason `log Z: ...`
            doubt = Doubt("unreliable", f"{said.title}: {score.unreliable}" if name == "log_z" else score.unreliable)
        else:
            continue
        doubtful.setdefault(doubt, []).append(name)
    sentences = [
        # of what ranks nothing, in nearly every row, the reason is in the records
        Doubt(
            f"{', '.join(meaning(name).title for name in names)} {doubt.sentence}",
            doubt.reason if any(meaning(name).ranks for name in names) else "",
        )
        for doubt, names in doubtful.items()
    ]
    absent = [meaning(metric.name).title for metric in metrics if metric.name not in outcome.by_metric]
    if absent and outcome.sampled:
        sentences.append(Doubt(f"the prior can be sampled and has no density, so {', '.join(absent)} cannot be had"))
    elif absent and not outcome.exact:  # an exact likelihood is not estimated in further ways
        sentences.append(Doubt(f"{', '.join(absent)} not scored"))
    check = outcome.normalised or {}
    if check.get("verdict") in CHECKS:
        sentences.append(Doubt(CHECKS[check["verdict"]]))
    elif check.get("verdict") == "above" and doubtful:
        reason = str(check.get("reason"))
        if reason not in {doubt.reason for doubt in doubtful}:  # scores are unreliable for another reason as well
            sentences.append(Doubt(reason))
    if outcome.plugin_changed:
        sentences.append(Doubt("the code of one of its plugins has changed since; `bench run` runs it again"))
    elif outcome.stale:
        sentences.append(Doubt("stale, the code of bench has changed since; `bench run --stale` runs it again"))
    return sentences
