"""A row of a table: a strategy with its hyper-parameters, what became of its seeds, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.report.cells import Outcome, Setting, value_of
from bench.report.published import Number
from bench.report.statistics import Interval, Value

IN_DOUBT = "in doubt"


@dataclass(frozen=True)
class Metric:
    """A metric of a table: its name in the records, its heading, unit and direction."""

    name: str
    title: str
    unit: str
    better: str


@dataclass(frozen=True)
class Comparison:
    """A published number beside a mean of ours.

    Attributes:
        number: the published number.
        difference: ours minus published.
        verdict: `inside`: it lies within our interval, widened by the column's margin; else `outside, better` or
            `outside, worse`, which is what ours are; `in doubt` where one of ours is unreliable.
    """

    number: Number
    difference: float
    verdict: str


@dataclass
class Row:
    """A strategy with its hyper-parameters.

    Attributes:
        label: what tells it from the other rows.
        setting: what its cells share.
        outcomes: seed -> what became of it.
        missing: planned seeds that have no record.
        scores: metric -> mean over seeds.
        paired: metric -> difference to the baseline over common seeds.
        better: metrics on which the row is better than the baseline, 0 outside the interval and nothing in doubt.
        number: the published number of this model, if there is one.
        comparison: the same beside our mean, if there is one.
        marks: footnotes.
    """

    label: str
    setting: Setting
    outcomes: dict[int, Outcome]
    missing: tuple[int, ...] = ()
    scores: dict[str, Interval] = field(default_factory=dict)
    paired: dict[str, Interval] = field(default_factory=dict)
    better: frozenset[str] = frozenset()
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
    def failed(self) -> dict[str, int]:
        """Other statuses and how many seeds ended so."""
        counts: dict[str, int] = {}
        for outcome in self.outcomes.values():
            if outcome.status != "ok":
                counts[outcome.status] = counts.get(outcome.status, 0) + 1
        return counts

    @property
    def doubtful(self) -> bool:
        """Whether what its mean says is in doubt for every metric: seeds are lost to failure, or its code changed."""
        return bool(self.failed) or any(o.stale or o.plugin_changed for o in self.outcomes.values())

    def unreliable(self, metric: str) -> bool:
        """Tell whether a seed's score of a metric is unreliable or not finite, and so left out of the mean."""
        scores = [score for outcome in self.outcomes.values() for score in outcome.scores if score.metric == metric]
        return any(score.unreliable or not value_of(score).finite for score in scores)

    def values(self, metric: str) -> dict[int, Value]:
        """Return seed -> score, finite ones only."""
        scores = {seed: outcome.by_metric.get(metric) for seed, outcome in self.outcomes.items()}
        values = {seed: value_of(score) for seed, score in scores.items() if score}
        return {seed: value for seed, value in values.items() if value.finite}
