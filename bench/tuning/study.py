"""Optuna's side of tuning: how trials are suggested, and how each ends exactly once.

Any number of processes work on one study, and none of them is in charge. A trial is whatever the storage says. Who
carries it out is whoever claims its cell in the run store (`bench.sweep.attempts`), so that a trial whose process died
is another's to go on with, from its checkpoint, and is no further trial.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from bench.protocol import UserError
from bench.sweep.columns import canonical
from bench.tuning import journal
from bench.tuning.journal import OfStudy, place_of, reading
from bench.tuning.rows import Row, said_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage

PATIENCE = 60.0  # seconds that a process may take from asking for a trial to having all of its values
STARTUP = 10  # random trials before a study has something to go by
VOID = "void"  # why a trial is none: it never began
CELL = "cell"  # the id of a trial's cell
OWN = "own"  # that a trial has the grid's own values
DOUBT = "unreliable"  # why a trial's value is not to be trusted

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Sampler(BaseSampler):
    """A tree-structured Parzen estimator whose draws depend on the study's name and the number of the trial alone.

    So two processes that ask at the same time do not get the same trial, and one process always gets the same ones.
    Trials whose value is not to be trusted count as worse than all others, or the search would go where log Z fails.
    """

    def _of(self, study: optuna.Study, trial: FrozenTrial, what: str = "") -> TPESampler:
        content = f"{study.study_name}\0{trial.number}\0{what}".encode()
        seed = int.from_bytes(hashlib.sha256(content).digest()[:4], "big")
        return TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the hyper-parameters that are suggested together."""
        return self._of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return their values."""
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of one that is suggested for itself."""
        return self._of(study, trial, param_name).sample_independent(study, trial, param_name, param_distribution)


