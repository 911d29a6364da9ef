"""Trials as cells of a run store: a pool's feed that hands them out, with the same number or seconds for every row."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from optuna.trial import FrozenTrial, TrialState

from bench.plugins import Registry
from bench.protocol import Evaluation, UserError
from bench.sweep.attempts import Job, key
from bench.sweep.columns import canonical
from bench.sweep.feed import Feed
from bench.sweep.record import SECONDS, CorruptRecord, Record, one_line
from bench.sweep.store import Store
from bench.sweep.wire import Figures
from bench.tuning.journal import damaged
from bench.tuning.study import CELL, DOUBT, Study
from bench.words import listed, nearest, other_data

POLL = 1.0  # seconds between two looks at studies where there was nothing to do
#: figures of a running cell by which trials are compared, the first that there is (`bench.training.stability.COMPARED`)
COMPARED = ("validation bound at log Z's upper end", "validation bound with log Z", "validation bound")
#: metrics that such a figure says something of; where trials are chosen by another one, none is ended early
BOUNDED = ("vlb", "nll", "nll_ais", "nll_exact", "kl_data", "vlb_bits", "nll_bits", "nll_ais_bits")


@dataclass(frozen=True)
class Allowance:
    """What every row may spend: a number of trials, or seconds of them together."""

    trials: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        """Return `20 trials` or `7200 s`."""
        return f"{self.trials} trial{'s' * (self.trials != 1)}" if self.trials else f"{self.seconds:g} s"


def seconds_of(record: Record) -> float:
    """Return what a cell took altogether."""
    return sum(record.resources.get(name, 0.0) for name in SECONDS)


class Scored(NamedTuple):
    """What a trial came to: its value of the metric, why that should not be trusted, and whether more is better."""

    value: float
    doubt: str
    higher: bool

    @property
    def loss(self) -> float:
        """What the study makes least."""
        return -self.value if self.higher else self.value


def value_of(record: Record, metric: str) -> Scored | None:
    """Return a record's value, at the worse end of log Z's interval; None where the record has no such score."""
    score = next((score for score in record.scores if score.metric == metric), None)
    if score is None or not math.isfinite(score.value):
        return None
    higher = score.better == "higher"
    worse = score.sys_lower if higher else score.sys_upper
    return Scored(worse, score.unreliable, higher) if math.isfinite(worse) else None


@dataclass
class Progress:
    """One study, and what this process knows of its trials.

    Attributes:
        study: it.
        job: of its first cell, whose data and code those of its trials share.
        store: where their records lie.
        registry: where plugins are found.
        handed: numbers of trials that the pool was given.
    """

    study: Study
    job: Job
    store: Store
    registry: Registry
    handed: set[int] = field(default_factory=set)
    _records: dict[str, Record] = field(default_factory=dict)
    _checked: set[tuple[int, str, str]] = field(default_factory=set)

    def job_of(self, number: int, values: Mapping[str, object]) -> Job:
        """Return what carries a trial out.

        Raises:
            UserError: its values do not go together.
        """
        cell = self.study.row.trial(number, values, self.registry)
        return replace(self.job, cell=cell, key=key(self.job.fingerprints, cell.evaluation))

    def cell(self, trial: FrozenTrial) -> str | None:
        """Return the id of a trial's cell, which follows from the trial's values; None before it has one.

        Raises:
            UserError: its values are not those of its cell: what was trained is not what the study says.
        """
        cell: str | None = trial.user_attrs.get(CELL)
        if cell is None:
            return None
        values = self.study.values(trial)
        seen = trial.number, cell, canonical(values or {})
        if seen not in self._checked:
            if values is None or self.study.row.trial(trial.number, values, self.registry).id != cell:
                why = f"trial {trial.number} of the study {self.study.row.study} has not the values of its cell {cell}"
                raise damaged(self.study.place, f"{why}, so that one of both was altered")
            self._checked.add(seen)
        return cell

    def record(self, trial: FrozenTrial, evaluation: Evaluation) -> Record | None:
        """Return a trial's record, if it has one.

        Raises:
            UserError: the trial's values are not those of its cell.
        """
        cell = self.cell(trial)
        if cell and cell not in self._records:  # a final record stays as it is
            with contextlib.suppress(CorruptRecord):
                if record := self.store.record(cell, key(self.job.fingerprints, evaluation)):
                    self._records[cell] = record
        return self._records.get(cell) if cell else None

    def demand_same_data(self) -> None:
        """Refuse to go on where a trial was trained on other data: their values cannot be compared.

        Raises:
            UserError: one was.
        """
        now = str(self.job.data["sha256"])
        for trial, record in self.records():
            if record and record.dataset.sha256 not in (None, now):
                what = f"{self.study.row.name}, trial {trial.number}, was trained on"
                raise UserError(f"{what} {other_data(str(record.dataset.sha256), now)}; another run store begins anew")

    def records(self) -> list[tuple[FrozenTrial, Record | None]]:
        """Return every trial that counts with its record; the value of a trial is the metric's own, not a loss."""
        found = [(trial, self.record(trial, self.job.cell.evaluation)) for trial in self.study.trials]
        if not self.higher:
            return found
        return [(_turned(trial) if trial.value is not None else trial, record) for trial, record in found]

    @property
    def higher(self) -> bool:
        """Whether more of the metric is better, as records say."""
        scored = (value_of(record, self.study.row.metric) for record in self._records.values())
        return any(score.higher for score in scored if score)

    def spent(self) -> float:
        """Return the seconds of trials that have a record."""
        return sum(seconds_of(record) for _, record in self.records() if record)

    def going(self, ours: Container[str]) -> float:
        """Return the seconds that trials which other processes carry out have taken so far; `ours` are our cells."""
        total = 0.0
        for trial in self.study.trials:
            cell = self.cell(trial)
            if trial.state != TrialState.RUNNING or cell is None or cell in ours:
                continue
            history = self.store.history(cell)
            if history and self.store.alive(cell, history[-1].number):
                began = datetime.fromisoformat(history[-1].began)
                total += (datetime.now(UTC) - began).total_seconds()
        return total


