"""Rounds of annealing have the effort that an earlier one called for, until one does, and never beyond the maximum."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.estimators import ais, partition
from bench.estimators.ais import LogZ
from bench.estimators.subject import Meter
from bench.protocol import Ais, Noise
from bench.streams import stream

MOST = Ais(temperatures=10_000, chains=500, repeats=5)


def outcome(width: float, unreliable: str = "") -> LogZ:
    return LogZ(0.0, 0.0, width, 0.0, 1, "ais", unreliable)


def total(settings: Ais) -> int:
    return settings.temperatures * settings.chains * settings.repeats


def rounds(*found: LogZ, maximum: Ais = MOST) -> list[Ais]:
    """Return the effort of every round that comes to `found`, the last of them over and over."""
    return [each for each, _ in ais.adapted(maximum, lambda n, _: found[min(n, len(found) - 1)])]


def shape(settings: Ais) -> tuple[int, int, int]:
    return settings.temperatures, settings.chains, settings.repeats


def test_where_the_first_round_shows_that_less_will_do_the_second_has_less() -> None:
    first, second = rounds(outcome(0.03), outcome(0.05))
    assert shape(first) == (500, 200, 1)
    assert shape(second) == (270, 200, 1)  # 1.5 * .6^2 = .54 of it


def test_no_round_is_so_short_that_it_tells_nothing() -> None:
    assert [shape(each) for each in rounds(outcome(0.001))] == [(500, 200, 1), (100, 200, 1)]
    few = Ais(temperatures=80, chains=500, repeats=5)
    assert [shape(each) for each in rounds(outcome(0.001), maximum=few)] == [(80, 200, 1), (80, 200, 1)]


def test_from_the_second_round_on_effort_only_grows() -> None:
    # else a round that failed and one that foresaw too little could alternate for ever
    efforts = rounds(outcome(0.01), outcome(0.01, "bases disagree"), outcome(0.01), outcome(0.06), outcome(0.01))
    assert [shape(each)[0] for each in efforts] == [500, 100, 400, 400, 864]


def test_a_round_of_less_effort_has_to_be_foreseen_as_any_other() -> None:
    efforts = rounds(outcome(0.01, "a small effective sample size"), outcome(0.01), outcome(0.01))
    assert [shape(each)[0] for each in efforts] == [500, 2000, 2000]


def test_the_second_round_has_the_effort_that_the_width_of_the_first_calls_for() -> None:
    first, second = rounds(outcome(0.10), outcome(0.04))
    assert total(second) / total(first) == pytest.approx(1.5 * 2**2)


def test_a_width_just_narrow_enough_is_not_left_to_luck() -> None:
    first, second = rounds(outcome(0.049), outcome(0.04))
    assert total(second) / total(first) == pytest.approx(1.5 * 0.98**2, rel=2e-3)


def test_a_round_that_was_not_foreseen_is_never_the_last() -> None:
    # the narrow second round follows an unreliable one: nothing but its own weights say that it may be used
    efforts = rounds(outcome(0.2, "bases disagree"), outcome(0.02), outcome(0.02))
    assert [total(each) // total(efforts[0]) for each in efforts] == [1, 4, 4]


def test_a_foreseen_round_that_is_too_wide_or_unreliable_is_a_pilot() -> None:
    efforts = rounds(outcome(0.02), outcome(0.051), outcome(0.04))
    assert [total(each) for each in efforts] == [100_000, 24_000, 37_600]
    efforts = rounds(outcome(0.02), outcome(0.02, "a small effective sample size"), outcome(0.02), outcome(0.02))
    assert [total(each) for each in efforts] == [100_000, 24_000, 96_000, 96_000]


def test_what_stays_unreliable_ends_at_the_maximum() -> None:
    efforts = rounds(outcome(0.01, "below the floor"))
    assert [shape(each) for each in efforts] == [
        (500, 200, 1),
        (2000, 200, 1),
        (8000, 200, 1),
        (10_000, 500, 2),
        shape(MOST),
    ]


@pytest.mark.parametrize("width", [1.0, math.inf])
def test_no_round_exceeds_the_maximum(width: float) -> None:
    efforts = rounds(outcome(width))
    assert efforts[-1] == MOST
    assert len(efforts) == 2


@pytest.mark.parametrize("maximum", [Ais(temperatures=1000, chains=200), Ais(temperatures=20, chains=50, repeats=2)])
def test_a_maximum_of_no_more_than_two_pilots_is_all_there_is(maximum: Ais) -> None:
    assert rounds(outcome(9.0, "whatever"), maximum=maximum) == [maximum]


def test_growth_is_in_temperatures_then_chains_then_repeats() -> None:
    assert [shape(ais.grown(ais.first(MOST), factor, MOST)) for factor in (1, 10, 40, 100)] == [
        (500, 200, 1),
        (5000, 200, 1),
        (10_000, 400, 1),
        (10_000, 500, 2),
    ]


def test_half_the_maximum_or_more_is_the_maximum() -> None:
    assert ais.grown(ais.first(MOST), 125, MOST) == MOST


# ---------------------------------------------------------------- with annealing


def grbm() -> GRBM:
    """Return a GRBM of three dimensions and three units whose weights vary."""
    generator = torch.Generator().manual_seed(0)
    model = GRBM(3, 3)
    model.weight.data = torch.randn(3, 3, generator=generator)
    return model


def latents() -> Tensor:
    return stream(0, "latents").normal(200, 3)


def anneal(settings: Ais, seed: int = 0) -> LogZ:
    return partition.anneal(grbm(), latents(), settings, lambda name: stream(seed, name))


WIDE = Ais(temperatures=1100, chains=300, repeats=3, width=0.08)


def test_the_last_round_alone_is_the_estimate() -> None:
    result = anneal(WIDE)
    _, chains, repeats, width = result.arrays["ais_rounds"][-1]
    assert len(result.arrays["ais_rounds"]) >= 2
    assert result.arrays["ais_forward_uniform"].shape == (repeats, chains)
    assert result.n == 2 * chains * repeats
    assert width == result.upper - result.lower
    assert not result.unreliable


def test_a_width_that_cannot_be_reached_takes_the_maximum() -> None:
    result = anneal(WIDE.model_copy(update={"width": 1e-9}))
    assert result.arrays["ais_rounds"][-1, :3].tolist() == [1100, 300, 3]


def test_rounds_share_no_draws() -> None:
    asked: list[str] = []

    def noise_for(name: str) -> Noise:
        asked.append(name)
        return stream(0, name)

    result = partition.anneal(grbm(), latents(), WIDE, noise_for)
    assert len(result.arrays["ais_rounds"]) >= 2
    assert len(asked) == len(set(asked))


def test_effort_is_the_same_every_time() -> None:
    one, same = anneal(WIDE), anneal(WIDE)
    assert (one.value, one.lower, one.upper) == (same.value, same.lower, same.upper)
    assert all((one.arrays[name] == same.arrays[name]).all() for name in one.arrays)


def test_progress_ends_at_its_total_however_many_rounds_there_are() -> None:
    told: list[tuple[int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        told.append((done, total))

    meter = Meter(progress, 1000)
    partition.anneal(grbm(), latents(), WIDE, lambda name: stream(0, name), meter)
    meter.advance(1000)
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert len(set(totals)) >= 2  # a round that turns out to be needed adds to the total
    assert done[-1] == totals[-1]
    assert all(part <= whole for part, whole in told)


def test_what_is_expected_is_what_is_done() -> None:
    expected: list[float] = []

    class Watched(Meter):
        def expect(self, count: float) -> None:
            super().expect(count)
            expected.append(count)

    meter = Watched()
    partition.anneal(grbm(), latents(), WIDE, lambda name: stream(0, name), meter)
    assert len(expected) >= 2
    assert sum(expected) == pytest.approx(meter.done)