def pruner_of(name: str, epochs: int) -> BasePruner:
    """Return Optuna's pruner of this name: `median`, `hyperband` or `none`."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 4))
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=max(1, epochs // 9), max_resource=max(1, epochs))
    return pruners.NopPruner()


class Study:
    """The study of one row.

    Args:
        row: whose.
        storage: where it lies.
        pruner: of its trials.
        create: make it where there is none, and work on it; else it is only read, and may be of earlier code.

    Raises:
        UserError: there is one with another search space, or of other settings or, if it is worked on, of other code;
            or what its storage says is not what bench writes. So do all methods.
        KeyError: there is none, or one that never began, and none is to be made.
    """

    def __init__(self, row: Row, storage: BaseStorage, pruner: BasePruner | None = None, create: bool = True) -> None:
        self.row, self._create = row, create
        given: dict[str, Any] = {"study_name": row.study, "storage": storage, "sampler": Sampler(), "pruner": pruner}
        self.place = place_of(storage)
        with reading(self.place):
            there = row.study in optuna.get_all_study_names(storage)
            if create and not there:
                with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
                    made = optuna.create_study(direction="minimize", **given)
                    made.enqueue_trial(**self._first())  # what is chosen is no worse than the defaults
                    made.set_user_attr("context", row.context)
            study = optuna.load_study(**given) if create or there else None
        if study is None:
            raise KeyError(row.study)
        self.study = study
        self._check()
        self._values = {chosen.key: chosen for chosen in self.row.ranges}
        self._distributions = {key: chosen.distribution for key, chosen in self._values.items()}

    def _first(self) -> dict[str, Any]:
        """Return the grid's own values as a suggestion, which is marked: they are never rounded."""
        own = self.row.defaults
        suggested = {chosen.key: chosen.suggestion(own[chosen.key]) for chosen in self.row.ranges}
        return {"params": suggested, "user_attrs": {OWN: True}}

    def _check(self) -> None:
        """Refuse a study that was made of something else."""
        deadline = time.monotonic() + 10
        while (before := self.said.context) is None:
            if not self._create:
                raise KeyError(self.row.study)
            if time.monotonic() > deadline:  # whoever made it died before it was whole
                with reading(self.place):
                    self.study.enqueue_trial(**self._first(), skip_if_exists=True)
                    self.study.set_user_attr("context", self.row.context)
            time.sleep(0.1)
        if not self._create:
            self.row = replace(self.row, code=before.fingerprints)
        if before.space == said_of(self.row.stated):  # an earlier one, which need not hold the grid's own values
            self.row = replace(self.row, ranges=self.row.stated)
        for part, now in self.row.context.items():
            if before.parts[part] != now:
                differing = _differing(before.parts[part], now)
                raise UserError(
                    f"the study {self.row.study} was made with {_OTHER[part]}{differing};"
                    " a new one needs another run store"
                )

    @property
    def said(self) -> OfStudy:
        """What is noted of the study."""
        return journal.of_study(self.study, self.place)

    def allow(self, seconds: float | None) -> None:
        """Note the seconds that the row may have: the most of what was ever asked for; None where it has trials."""
        most = max(self.said.seconds or 0.0, seconds) if seconds else 0.0
        with reading(self.place):
            self.study.set_user_attr("seconds", most)

    # ---------------------------------------------------------------- trials

    @property
    def trials(self) -> list[FrozenTrial]:
        """Those that count, whatever became of them, in order."""
        with reading(self.place):
            trials = self.study.get_trials(deepcopy=False)
        said = (journal.of_trial(trial, self._distributions, self.row.study, self.place) for trial in trials)
        return [trial for notes, trial in said if notes.void is None]

    def values(self, trial: FrozenTrial) -> dict[str, Any] | None:
        """Return the hyper-parameters of a trial by their keys; None while it has not got all of them."""
        if trial.params.keys() != self._values.keys():
            return None
        if trial.user_attrs.get(OWN) and trial.params == self._first()["params"]:
            return self.row.defaults
        return {key: self._values[key].value(value) for key, value in trial.params.items()}

    @property
    def earlier(self) -> list[str]:
        """That no trial has the grid's own values, in a sentence, where an earlier bench began the study so."""
        first = next((trial for trial in self.trials if trial.number == 0), None)
        if first is None or self.values(first) is None or self.own(first):  # or it has not begun
            return []
        why = f"{self.row.name}: an earlier bench began its study, whose first trial has not the grid's own values"
        return [f"{why}; a new one needs another run store"]

    def own(self, trial: FrozenTrial) -> bool:
        """Tell whether a trial has the grid's own values."""
        return self.values(trial) == self.row.defaults

    def ask(self, most: int | None) -> FrozenTrial | None:
        """Begin a trial, with all of its values; None where others were quicker and there are as many as there may be.

        Args:
            most: how many there may be.
        """
        with reading(self.place):
            trial = self.study.ask(self._distributions)
        before = sum(other.number < trial.number for other in self.trials)
        if most is not None and before >= most:
            self.void(trial.number, "one too many")
            return None
        return next(other for other in self.trials if other.number == trial.number)

    def void(self, number: int, reason: str) -> None:
        """Say that a trial is none: it never began."""
        with reading(self.place), contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._note(number, VOID, reason)
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def claim(self, number: int, cell: str) -> bool:
        """Say which cell a trial is; False where it has been ended meanwhile."""
        try:
            with reading(self.place):
                self._note(number, CELL, cell)
                trial = self._frozen(number)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        return trial.state == TrialState.RUNNING and VOID not in trial.user_attrs

    def forgotten(self, trial: FrozenTrial) -> bool:
        """Tell whether a trial was begun by a process that did not come to say which cell it is."""
        if trial.state != TrialState.RUNNING or CELL in trial.user_attrs or trial.datetime_start is None:
            return False
        start = trial.datetime_start
        start = start.astimezone(UTC) if start.tzinfo else start.astimezone()
        return (datetime.now(UTC) - start).total_seconds() > PATIENCE

    def report(self, number: int, step: int, value: float) -> bool:
        """Keep what a running trial has come to at a step; tell whether it is to end."""
        if isinstance(self.study.pruner, optuna.pruners.NopPruner):
            return False
        with reading(self.place):
            trial = self._frozen(number)
            if trial.state != TrialState.RUNNING or step in trial.intermediate_values:
                return False
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                self.study._storage.set_trial_intermediate_value(trial._trial_id, step, value)
            return self.study.pruner.prune(self.study, self._frozen(number))

    def tell(self, number: int, value: float | None, state: TrialState, notes: Mapping[str, Any]) -> None:
        """End a trial, unless it has ended."""
        with reading(self.place), contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            trial = self._frozen(number)
            if trial.state == TrialState.RUNNING and DOUBT not in trial.constraints:
                doubt = float(DOUBT in notes)  # above 0: worse than all that can be trusted
                optuna.Trial(self.study, trial._trial_id).set_constraint(DOUBT, doubt)
            for key, note in notes.items():
                self._note(number, key, note)
            self.study.tell(number, value, state, skip_if_finished=True)

    def _note(self, number: int, key: str, value: Any) -> None:
        self.study._storage.set_trial_user_attr(self._frozen(number)._trial_id, key, value)

    def _frozen(self, number: int) -> FrozenTrial:
        storage = self.study._storage
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))


_OTHER = {
    "search space": "another search space",
    "settings": "other settings",
    "code": "other code of bench or of its plugins",
}


def _differing(before: str, now: str) -> str:
    """Return in what two contexts differ, in words; nothing for fingerprints, which say nothing to a reader."""
    old, new = _flat(json.loads(before)), _flat(json.loads(now))
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    if "fit" in keys or "evaluate" in keys or "plugin" in keys:
        return ""
    return f" ({', '.join(f'{key}: {_shown(old.get(key))} instead of {_shown(new.get(key))}' for key in keys[:3])})"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return flat


def _shown(value: Any) -> str:
    return "none" if value is None else canonical(value) if isinstance(value, Mapping) else json.dumps(value)
