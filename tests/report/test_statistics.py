"""Intervals and p-values: against scipy, by hand, and by how often they exclude what is true."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from bench.report.statistics import Interval, Items, Spread, Trained, difference, holm, mean

REPEATS = 10_000
MOST = 0.055  # wrong exclusions allowed of the 5 % that are meant: 2.3 standard errors of 10,000 repeats


def exact(value: float) -> Trained:
    """A score without any error of its own that is no mean over items."""
    return Trained(value, value, value, 0.0)


def over(items: Sequence[float] | np.ndarray, half: float = 0.0) -> Trained:
    """A mean over items, of a model whose log Z may be off by `half`."""
    vector = np.asarray(items, np.float32)
    value = float(vector.mean(dtype=np.float64))
    stderr = float(vector.std(ddof=1)) / math.sqrt(len(vector))
    return Trained(value, value - half, value + half, stderr, True, Items(vector))


def lost(trained: Trained) -> Trained:
    """The same score where those of single items are not there."""
    return Trained(trained.value, trained.lower, trained.upper, trained.stderr, trained.averages, None)


# ---------------------------------------------------------------- means


def test_two_seeds_by_hand() -> None:
    # sd = sqrt(2), so that t * sd / sqrt(n) = t = 12.706 at one degree of freedom
    interval = mean([exact(1.0), exact(3.0)])
    assert interval is not None
    assert interval.mean == 2.0
    assert (interval.lower, interval.upper) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)
    assert (interval.n, interval.basis) == ((2,), "seeds")


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_a_score_that_is_no_mean_over_items_has_students_t_interval_over_seeds(n: int) -> None:
    values = np.random.default_rng(n).normal(95, 0.23, n)
    interval = mean([Trained(float(value), float(value), float(value), 0.4) for value in values])
    expected = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx(expected, rel=1e-12)


def test_seeds_and_items_add_in_squares_by_hand() -> None:
    # seeds: means 2 and 4, so s_s = sqrt(2) and t_1 s_s / sqrt(2) = 12.7062; items of the mean over seeds: 1, 3, 5, so
    # s_i = 2 and t_2 s_i / sqrt(3) = 4.30265 * 1.154701 = 4.96828
    interval = mean([over([0, 2, 4]), over([2, 4, 6])])
    assert interval is not None
    half = math.hypot(12.70620, 4.96828)
    assert (interval.mean, interval.basis) == (3.0, "seeds and items")
    assert (interval.lower, interval.upper) == pytest.approx((3 - half, 3 + half), abs=1e-4)


def test_seeds_that_happen_to_agree_keep_the_interval_of_their_items() -> None:
    items = np.random.default_rng(0).normal(90, 25, 200)
    twins = mean([over(items), over(items + 0.001)])
    alone = mean([over(items)])
    assert twins is not None
    assert alone is not None
    assert twins.half(0.05) >= 0.999 * alone.half(0.05)


@pytest.mark.parametrize("n", [2, 8, 128])
def test_the_interval_of_log_z_is_not_narrowed_by_seeds(n: int) -> None:
    interval = mean([Trained(90.0, 89.9, 90.3, 0.4)] * n)
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx((89.9, 90.3))


def test_one_seed_has_the_interval_of_its_items_and_says_so() -> None:
    items = np.random.default_rng(1).normal(90, 5, 50)
    interval = mean([over(items, half=0.1)])
    low, high = stats.t.interval(0.95, 49, items.mean(), stats.sem(items))
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx((low - 0.1, high + 0.1), abs=1e-4)
    assert (interval.n, interval.basis) == ((1,), "items")


def test_a_distance_to_the_same_test_items_is_off_with_them_in_every_seed() -> None:
    """The error of the test items (.3) is one for all seeds of both models, that of their draws (.1) each its own."""
    noise, missed, apart = np.random.default_rng(5), 0, 0
    for _ in range(2000):
        common = 0.3 * noise.normal()
        one, two = (
            [Trained(value, value, value, math.hypot(0.1, 0.3), shared=0.3) for value in row]
            for row in (common + 0.1 * noise.normal(size=(2, 3))).tolist()
        )
        interval, between = mean(one), difference(one, two)
        assert interval is not None
        assert between is not None
        missed += not interval.lower <= 0 <= interval.upper
        apart += between.excludes_zero
    # 5 % and three standard errors of a share of 2,000
    assert missed / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert apart / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_one_seed_without_items_has_its_own_standard_error() -> None:
    interval = mean([Trained(90.0, 89.9, 90.3, 0.5)])
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx((89.9 - 1.95996 * 0.5, 90.3 + 1.95996 * 0.5), abs=1e-5)
    assert interval.basis == "one estimate"


def test_without_single_items_the_interval_of_a_mean_is_no_narrower_and_says_so() -> None:
    rng = np.random.default_rng(2)
    trained = [over(rng.normal(90, 25, 10_000)) for _ in range(3)]
    whole, without = mean(trained), mean([lost(score) for score in trained])
    assert whole is not None
    assert without is not None
    # the normal quantile stands in for t's: they agree to 1e-4 at 9,999 degrees of freedom
    assert without.half(0.05) > 0.9999 * whole.half(0.05)
    assert (whole.lost, without.lost) == (False, True)


def test_no_seed_has_no_interval() -> None:
    assert mean([]) is None
    assert difference([], [exact(1.0)]) is None
    assert difference([exact(1.0)], []) is None


# ---------------------------------------------------------------- differences


@pytest.mark.parametrize(("n_a", "n_b"), [(2, 2), (3, 5), (10, 4)])
def test_seeds_are_not_paired_but_compared_by_welchs_interval(n_a: int, n_b: int) -> None:
    rng = np.random.default_rng(n_a)
    a, b = rng.normal(93, 0.5, n_a), rng.normal(95, 0.2, n_b)
    interval = difference([exact(float(value)) for value in a], [exact(float(value)) for value in b])
    expected = stats.ttest_ind(a, b, equal_var=False)
    ends = expected.confidence_interval(0.95)
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx((ends.low, ends.high), rel=1e-9)
    assert interval.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert interval.n == (n_a, n_b)


def test_what_makes_an_item_hard_for_both_cancels() -> None:
    rng = np.random.default_rng(3)
    hardness, gain = rng.normal(95, 25, 1000), rng.normal(2, 0.5, 1000)
    interval = difference([over(hardness - gain)], [over(hardness)])
    half = stats.t.ppf(0.975, 999) * gain.std(ddof=1) / math.sqrt(1000)
    assert interval is not None
    assert interval.half(0.05) == pytest.approx(half, rel=1e-3)
    assert interval.basis == "items"


def test_a_difference_by_hand() -> None:
    # A: means 2, 4; B: means 0, 1, 2; Welch: 2/2 + 1/3 = 1.3333, df = 1.7778 / (1/1 + (1/9)/2) = 1.68421
    # items: A's mean 1, 3, 5, B's -1, 1, 3: all 2 apart, so s_i = 0; log Z: A within .1 and B within .3
    a = [over([0, 2, 4], half=0.1), over([2, 4, 6], half=0.1)]
    b = [over([-2 + k, k, 2 + k], half=0.3) for k in (0, 1, 2)]
    interval = difference(a, b)
    half = stats.t.ppf(0.975, 1.684210) * math.sqrt(4 / 3)
    assert interval is not None
    assert interval.mean == pytest.approx(2.0)
    assert (interval.lower, interval.upper) == pytest.approx((2 - 0.4 - half, 2 + 0.4 + half), rel=1e-5)


def test_the_items_that_both_have_are_compared_and_no_others() -> None:
    rng = np.random.default_rng(4)
    hardness = rng.normal(95, 25, 1000)
    hardness[200:] += 3  # those that only one side has are harder
    interval = difference([over(hardness[:200] - 1)], [over(hardness)])
    assert interval is not None
    assert interval.common == 200
    assert interval.mean == pytest.approx(-1.0, abs=1e-4)


def test_without_single_items_both_standard_errors_are_added_and_that_is_said() -> None:
    a, b = Trained(93.0, 93.0, 93.0, 0.3, True), Trained(95.0, 95.0, 95.0, 0.4, True)
    interval = difference([a], [b])
    assert interval is not None
    assert interval.upper == pytest.approx(-2 + 1.95996 * 0.5, abs=1e-5)
    assert interval.lost


def test_one_seed_on_a_side_leaves_the_items_alone() -> None:
    rng = np.random.default_rng(5)
    many = [over(rng.normal(95, 1, 50)) for _ in range(4)]
    interval = difference(many, [over(rng.normal(95, 1, 50))])
    assert interval is not None
    assert interval.basis == "items"


# ---------------------------------------------------------------- better scores of some items


def corrected(rough: np.ndarray, better: np.ndarray, which: np.ndarray, half: float = 0.0, off: float = 0.0) -> Trained:
    """A score of all items by better ones of some; log Z may be off by `half` and is off by `off`."""
    items = Items(rough, better, which)
    value = items.mean + off
    return Trained(value, value - half, value + half, 0.0, True, items)


def test_better_scores_of_some_items_by_hand() -> None:
    # R = 0, 1, 2, 7: mean 2.5, V(R) = 29/3; of items 1 and 3 D = 3 - 1, 8 - 7 = 2, 1: mean 1.5, V(D) = .5,
    # Cov(R, D) = (1 - 4)(2 - 1.5) + (7 - 4)(1 - 1.5) = -3; (29/3 - 6)/4 + .5/2 = 1.16667
    items = Items(np.array([0.0, 1, 2, 7]), np.array([3.0, 8]), np.array([1, 3]))
    assert items.mean == pytest.approx(4.0)
    assert items.spread.stderr == pytest.approx(math.sqrt(7 / 6))
    assert items.spread.freedom == 1


def test_with_better_scores_of_all_items_they_have_their_plain_mean_and_its_error() -> None:
    rng = np.random.default_rng(6)
    better = rng.normal(90, 25, 300)
    whole, alone = Items(better + rng.exponential(1, 300), better, np.arange(300)), Items(better)
    assert whole.mean == pytest.approx(alone.mean, rel=1e-12)
    assert whole.spread.stderr == pytest.approx(alone.spread.stderr, rel=1e-12)
    assert whole.spread.freedom == alone.spread.freedom


def test_items_that_only_one_side_has_better_scores_of_are_left_out() -> None:
    rng = np.random.default_rng(7)
    hardness, bias = rng.normal(95, 25, 500), rng.exponential(1, 500)
    which, fewer = np.arange(0, 500, 5), np.arange(0, 500, 10)
    ours = corrected(hardness - 1 + bias, hardness[which] - 1, which)
    theirs = corrected(hardness + 3 * bias, hardness[fewer], fewer)
    interval = difference([ours], [theirs])
    assert interval is not None
    assert interval.items is not None
    assert interval.items.freedom == 49
    # D differs by -2 times the bias: over the fewer items on both sides that is what R differs by, and -1 is left
    expected = -1 - 2 * bias.mean() + 2 * bias[fewer].mean()
    assert interval.mean == pytest.approx(expected, abs=1e-9)
    none = difference([ours], [corrected(hardness, hardness[which + 1], which + 1)])
    assert none is not None
    assert none.lost


def test_models_whose_better_scores_are_of_other_items_are_not_averaged_item_by_item() -> None:
    values = np.random.default_rng(8).normal(95, 25, 100)
    some = [corrected(values, values[k : k + 50], np.arange(k, k + 50)) for k in (0, 1)]
    interval = mean(some)
    assert interval is not None
    assert interval.lost


# ---------------------------------------------------------------- p-values


@pytest.mark.parametrize("freedom", [1.0, 3.7, 30.0, math.inf])
def test_p_is_the_smallest_alpha_at_which_the_interval_excludes_zero(freedom: float) -> None:
    interval = Interval(-2.0, -2.3, -1.7, Spread(0.5, freedom), Spread(0.3, 199), (3, 3))
    assert interval.half(interval.p) == pytest.approx(1.7, rel=1e-6)
    assert interval.excludes_zero == (interval.p < 0.05)


def test_p_of_one_part_is_students() -> None:
    interval = Interval(2.0, 2.0, 2.0, Spread(0.8, 4.0), None, (5,))
    assert interval.p == pytest.approx(2 * stats.t.sf(2.0 / 0.8, 4), rel=1e-6)


def test_an_interval_of_log_z_that_holds_zero_excludes_it_at_no_level() -> None:
    assert Interval(-0.1, -0.3, 0.0, Spread(1e-9, 100), None, (101,)).p == 1.0


def test_p_within_a_margin_is_that_of_two_one_sided_tests() -> None:
    interval = Interval(0.1, 0.1, 0.1, Spread(0.05, 10.0), None, (11,))
    one_sided = max(stats.t.sf((0.2 - 0.1) / 0.05, 10), stats.t.sf((0.2 + 0.1) / 0.05, 10))
    assert interval.p_within(0.2) == pytest.approx(one_sided, rel=1e-6)
    ends = interval.mean - interval.half(0.1), interval.mean + interval.half(0.1)  # the 90 % interval
    assert (max(map(abs, ends)) < 0.2) == (interval.p_within(0.2) < 0.05)


def test_a_mean_outside_the_margin_is_never_the_same() -> None:
    assert Interval(0.25, 0.25, 0.25, Spread(0.0, 3), None, (4,)).p_within(0.2) == 0.5


def test_holm_agrees_with_a_hand_computation() -> None:
    # ordered .01, .02, .03, .04 times 4, 3, 2, 1 = .04, .06, .06, .04, made monotone
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.01, 0.02], comparisons=10) == pytest.approx([0.1, 0.18])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_with_any_part_that_is_not_finite_is_none(bad: float) -> None:
    assert exact(1.0).finite
    assert not any(Trained(*parts).finite for parts in np.where(np.eye(4, dtype=bool), bad, 1.0))


# ---------------------------------------------------------------- how often they are wrong

SPREADS = (0.1, 1.0, 10.0)  # of trainings, in standard errors over items: items count most, both, trainings
ERRORS = (0.0, 0.05)  # of log Z, at most


def model(noise: np.ndarray, offset: float, half: float) -> Trained:
    """Return the score of a model by that of its items, whose log Z may be off by `half` and is off by `offset`."""
    value = float(noise.mean(dtype=np.float64)) + offset
    return Trained(value, value - half, value + half, 0.0, True, Items(noise))


def wrongly(seeds: int, items: int, repeats: int) -> dict[str, float]:
    """Return how often intervals of means and of differences exclude 0, which is right in either.

    Score s of item i is T_s + G_i + e_si with e ~ N(0, 1): G ~ N(0, 1) is shared by both sides of a difference, and
    the baseline's has a further N(0, .5^2) that its seeds share, so that no number of seeds averages it out.
    """
    rng = np.random.default_rng([seeds, items])
    wrong: Counter[str] = Counter()
    for _ in range(repeats):
        noise = rng.standard_normal((2, seeds, items), np.float32)
        noise += rng.standard_normal(items, np.float32)
        noise[1] += np.float32(0.5) * rng.standard_normal(items, np.float32)
        shifts, offsets = rng.standard_normal((2, seeds)), rng.uniform(-1, 1, (2, seeds))
        for spread in SPREADS:
            moved = noise + np.float32(spread / math.sqrt(items)) * shifts[..., None].astype(np.float32)
            for half in ERRORS:
                ours, theirs = (
                    [model(vector, half * offset, half) for vector, offset in zip(*side, strict=True)]
                    for side in zip(moved, offsets, strict=True)
                )
                alone, apart = mean(ours), difference(ours, theirs)
                assert alone is not None
                assert apart is not None
                wrong[f"means, trainings {spread}, log Z +-{half}"] += alone.excludes_zero
                wrong[f"differences, trainings {spread}, log Z +-{half}"] += apart.excludes_zero
    return {name: count / repeats for name, count in wrong.items()}


def test_five_seeds_on_200_items_wrongly_exclude_zero_in_at_most_5_percent() -> None:
    repeats = 600
    for name, share in wrongly(5, 200, repeats).items():
        assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats), name


def wrongly_corrected(seeds: int, items: int, better: int, repeats: int) -> dict[str, float]:
    """Return how often intervals of means and of differences by a control variate exclude 0, which is right in either.

    As in `wrongly`, but of N items n have such scores. Those of all are too high by an exponential bias whose mean is 1
    on one side and 3 on the other, half of which comes and goes with the item and not with the seed.
    """
    rng = np.random.default_rng([seeds, items, better])
    which = rng.permutation(items)[:better]
    wrong: Counter[str] = Counter()
    for _ in range(repeats):
        truth = rng.standard_normal((2, seeds, items)) + 3 * rng.standard_normal(items)
        truth[1] += 0.5 * rng.standard_normal(items)
        if seeds > 1:  # one seed cannot tell what trainings differ by
            truth += rng.standard_normal((2, seeds, 1)) / math.sqrt(items)
        rough = truth + np.array([0.5, 1.5])[:, None, None] * (
            rng.exponential(1, (2, seeds, items)) + rng.exponential(1, (2, 1, items))
        )
        rough, truth = rough.astype(np.float32), truth.astype(np.float32)
        offsets = rng.uniform(-1, 1, (2, seeds))
        for half in ERRORS:
            ours, theirs = (
                [corrected(r, a[which], which, half, half * o) for r, a, o in zip(rs, as_, os, strict=True)]
                for rs, as_, os in zip(rough, truth, offsets, strict=True)
            )
            alone, apart = mean(ours), difference(ours, theirs)
            assert alone is not None
            assert apart is not None
            wrong[f"means, log Z +-{half}"] += alone.excludes_zero
            wrong[f"differences, log Z +-{half}"] += apart.excludes_zero
    return {name: count / repeats for name, count in wrong.items()}


@pytest.mark.parametrize("seeds", [1, 5])
def test_better_scores_of_50_of_400_items_wrongly_exclude_zero_in_at_most_5_percent(seeds: int) -> None:
    repeats = 600
    for name, share in wrongly_corrected(seeds, 400, 50, repeats).items():
        assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats), name


@pytest.mark.slow
@pytest.mark.parametrize(("items", "better"), [(200, 50), (200, 200), (10_000, 50), (10_000, 200)])
@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
def test_better_scores_of_some_items_wrongly_exclude_zero_in_at_most_5_5_percent(
    seeds: int, items: int, better: int
) -> None:
    for name, share in wrongly_corrected(seeds, items, better, 4000).items():
        print(f"{seeds} seeds, {better} of {items} items, {name}: {share:.2%}")
        assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000), name


@pytest.mark.slow
@pytest.mark.parametrize("items", [200, 10_000])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_zero_is_wrongly_excluded_in_at_most_5_5_percent(seeds: int, items: int) -> None:
    for name, share in wrongly(seeds, items, REPEATS).items():
        print(f"{seeds} seeds, {items} items, {name}: {share:.2%}")
        assert share <= MOST, name