def _turned(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial whose value has the other sign."""
    turned = copy.copy(trial)
    assert trial.value is not None
    turned.value = -trial.value
    return turned


class Trials(Feed):
    """Hands out the trials of studies, in turn, until each has had its allowance.

    Args:
        studies: of every row.
        allowance: of each.
        say: takes what a trial came to, a sentence.
    """

    def __init__(self, studies: Sequence[Progress], allowance: Allowance, say: Callable[[str], None]) -> None:
        self.studies, self.allowance, self.say = studies, allowance, say
        self._whose: dict[str, tuple[Progress, int]] = {}  # by cell
        self._running: dict[str, float] = {}  # seconds of cells that this pool carries out
        self._cut: dict[str, str] = {}
        self._looked = -POLL
        self._spent: dict[str, tuple[float, float]] = {}  # by study: when that was looked up, and what it was
        self._open = any(map(self._left, self.studies))

    # ---------------------------------------------------------------- what the pool asks

    @property
    def open(self) -> bool:
        """Whether there are trials to come, or some elsewhere that may yet be lost."""
        return self._open

    def more(self) -> Sequence[Job]:
        """Return trials that lost their process, else one that is new, of the study that has had least."""
        if time.monotonic() - self._looked < POLL:
            return ()
        left = [progress for progress in self.studies if self._left(progress)]
        self._open = bool(left)
        for progress in left:
            if jobs := self._adopted(progress):
                return jobs
        for progress in sorted(left, key=self._had):
            while self._due(progress):
                if job := self._new(progress):
                    return [job]
        self._looked = time.monotonic()
        return ()

    def hear(self, job: Job, figures: Figures) -> None:
        """Report the validation bound of an epoch to the study, which may end the trial."""
        value = next((figures.figures[name] for name in COMPARED if name in figures.figures), None)
        epoch = figures.figures.get("epoch")
        if value is None or epoch is None or job.cell.id not in self._whose:
            return
        progress, number = self._whose[job.cell.id]
        if progress.study.row.metric not in BOUNDED:
            return
        if math.isfinite(value) and progress.study.report(number, int(epoch), value):
            self._cut[job.cell.id] = f"worse than other trials after {int(epoch)} epochs"

    def verdict(self, job: Job, seconds: float) -> str:
        """Say that a trial is pruned, or that its study has spent its seconds."""
        cell = job.cell.id
        self._running[cell] = seconds
        if cell in self._whose and self.allowance.seconds is not None:
            progress, _ = self._whose[cell]
            if self._seconds(progress) >= self.allowance.seconds:
                return f"the {self.allowance} of its study are spent"
        return self._cut.get(cell, "")

    def ended(self, job: Job) -> None:
        """Tell the study what the trial came to; one that was stopped goes on later."""
        cell = job.cell.id
        self._running.pop(cell, None)
        progress, number = self._whose[cell]
        self._spent.pop(progress.study.row.study, None)
        record = progress.store.record(cell, job.key)
        if record is None:
            progress.handed.discard(number)
            return
        row = progress.study.row
        notes = {"status": record.status, "seconds": round(seconds_of(record), 3), "reason": record.reason}
        state, value = TrialState.PRUNED if record.status == "pruned" else TrialState.FAIL, None
        came: str = record.status
        if record.status == "ok":
            self._refuse(record, row.metric)
            came = f"{row.metric} is not finite"
            if scored := value_of(record, row.metric):
                state, value, came = TrialState.COMPLETE, scored.loss, f"{row.metric} {scored.value:.4f}"
                notes |= {DOUBT: scored.doubt} if scored.doubt else {}
        progress.study.tell(number, value, state, notes)
        self.say(f"{row.name}, trial {number}: {came}")

    # ---------------------------------------------------------------- what it does

    def _refuse(self, record: Record, metric: str) -> None:
        """Refuse a metric that models have not, or of which no direction is better."""
        names = [score.metric for score in record.scores if score.better != "neither"]
        if names and metric not in names:
            hint = nearest(metric, names) or ";"
            raise UserError(
                f'a trial of {record.label} has no score "{metric}" to be chosen by{hint} it has {listed(names)}'
            )

    def _left(self, progress: Progress) -> bool:
        """Tell whether a study has trials to come, or some that run."""
        return self._due(progress) or any(not trial.state.is_finished() for trial in progress.study.trials)

    def _had(self, progress: Progress) -> float:
        return self._seconds(progress) if self.allowance.seconds is not None else len(progress.study.trials)

    def _due(self, progress: Progress) -> bool:
        """Tell whether a study may have another trial."""
        if self.allowance.seconds is not None:
            return self._seconds(progress) < self.allowance.seconds
        begun = [trial for trial in progress.study.trials if trial.state != TrialState.WAITING]
        return len(begun) < (self.allowance.trials or 0)

    def _seconds(self, progress: Progress) -> float:
        """Return what the trials of a study have taken, those that run included."""
        name = progress.study.row.study
        looked, spent = self._spent.get(name, (-POLL, 0.0))
        if time.monotonic() - looked >= POLL:
            spent = progress.spent() + progress.going(self._running)
            self._spent[name] = time.monotonic(), spent
        ours = (seconds for cell, seconds in self._running.items() if self._whose[cell][0] is progress)
        return spent + sum(ours)

    def _adopted(self, progress: Progress) -> list[Job]:
        """Return trials that have begun and not ended: of another process, dead or alive, or of an earlier run."""
        jobs = []
        for trial in progress.study.trials:
            if trial.state != TrialState.RUNNING or trial.number in progress.handed:
                continue
            values = progress.study.values(trial)
            if progress.cell(trial) and values is not None:
                jobs.append(self._hand(progress, trial.number, progress.job_of(trial.number, values)))
            elif progress.study.forgotten(trial):
                progress.study.void(trial.number, "its process was gone before it began")
        return jobs

    def _new(self, progress: Progress) -> Job | None:
        """Begin a trial; None where there is none after all."""
        trial = progress.study.ask(self.allowance.trials)
        if trial is None:
            return None
        values = progress.study.values(trial)
        assert values is not None
        try:
            job = progress.job_of(trial.number, values)
        except UserError as error:  # a trial as well: its values were tried, and are refused
            notes = {"status": "error", "seconds": 0.0, "reason": one_line(str(error))}
            progress.study.tell(trial.number, None, TrialState.FAIL, notes)
            return None
        if not progress.study.claim(trial.number, job.cell.id):
            return None
        return self._hand(progress, trial.number, job)

    def _hand(self, progress: Progress, number: int, job: Job) -> Job:
        progress.handed.add(number)
        self._whose[job.cell.id] = progress, number
        return job
