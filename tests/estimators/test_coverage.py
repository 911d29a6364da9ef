"""The interval of log Z holds the truth, or the estimate says that it may not: by models whose log Z is exact.

No exact draw of a model reaches the estimator. Its latents are training data where there are such, else they come from
a few modes of the model, and from none that is far away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from torch import Tensor

from bench.estimators import partition
from bench.estimators.ais import LogZ
from bench.protocol import Ais
from bench.streams import stream
from tests.oracles.grbms import EIGHT_OF_64_16, FOUR_OF_16, Oracle, blocks, coupled, enumerated, fitted, islands
from tests.oracles.verdicts import contains, noises, silently_wrong, tallied, upper_estimates

ADAPTIVE = Ais(temperatures=2500, chains=200, width=0.1)  # up to three rounds
ONE_ROUND = Ais(temperatures=500, chains=100)
SMALL = Ais(temperatures=300, chains=50)


@dataclass(frozen=True)
class Case:
    """A model, the latents that its posterior would give, and the effort to spend.

    Attributes:
        oracle: the model.
        settings: the most effort.
        trusted: whether log Z should not be called unreliable.
        data: training data, in place of the oracle's latents.
    """

    oracle: Oracle
    settings: Ais
    trusted: bool
    data: Tensor | None = None

    def latents(self, seed: int) -> Tensor:
        return self.oracle.latents(1000, stream(seed, "latents")) if self.data is None else self.data

    def anneal(self, seed: int) -> LogZ:
        return partition.anneal(self.oracle.grbm, self.latents(seed), self.settings, noises(seed))


def trained(objective: str, settings: Ais) -> Case:
    oracle, data = fitted(objective)
    return Case(oracle, settings, True, data)


CASES: dict[str, Callable[[], Case]] = {
    "trained by score matching": lambda: trained("score matching", ADAPTIVE),
    "trained by maximum likelihood": lambda: trained("maximum likelihood", ONE_ROUND),
    "weakly coupled": lambda: Case(enumerated(coupled(64, 16, seed=1, scale=0.2)), ONE_ROUND, True),
    "64 x 64": lambda: Case(blocks(FOUR_OF_16, seed=0, scale=0.3), ONE_ROUND, True),
    "512 x 128": lambda: Case(blocks(EIGHT_OF_64_16, seed=0, scale=0.1), SMALL, True),
    "64 x 16, strongly coupled": lambda: Case(enumerated(coupled(64, 16, seed=2, scale=0.6)), ONE_ROUND, False),
    "64 x 64, strongly coupled": lambda: Case(blocks(FOUR_OF_16, seed=1, scale=0.8), ONE_ROUND, False),
    "16 x 8, three quarters far away": lambda: Case(enumerated(islands(16, 8, 10.0, 0.75), (0,)), ONE_ROUND, False),
    "64 x 64, three quarters far away": lambda: Case(blocks(FOUR_OF_16, seed=2, scale=0.3, far=1), ONE_ROUND, False),
}


@pytest.mark.parametrize("name", CASES)
def test_an_interval_holds_log_z_or_is_unreliable(name: str) -> None:
    case = CASES[name]()
    result = case.anneal(seed=0)
    assert not silently_wrong(result, case.oracle.log_z)
    if case.trusted:
        assert contains(result, case.oracle.log_z)
        assert not result.unreliable


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CASES)
def test_95_of_100_intervals_hold_log_z(name: str) -> None:
    case = CASES[name]()
    results = [case.anneal(seed) for seed in range(100)]
    tally = tallied(((result, case.oracle.log_z) for result in results), name)
    errors = np.array([result.value - case.oracle.log_z for result in results])
    print(f"errors {errors.min():.3f} to {errors.max():.3f}, widths {np.median([each.width for each in results]):.3f}")
    if case.trusted:
        assert tally.covered >= 95
        assert tally.unreliable <= 5  # an alarm that rings for good models is no alarm
    else:
        assert tally.covered >= 95 or tally.unreliable == 100
        assert tally.silent == 0


# ---------------------------------------------------------------- many models


def models(count: int) -> Iterator[Case]:
    """Yield `count` models, each of them another: strongly coupled, of full size, with far modes and without."""
    scales = np.linspace(0.3, 1.2, count)
    for seed, scale in enumerate(scales):
        kind = seed % 4
        if kind == 0:
            oracle = enumerated(coupled((8, 16, 32, 64)[seed // 4 % 4], 12, seed, float(scale)))
        elif kind == 1:
            oracle = blocks(FOUR_OF_16, seed, float(scale))
        elif kind == 2:
            distance, share = (5.0, 10.0, 20.0)[seed // 4 % 3], (0.1, 0.5, 0.75)[seed // 12 % 3]
            oracle = blocks(FOUR_OF_16, seed, 0.3 * float(scale), 1 + seed // 4 % 4, distance, share)
        else:
            oracle = blocks([(16, 8)] * 3, seed, float(scale), far=seed // 4 % 3)
        yield Case(oracle, ONE_ROUND, False)


def check(count: int) -> None:
    tally = tallied(((case.anneal(seed), case.oracle.log_z) for seed, case in enumerate(models(count))), "models")
    assert tally.silent == 0


def test_none_of_eight_models_is_silently_wrong() -> None:
    check(8)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_none_of_two_hundred_models_is_silently_wrong() -> None:
    check(200)


# ---------------------------------------------------------------- exact starts, which no detector has


@pytest.mark.parametrize("name", ["64 x 64", "16 x 8, three quarters far away", "64 x 64, three quarters far away"])
def test_reverse_chains_with_exact_starts_are_above_log_z(name: str) -> None:
    case = CASES[name]()
    draws = case.oracle.sample(200, stream(0, "draws"))
    found = upper_estimates(case.oracle.grbm, case.latents(0), draws, 1000, noises(0))
    for estimate in found.values():
        assert estimate.value > case.oracle.log_z - 3 * estimate.stderr
    if not case.oracle.far:
        # forward from below and reverse from above: log Z between them
        result = case.anneal(0)
        upper = max(each.value + 3 * each.stderr for each in found.values())
        assert result.lower <= case.oracle.log_z <= upper
