"""-log p(x) of all images, by annealing some."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import MultivariateNormal

from bench.data import Binarised
from bench.estimators import bounds, evidence
from bench.estimators.subject import Corrected, PerImage
from bench.protocol import AisNll, Evaluation, Scores, Splits
from bench.streams import stream
from tests.estimators.test_evidence import DATA, NOISE, Linear, annealed, subject


class Named(Binarised):
    """A data set of which nothing but its name counts."""

    name = "named"
    version = "1"

    def load(self, folder: Path) -> Splits:
        raise NotImplementedError


class Renamed(Named):
    """Another one."""

    version = "2"


NARROW = 0.6**2  # of q's variance: its standard deviation by .6


def scored(model: Linear, settings: AisNll, x: Tensor) -> Scores:
    """Return what the scorers of NLL and AIS-NLL leave."""
    first = subject(model, settings, x)
    first = first.plus(bounds.score_importance(first))
    return first.plus(evidence.score_annealed(first)).scores


def covered(widening: float, groups: int, images: int, some: int, temperatures: int) -> tuple[float, np.ndarray]:
    """Return how often the interval holds E[-log p(x)], and its width over that by annealing alone, `(groups,)`.

    Each group is of other images, of which the first, as random as any, are annealed. The expectation is exact.
    """
    model = Linear.of(0.0, widening)
    x = model.images(groups * images)
    rough = bounds.importance(replace(subject(model, AisNll(), x), evaluation=Evaluation(importance_samples=20))).nll
    better = annealed(model, x.unflatten(0, (groups, images))[:, :some].flatten(0, 1), temperatures).nll
    covariance = model.loadings @ model.loadings.T + NOISE**2 * torch.eye(DATA).double()
    truth = float(MultivariateNormal(model.centre, covariance).entropy())
    quantile, held, ratios = stats.t.ppf(0.975, some - 1), 0, []
    for group in range(groups):
        whole, part = slice(group * images, (group + 1) * images), slice(group * some, (group + 1) * some)
        alone = PerImage(better.values[part], better.variances[part])
        both = Corrected(rough.values[whole], rough.variances[whole], alone, np.arange(some))
        half = quantile * math.hypot(both.stderr_mc, both.stderr_images)
        held += abs(both.mean - truth) < half
        ratios.append(half / (quantile * math.hypot(alone.stderr_mc, alone.stderr_images)))
    return held / groups, np.array(ratios)


@pytest.mark.parametrize("widening", [1.0, NARROW])
@pytest.mark.parametrize("groups", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_the_interval_by_a_control_variate_holds_the_truth_in_95_percent_and_is_narrower(
    widening: float, groups: int
) -> None:
    share, ratios = covered(widening, groups, images=400, some=50, temperatures=40)
    print(f"covered in {share:.1%} of {groups}, widths {ratios.mean():.2f} of those by annealing alone")
    assert abs(share - 0.95) < 3 * math.sqrt(0.95 * 0.05 / groups)
    assert (ratios < 1).all()


def test_by_annealing_all_images_the_score_is_their_plain_mean_and_its_error() -> None:
    model = Linear.of(0.0, NARROW)
    x, settings = model.images(60), AisNll(images=60, temperatures=20)
    alone = evidence.annealed(subject(model, settings, x)).nll
    score = next(score for score in scored(model, settings, x).scores if score.metric == evidence.NLL_AIS)
    assert (score.n, score.unreliable) == (60, "")
    assert score.value == pytest.approx(alone.mean, rel=1e-12)
    assert score.stderr_mc == pytest.approx(alone.stderr_mc, rel=1e-9)
    assert score.stderr_images == pytest.approx(alone.stderr_images, rel=1e-6)


def test_the_draws_error_of_a_control_variate_is_that_of_repeated_estimates() -> None:
    rng = np.random.default_rng(0)
    truth, items = rng.normal(90, 25, 200), np.arange(0, 200, 4)
    rough, better = rng.uniform(0.5, 2, 200), rng.uniform(0.5, 2, 50)

    def drawn() -> Corrected:
        own = PerImage(truth[items] + rng.normal(0, better**0.5), better)
        return Corrected(truth + rng.normal(0, rough**0.5), rough, own, items)

    estimates = [drawn() for _ in range(2000)]
    means = np.array([estimate.mean for estimate in estimates])
    # a sample standard deviation of 2,000 normal values is off by 1 / sqrt(4,000) of it: 1.6 %
    assert means.std(ddof=1) == pytest.approx(estimates[0].stderr_mc, rel=3 * 0.016)
    assert abs(means.mean() - truth.mean()) < 3 * estimates[0].stderr_mc / 2000**0.5
    # the spread over images is less the draws': that of the truth, whose control variate is itself
    spreads = np.array([estimate.stderr_images**2 for estimate in estimates])
    left = spreads.mean() - truth.var(ddof=1) / 200
    assert abs(left) < 3 * spreads.std(ddof=1) / 2000**0.5


def test_the_annealed_images_are_the_same_for_every_model_seed_and_effort() -> None:
    x = torch.zeros(300, DATA).double()

    def chosen(count: int, seed: int = 0, latent: int = 3, dataset: type[Named] = Named) -> list[int]:
        settings = AisNll(images=count, temperatures=7 + seed)
        first = subject(Linear.of(latent=latent), settings, x, lambda name: stream(seed, name))
        return list(evidence.chosen(replace(first, dataset=dataset())))

    assert chosen(60) == chosen(60, seed=1, latent=2) == sorted(set(chosen(60)))
    assert set(chosen(60)) < set(chosen(61))
    assert chosen(60) != list(range(60))
    assert chosen(60) != chosen(60, dataset=Renamed)
    assert chosen(1000) == list(range(300))


def test_images_that_are_annealed_are_those_that_are_named() -> None:
    model = Linear.of(latent=1)  # with its exact posterior, so that each image's estimate is its exact likelihood
    x = model.images(120)
    arrays = scored(model, AisNll(images=60, temperatures=2), x).arrays
    assert arrays["nll_ais"] == pytest.approx(model.nll(x)[arrays["nll_ais_items"]], abs=1e-4)


@pytest.mark.parametrize(("images", "few"), [(49, True), (50, False)])
def test_fewer_than_50_annealed_images_are_too_few(images: int, few: bool) -> None:
    model = Linear.of()
    settings = AisNll(images=images, temperatures=50)
    score = next(s for s in scored(model, settings, model.images(80)).scores if s.metric == evidence.NLL_AIS)
    reason = f"{images} annealed images are too few for an interval, which takes 50"
    assert score.unreliable == (reason if few else "")


def test_annealing_mends_what_the_importance_weighted_error_leaves_out() -> None:
    """Its bias, and differently for two encoders of the same model."""
    biases = []
    for widening in (1.0, NARROW):
        model = Linear.of(1.0, widening)
        x = model.images(1000)
        few = replace(subject(model, AisNll(images=200, temperatures=300), x))
        few = replace(few, evaluation=few.evaluation.model_copy(update={"importance_samples": 10}))
        few = few.plus(bounds.score_importance(few))
        rough, better = few.scores.scores[0], evidence.score_annealed(few).scores[0]
        truth = model.nll(x).mean()
        biases.append(rough.value - truth)
        assert rough.value - truth > 5 * rough.stderr_mc
        assert rough.unreliable
        # over these images: what is left is the error of the correction, which no stderr_images is needed for
        assert abs(better.value - truth) < 3 * math.hypot(better.stderr_mc, better.stderr_images)
    assert biases[1] - biases[0] > 0.1
