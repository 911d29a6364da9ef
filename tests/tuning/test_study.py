"""Studies: a known optimum is found, and trials are begun exactly as often as they may be."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

import bench.grid as grids
from bench.plugins import Registry
from bench.protocol import UserError
from bench.tuning import rows
from bench.tuning.journal import JOURNAL, storage_of
from bench.tuning.study import Sampler, Study, pruner_of
from tests.tuning.conftest import BEST, FAKES, tables

VARIANCE, TAU = 2.0, 0.5  # of the data, of the frozen decoder x = z + tau eps
STUDIES, TRIALS = 20, 40


def regret(variance: float) -> float:
    """Return the nats that a prior N(0, variance) loses to the best one: KL(N(0, v) || N(0, variance + tau^2))."""
    ratio = VARIANCE / (variance + TAU**2)
    return 0.5 * (ratio - 1 - math.log(ratio))


def best_of(sampler: BaseSampler, name: str) -> float:
    """Return the regret after all trials of a study."""
    study = optuna.create_study(sampler=sampler, study_name=name)
    ranges: dict[str, BaseDistribution] = {"variance": FloatDistribution(0.01, 100, log=True)}
    for _ in range(TRIALS):
        trial = study.ask(ranges)
        study.tell(trial, regret(trial.params["variance"]))
    return study.best_value


def test_a_known_optimum_is_found_and_better_than_at_random() -> None:
    """The best variance is v - tau^2.

    Of 20 studies 19 must come within .02 nat. Were both searches alike, a study would be nearer than its random
    neighbour in half of the cases, and in 15 or more of 20 with probability .021.
    """
    assert regret(BEST) == 0
    ours = [best_of(Sampler(), f"study {number}") for number in range(STUDIES)]
    random = [best_of(RandomSampler(seed=number), f"random {number}") for number in range(STUDIES)]
    assert sum(value <= 0.02 for value in ours) >= 19
    assert sum(a < b for a, b in zip(ours, random, strict=True)) >= 15
    assert sum(ours) < sum(random)


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], Study]:
    """Open the study of a row, as a process of its own would."""
    grid = grids.load(tables(), Registry([FAKES]))
    (row,) = rows.of(grid, "vlb", Registry([FAKES]))

    def make() -> Study:
        storage = storage_of(None, tmp_path)
        assert storage is not None
        return Study(row, storage, pruner_of("median", 8))

    return make


def test_many_that_ask_at_once_begin_as_many_trials_as_there_may_be(make: Callable[[], Study]) -> None:
    begun: list[int] = []

    def work() -> None:
        study = make()
        while len(study.trials) < 7 or study.trials[0].state == TrialState.WAITING:
            if trial := study.ask(7):
                begun.append(trial.number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    study = make()
    assert len(study.trials) == len(begun) == len(set(begun)) == 7
    assert all(trial.state == TrialState.RUNNING for trial in study.trials)
    assert len({trial.params["variance"] for trial in study.trials}) == 7
    assert study.trials[0].params["variance"] == 1.0  # the grid's own, once


def test_a_trial_ends_once(make: Callable[[], Study]) -> None:
    one, other = make(), make()
    trial = one.ask(3)
    assert trial is not None
    assert one.claim(trial.number, "abc")
    one.tell(trial.number, 1.5, TrialState.COMPLETE, {"status": "ok"})
    other.tell(trial.number, 99.0, TrialState.COMPLETE, {"status": "ok"})
    other.void(trial.number, "too late")
    assert not other.claim(trial.number, "def")
    assert [trial.value for trial in make().trials] == [1.5]


def test_a_trial_that_was_never_begun_is_none(make: Callable[[], Study], monkeypatch: pytest.MonkeyPatch) -> None:
    study = make()
    trial = study.ask(3)
    assert trial is not None
    assert not study.forgotten(study.trials[0])
    monkeypatch.setattr("bench.tuning.study.PATIENCE", 0.0)
    assert study.forgotten(study.trials[0])
    study.void(trial.number, "its process was gone before it began")
    assert study.trials == []
    assert not study.claim(trial.number, "abc")  # should its process come back
    assert study.ask(1) is not None


def test_trials_are_pruned_by_the_median_of_their_own_study(make: Callable[[], Study]) -> None:
    study = make()
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        trial = study.ask(None)
        assert trial is not None
        for step in range(6):
            assert not study.report(trial.number, step, value)
        study.tell(trial.number, value, TrialState.COMPLETE, {})
    trial = study.ask(None)
    assert trial is not None
    assert [study.report(trial.number, step, 3.5) for step in range(6)] == [False, False, True, True, True, True]


def test_a_journal_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("{ no journal\n{ at all\n")
    with pytest.raises(
        UserError, match=r"the storage of studies .*studies.journal cannot be used: its line 1 "
    ) as error:
        storage_of(None, tmp_path)
    assert "\n" not in str(error.value)
    assert storage_of(None, tmp_path / "empty", create=False) is None


def test_any_storage_of_optuna_will_do(tmp_path: Path) -> None:
    (row,) = rows.of(grids.load(tables(), Registry([FAKES])), "vlb", Registry([FAKES]))
    storage = storage_of(f"sqlite:///{tmp_path}/studies.db", tmp_path)
    assert storage is not None
    study = Study(row, storage)
    trial = study.ask(1)
    assert trial is not None
    study.tell(trial.number, 2.0, TrialState.COMPLETE, {})
    assert study.ask(1) is None
    again = Study(row, storage, create=False)
    assert [trial.value for trial in again.trials] == [2.0]
