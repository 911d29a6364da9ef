"""Means and differences over seeds and test items, from the records and the arrays beside them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.protocol import Metric, Score
from bench.report.arrays import BITS
from bench.report.statistics import Items

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

HARDNESS = np.random.default_rng(0).normal(95, 25, 1000)  # of each image: the same for every model
ONE_SEED = "one seed: its intervals are over test items alone; another training may differ by more"
GAIN = np.random.default_rng(1).normal(2, 0.5, 1000)


def test_one_seed_is_compared_item_by_item(mnist: Synthetic) -> None:
    """What makes an image hard for both models is in both scores, and cancels in the difference."""
    better = HARDNESS - GAIN
    mnist.put("normal", 0, float(HARDNESS.mean()), arrays={"vlb": HARDNESS.astype(np.float32)})
    mnist.put("sliced-score-matching", 0, float(better.mean()), arrays={"vlb": better.astype(np.float32)})
    row = mnist.row("sliced-score-matching")
    difference = row.differences["vlb"]
    half = 1.96234 * GAIN.std(ddof=1) / math.sqrt(1000)  # t at 999 degrees of freedom
    assert difference.basis == "items"
    assert difference.mean == pytest.approx(-GAIN.mean())
    assert (difference.upper - difference.lower) / 2 == pytest.approx(half, rel=1e-3)
    assert row.marks[0] == ONE_SEED


@pytest.mark.parametrize("arrays", [{}, {"nll": HARDNESS}, {"vlb": HARDNESS[:1]}, {"vlb": HARDNESS.reshape(10, 100)}])
def test_without_the_scores_of_single_items_both_errors_are_added_and_that_is_said(
    mnist: Synthetic, arrays: dict[str, np.ndarray]
) -> None:
    mnist.put("normal", 0, 95.0, arrays={"vlb": HARDNESS, "nll": HARDNESS - 3})
    mnist.put("sliced-score-matching", 0, 93.0, arrays=arrays)
    row = mnist.row("sliced-score-matching")
    difference = row.differences["vlb"]
    assert difference.half(0.05) == pytest.approx(1.95996 * math.sqrt(2) * math.hypot(0.03, 0.4), rel=1e-4)
    assert difference.upper - difference.lower > 20 * GAIN.std() / math.sqrt(1000)
    (mark,) = [mark for mark in row.marks if mark.startswith("difference of ")]
    assert mark.endswith(
        ": scores of single items are not there; the interval takes both standard errors, as if the items were not"
        " the same"
    )
    assert "VLB" in mark.partition(":")[0]


def test_a_difference_is_over_the_items_that_both_have_and_says_so(mnist: Synthetic) -> None:
    """Images beyond the first 200 are harder; a model that was scored on them is not the worse for it."""
    hardness = HARDNESS + 3 * (np.arange(1000) >= 200)
    for seed in range(3):
        own = np.asarray(hardness + seed / 100, np.float32)
        few = np.asarray(hardness[:200] - 1 + seed / 100, np.float32)
        mnist.put("normal", seed, float(own.mean()), arrays={"vlb": own, "nll": own})
        mnist.put("sliced-score-matching", seed, float(few.mean()), arrays={"vlb": few, "nll": few})
    row = mnist.row("sliced-score-matching")
    assert row.differences["vlb"].mean == pytest.approx(-1.0, abs=1e-3)
    assert row.differences["vlb"].common == 200
    assert "difference of VLB: over the 200 items that both have" in row.marks


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("sliced_wasserstein", 0.02),
        ("reconstruction", 0.02),
        ("own", 0.02),
        ("bdmc_gap", 0.0),
        ("c2st_base", math.hypot(9.0, 0.02)),
    ],
)
def test_seeds_that_share_test_items_are_off_by_their_choice_together(
    mnist: Synthetic, name: str, shared: float
) -> None:
    """What is no mean over items has the error of its record.

    A gap of both bounds is of the model's own draws, and what is of the data alone is the same for every seed.
    """
    for label, value in (("normal", 1.0), ("sliced-score-matching", 0.8)):
        for seed in range(3):
            off = value + seed / 100
            score = Score(Metric(name, "nats"), off, 100, "samples", 9.0, 0.02, off, off)
            mnist.put(label, seed, scores=[score], arrays={name: HARDNESS})
    row = mnist.row("sliced-score-matching")
    # s = .01 on either side: t(4) = 2.77645 times .01 sqrt(2 / 3), and t(2) = 4.30265 times .01 sqrt(1 / 3)
    halves = {"one": 4.30265 * 0.01 * math.sqrt(1 / 3), "two": 2.77645 * 0.01 * math.sqrt(2 / 3)}
    own, apart = row.scores[name], row.differences[name]
    assert own.half(0.05) == pytest.approx(math.hypot(halves["one"], 1.95996 * shared), rel=1e-5)
    assert apart.half(0.05) == pytest.approx(math.hypot(halves["two"], 1.95996 * shared * math.sqrt(2)), rel=1e-5)
    assert apart.basis == own.basis == ("seeds and items" if shared else "seeds")
    assert row.marks == ()


def test_a_caption_says_which_items_are_not_paired(mnist: Synthetic) -> None:
    for seed in range(3):
        score = Score(Metric("sliced_wasserstein", "pixels"), 1.0, 100, "samples", 0, 0.1, 1.0, 1.0)
        mnist.put("normal", seed, scores=[score])
    assert "No mean over test items, so that items are not paired in differences: SW" in mnist.table().conditions


# ---------------------------------------------------------------- a score that corrects another by some of the items

WHICH = np.random.default_rng(2).permutation(1000)[:60]  # as an estimator may leave them, in any order
NLL, ANNEALED = Metric("nll", "nats"), Metric("nll_ais", "nats", version=2)


def annealed(
    mnist: Synthetic, label: str, seed: int, rough: np.ndarray, better: np.ndarray, **other: np.ndarray
) -> None:
    """Write a record with the rough scores of all items and better ones of the chosen, as an evaluation leaves them."""
    value = Items(rough, better, WHICH).mean
    mean = float(rough.mean())
    scores = [
        Score(NLL, mean, 1000, "importance-weighted", 0.0, 0.4, mean, mean),
        Score(ANNEALED, value, 1000, "ais-control-variate", 0.0, 0.4, value, value),
    ]
    arrays = {"nll": rough, "nll_ais": better, "nll_ais_items": WHICH, **other}
    mnist.put(label, seed, scores=scores, arrays={name: array for name, array in arrays.items() if array.size})


def test_rough_and_better_scores_are_averaged_over_seeds_before_their_spread_is_taken(mnist: Synthetic) -> None:
    rng = np.random.default_rng(3)
    rough, better = np.zeros((2, 3, 1000)), np.zeros((2, 3, 60))
    for number, label in enumerate(("normal", "sliced-score-matching")):
        for seed in range(3):
            own = HARDNESS - number * GAIN + rng.normal(seed / 100, 3, 1000)
            better[number, seed] = own[WHICH].astype(np.float32)
            rough[number, seed] = (own + rng.exponential(1 + number, 1000)).astype(np.float32)
            annealed(mnist, label, seed, rough[number, seed], better[number, seed])
    row = mnist.row("sliced-score-matching")
    R, A = rough.mean(1), better.mean(1)
    for interval, r, a in (
        (row.scores["nll_ais"], R[1], A[1]),
        (row.differences["nll_ais"], R[1] - R[0], A[1] - A[0]),
    ):
        d = a - r[WHICH]
        variance = r.var(ddof=1) / 1000 + d.var(ddof=1) / 60 + 2 * np.cov(r[WHICH], d)[0, 1] / 1000
        assert interval.mean == pytest.approx(r.mean() + d.mean(), abs=1e-5)
        assert interval.items is not None
        assert interval.items.stderr == pytest.approx(math.sqrt(variance), rel=1e-5)
        assert interval.items.freedom == 59
        assert (interval.basis, interval.lost, interval.common) == ("seeds and items", False, None)
    assert row.scores["nll"].items is not None
    assert row.scores["nll"].items.freedom == 999


@pytest.mark.parametrize(
    "other",
    [
        {"nll": np.zeros(0)},
        {"nll": HARDNESS[:999]},
        {"nll_ais_items": np.zeros(0)},
        {"nll_ais_items": WHICH + 1000},
        {"nll_ais_items": np.zeros(60, np.int64)},
        {"nll_ais_items": WHICH - 0.5},
        {"nll_ais_items": WHICH[:59]},
    ],
)
def test_better_scores_of_items_that_nothing_names_are_lost_and_that_is_said(
    mnist: Synthetic, other: dict[str, np.ndarray]
) -> None:
    annealed(mnist, "normal", 0, HARDNESS + 1, HARDNESS[WHICH], **other)
    row = mnist.row("normal")
    assert row.scores["nll_ais"].lost
    assert any("scores of single items are not there" in mark for mark in row.marks)


def test_a_score_of_the_annealed_items_alone_is_their_plain_mean(mnist: Synthetic) -> None:
    """As in records of the first version of the metric."""
    few, mean = HARDNESS[:200].astype(np.float32), float(HARDNESS[:200].mean())
    score = Score(Metric("nll_ais", "nats"), mean, 200, "ais", 0.0, 0.4, mean, mean)
    mnist.put("normal", 0, scores=[score], arrays={"nll": HARDNESS, "nll_ais": few})
    interval = mnist.row("normal").scores["nll_ais"]
    assert interval.items is not None
    assert interval.items.stderr == pytest.approx(few.std(ddof=1) / math.sqrt(200), rel=2.0**-BITS)
    assert interval.items.freedom == 199


def test_plugins_that_have_not_passed_their_contracts_here_are_named(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("vampprior[components=16]", 0, 94.0)
    assert not any("contracts" in note for note in mnist.table().notes)
    monkeypatch.setattr("bench.sweep.receipts.checked", lambda plugin: plugin.name != "vampprior")
    assert (
        "not known to keep the contracts, since `bench check` has not passed here: strategy vampprior"
        in mnist.table().notes
    )


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("holds", None),
        ("above", None),  # that makes scores unreliable, which is said for that reason
        ("not checked", "whether the prior integrates to one could not be checked"),
        ("below", "the check that the prior integrates to one missed mass of it, which harms its own scores alone"),
    ],
)
def test_what_the_check_of_a_normalised_prior_could_not_see_is_said(
    mnist: Synthetic, verdict: str, words: str | None
) -> None:
    for seed in range(2):
        mnist.put("normal", seed, 95.0, normalised={"verdict": verdict, "reason": "r", "log_z": 0.0})
    expected = () if words is None else (f"seeds 0, 1: {words}",)
    assert mnist.row("normal").marks == expected


def test_a_density_that_integrates_to_more_is_said_whatever_else_is_wrong(mnist: Synthetic) -> None:
    above = {"verdict": "above", "reason": "its density integrates to 148", "log_z": 5.0}
    mnist.put("normal", 0, 95.0, half=0.1, unreliable="too few chains", normalised=above)
    assert "seed 0: its density integrates to 148" in mnist.row("normal").marks


def test_seeds_with_the_same_doubt_share_a_footnote_with_the_first_reason(mnist: Synthetic) -> None:
    for seed in range(3):
        mnist.put("sliced-score-matching", seed, 93.0, half=0.1, unreliable=f"{seed} of 9 chains are stuck")
    assert mnist.row("sliced-score-matching").marks == (
        "seeds 0, 1, 2: VLB, NLL, log Z unreliable (seed 0: log Z: 0 of 9 chains are stuck)",
    )
