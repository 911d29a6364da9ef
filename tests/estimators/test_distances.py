"""Distances between samples, against answers that are known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from bench.estimators.distances import (
    COMPONENTS,
    Distance,
    classifier_accuracy,
    compare,
    directions,
    precision_recall,
    score_samples,
    sliced_wasserstein,
    within,
)
from bench.estimators.subject import Subject
from bench.priors import Samples, StandardNormal
from bench.protocol import Evaluation, Noise, NotFinite, Score
from bench.streams import stream
from bench.vae import VAE, Bernoulli, Decoder, Encoder

PLANE = directions(2, stream(0, "directions"))


def normal(n: int, seed: int, shift: float = 0.0, d: int = 2) -> np.ndarray:
    points: np.ndarray = np.random.default_rng(seed).standard_normal((n, d))
    points[:, 0] += shift
    return points


def stderr(distance: Distance) -> float:
    return math.hypot(distance.stderr_x, distance.stderr_y)


# ---------------------------------------------------------------- the sliced Wasserstein distance


def test_a_sample_is_at_no_distance_from_itself() -> None:
    x = normal(500, 0)
    assert sliced_wasserstein(x, x, PLANE) == Distance(0, 0, 0)


@pytest.mark.parametrize("d", [1, 2, 7, 50])
def test_a_shift_is_seen_from_every_side(d: int) -> None:
    """Over an orthonormal basis the mean square of a shift's projections is |shift|^2/d."""
    x, shift = normal(500, 0, d=d), np.arange(1.0, d + 1)
    distance = sliced_wasserstein(x, x + shift, directions(d, stream(0, "directions")))
    assert distance.value == pytest.approx(np.linalg.norm(shift) / math.sqrt(d))
    # all items are carried as far, whichever they are
    assert directions(d, stream(0, "directions")).shape[1] >= 256


@pytest.mark.parametrize("d", [2, 20])
def test_a_change_of_scale_has_its_closed_form(d: int) -> None:
    """Between N(0, I) and N(0, 4 I) every projection is (2 - 1) apart."""
    n = 5_000
    distance = sliced_wasserstein(normal(n, 0, d=d), 2 * normal(n, 1, d=d), directions(d, stream(0, "directions")))
    assert distance.value == pytest.approx(1, abs=4 * stderr(distance))
    assert stderr(distance) < 0.05


def test_the_distance_is_that_of_an_independent_library() -> None:
    import ot

    x, y = normal(300, 0), normal(300, 1, shift=0.4)
    expected = ot.sliced_wasserstein_distance(x, y, projections=PLANE, p=2)
    assert sliced_wasserstein(x, y, PLANE).value == pytest.approx(expected)


def test_the_base_level_falls_with_the_size_of_the_samples() -> None:
    few, many = (sliced_wasserstein(normal(n, 0), normal(n, 1), PLANE).value for n in (200, 10_000))
    assert 0 < many < few / 3  # it is of the order of 1/sqrt n, here a seventh


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_potentials_tell_the_spread_over_samples(scale: float) -> None:
    along = PLANE[:, :64]  # bases as well, and fewer
    distances = [sliced_wasserstein(scale * normal(100, 2 * s, 1.0), normal(100, 2 * s + 1), along) for s in range(600)]
    spread = np.std([distance.value for distance in distances], ddof=1)
    expected = math.sqrt(np.mean([stderr(distance) ** 2 for distance in distances]))
    # a standard deviation of 600 values is known to 1/sqrt 1200 = 2.9 %
    assert expected == pytest.approx(spread, rel=3.5 * 0.029)


def test_the_error_on_a_line_is_that_of_the_mean_potential() -> None:
    """0, 1 and 3 are carried to 2, 4 and 6.

    Potentials f of x and g of y fulfil f(x) + g(y) <= (x - y)^2, with equality where x is carried to y. Hence f falls
    by 3 to 7 and then by 8 to 16, and g rises by 8 to 12 and then by 8 to 16. Halfway lie f = (0, -5, -17) and
    g = (0, 10, 22).
    """
    x, y = np.array([[3.0], [0.0], [1.0]]), np.array([[2.0], [6.0], [4.0]])
    distance = sliced_wasserstein(x, y, np.ones((1, 1)))
    value = math.sqrt((2**2 + 3**2 + 3**2) / 3)
    # of the square, the error is that of the mean of three potentials; of its root, that by twice the root
    of_x, of_y = (np.std(each, ddof=1) / math.sqrt(3) / (2 * value) for each in ([0, -5, -17], [0, 10, 22]))
    assert (distance.value, distance.stderr_x, distance.stderr_y) == pytest.approx((value, of_x, of_y), rel=1e-12)


# ---------------------------------------------------------------- the classifier


@pytest.mark.parametrize("d", [2, 20])
def test_samples_of_one_distribution_cannot_be_told_apart(d: int) -> None:
    pairs = [(normal(200, 2 * seed, d=d), normal(200, 2 * seed + 1, d=d)) for seed in range(60)]
    scores = []
    for x, y in pairs:
        accuracy = classifier_accuracy(x, y)
        scores.append((accuracy.value - 0.5) / stderr(accuracy))
    # their mean and standard deviation are 0 and 1, known to 1/sqrt 60 and 1/sqrt 120: 3.5 of these
    assert abs(np.mean(scores)) < 3.5 / 60**0.5
    assert np.std(scores) == pytest.approx(1, abs=3.5 / 120**0.5)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_error_of_an_accuracy_is_binomial_but_for_votes_that_go_together(swapped: bool) -> None:
    """A fifth of x hides in y, where y has every vote, and the rest is far away: shares of right answers .8 and 1.

    Each share is half of the accuracy, and over five folds the votes add 2/pi * 4/5 of the binomial variance.
    """
    n = 100
    x, y = normal(n, 0), normal(n, 1)
    x[n // 5 :] += 50
    expected = math.sqrt((1 + 2 / math.pi * 4 / 5) * 0.8 * 0.2 / n) / 2
    accuracy = classifier_accuracy(y, x) if swapped else classifier_accuracy(x, y)
    of_x, of_y = (accuracy.stderr_y, accuracy.stderr_x) if swapped else (accuracy.stderr_x, accuracy.stderr_y)
    assert (accuracy.value, of_x, of_y) == pytest.approx((0.9, expected, 0), rel=1e-12)


def test_samples_far_apart_are_always_told_apart() -> None:
    assert classifier_accuracy(normal(300, 0), normal(300, 1, shift=30.0)) == Distance(1, 0, 0)


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_the_classifier_comes_close_to_the_best(shift: float) -> None:
    """The best one can do between N(0, I) and N(shift, I) is Phi(shift/2)."""
    accuracy, best = classifier_accuracy(normal(5000, 0), normal(5000, 1, shift)), stats.norm.cdf(shift / 2)
    assert best - 0.02 - 3 * stderr(accuracy) < accuracy.value < best + 3 * stderr(accuracy)


def test_a_denser_sample_does_not_win_every_vote() -> None:
    """Neighbours alone say "dense" of all points in 50 dimensions and are right about half of them.

    The log ratio of the densities rests on |x|^2, a chi-square: its best threshold tells both apart.
    """
    n, scale = 1000, 0.9
    accuracy = classifier_accuracy(scale * normal(n, 0, d=50), normal(n, 1, d=50))
    threshold = 50 * math.log(1 / scale**2) / (1 / scale**2 - 1)
    best = (stats.chi2.cdf(threshold / scale**2, 50) + stats.chi2.sf(threshold, 50)) / 2
    assert best > 0.65
    assert best - 0.05 - 3 * stderr(accuracy) < accuracy.value < best + 3 * stderr(accuracy)


def test_what_has_the_same_moments_is_told_apart_by_neighbours() -> None:
    """Of a chessboard's black squares and all of its squares: every other draw of the latter is white, and known."""
    points = np.random.default_rng(0).uniform(-2, 2, (6000, 2))
    black = points[(np.floor(points).sum(1) % 2) == 0][:1500]
    accuracy = classifier_accuracy(black, points[-1500:])
    assert 0.65 < accuracy.value < 0.75 + 3 * stderr(accuracy)


# ---------------------------------------------------------------- precision and recall


def test_a_manifold_is_the_union_of_its_balls() -> None:
    """Around 0, 1, 3, 7 and 20 the balls reach out to the third neighbour: 7, 6, 4, 7 and 19."""
    y = np.array([[0.0], [1.0], [3.0], [7.0], [20.0]])
    y = np.concatenate([y, y + 1000])  # far away, so that there are enough for an error
    x = np.array([[-7.0], [-7.1], [14.0], [0.9], [39.0], [39.1]])
    assert within(x, y).value == pytest.approx(4 / 6)


def test_the_share_within_a_manifold_is_that_of_every_pair() -> None:
    x, y = normal(80, 0, d=5), normal(60, 1, d=5)
    among = cdist(y, y)
    radii = [sorted(row)[3] for row in among]
    shares = [any(math.dist(a, b) <= radius for b, radius in zip(y, radii, strict=True)) for a in x]
    assert within(x, y).value == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("d", [2, 50])
def test_samples_of_one_distribution_have_the_precision_and_recall_of_the_base(d: int) -> None:
    data, other, model = (normal(600, seed, d=d) for seed in range(3))
    for own, base in zip(precision_recall(model, data), precision_recall(other, data), strict=True):
        assert own.value == pytest.approx(base.value, abs=3 * math.hypot(stderr(own), stderr(base)))


def test_disjoint_samples_have_no_precision_and_no_recall() -> None:
    assert [own.value for own in precision_recall(normal(300, 0, 100.0), normal(300, 1))] == [0, 0]


def modes(n: int, seed: int, means: list[float]) -> np.ndarray:
    points = 0.1 * normal(n, seed, d=5)
    points[:, 0] += np.resize(means, n)
    return points


def test_a_missing_mode_costs_recall_and_no_precision() -> None:
    data, other, model = modes(600, 0, [0, 1, 2]), modes(600, 1, [0, 1, 2]), modes(600, 2, [0, 1])
    precision, recall = precision_recall(model, data)
    base = precision_recall(other, data)
    # a third of the items lies in the missing mode
    expected = base[1].value * 2 / 3
    assert recall.value == pytest.approx(expected, abs=3 * math.hypot(stderr(recall), stderr(base[1])))
    assert precision.value == pytest.approx(base[0].value, abs=3 * math.hypot(stderr(precision), stderr(base[0])))


def test_outliers_cost_precision_and_no_recall() -> None:
    data, other, model = modes(600, 0, [0, 1, 2]), modes(600, 1, [0, 1, 2]), modes(600, 2, [0, 1, 2])
    model[:150] += 50 * (1 + np.arange(150)[:, None])  # a quarter, far from data and from each other
    # their own balls are so wide that they hold data; recall may rise, and does not fall
    precision, recall = precision_recall(model, data)
    base = precision_recall(other, data)
    expected = base[0].value * 3 / 4
    assert precision.value == pytest.approx(expected, abs=3 * math.hypot(stderr(precision), stderr(base[0])))
    assert recall.value > base[1].value - 3 * math.hypot(stderr(recall), stderr(base[1]))


@pytest.mark.parametrize(("d", "scale"), [(2, 1.0), (10, 1.2), (50, 0.9)])
def test_the_errors_of_precision_and_recall_are_the_spread_over_samples(d: int, scale: float) -> None:
    pairs = [precision_recall(scale * normal(200, 2 * s, d=d), normal(200, 2 * s + 1, d=d)) for s in range(60)]
    for distances in zip(*pairs, strict=True):
        spread = np.std([distance.value for distance in distances], ddof=1)
        expected = math.sqrt(np.mean([stderr(distance) ** 2 for distance in distances]))
        # a standard deviation of 60 values is known to 1/sqrt 120 = 9 %; groups have wider balls than the whole
        assert 1 - 3.5 * 0.09 < expected / spread < 1.35 + 3.5 * 0.09


@pytest.mark.parametrize(
    "measure",
    [lambda x, y: sliced_wasserstein(x, y, PLANE), classifier_accuracy, lambda x, y: precision_recall(x, y)[0]],
)
def test_the_same_samples_give_the_same_distances(measure: Callable[[np.ndarray, np.ndarray], Distance]) -> None:
    x, y = normal(300, 0), normal(300, 1)
    assert measure(x, y) == measure(x, y)


# ---------------------------------------------------------------- models

NAMES = ["sliced_wasserstein", "c2st", "precision", "recall"]
ALL = [*NAMES, *(f"{name}_base" for name in NAMES)]


def pixels(n: int, seed: int, rate: float = 0.3, d: int = 64) -> Tensor:
    return (stream(seed, "pixels").uniform(n, d) < rate).float()


class Drawn(Samples):
    """N(0, I) without a density."""

    def sample(self, n: int, noise: Noise) -> Tensor:
        return noise.normal(n, 2)


def subject(prior: StandardNormal | Samples, rate: float = 0.3, n: int = 200) -> Subject:
    """Return a VAE whose decoder draws every pixel with one probability, and pixels that are white at .3."""
    layer = nn.Linear(2, 64)
    layer.weight.data.zero_()
    layer.bias.data.fill_(math.log(rate / (1 - rate)))
    vae = VAE(Encoder(nn.Linear(64, 4)), Decoder(layer, Bernoulli()))
    latents = stream(0, "latents").normal(50, 2)
    return Subject(
        vae, prior, pixels(n, 0), latents, Evaluation(), lambda name: stream(3, name), None, pixels(3 * n, 1)
    )


def named(of: Subject) -> dict[str, Score]:
    with torch.no_grad():
        return {score.metric.name: score for score in score_samples(of).scores}


@pytest.mark.parametrize(("prior", "estimator"), [(StandardNormal(2), "monte-carlo"), (Drawn(), "samples")])
def test_every_model_that_can_be_sampled_has_them(prior: StandardNormal | Samples, estimator: str) -> None:
    scores = named(subject(prior))
    assert list(scores) == ALL
    assert {score.estimator for score in scores.values()} == {estimator}
    assert {score.n for score in scores.values()} == {200}
    assert all(score.sys_lower == score.value == score.sys_upper for score in scores.values())


def test_the_true_model_of_images_scores_as_real_data_do() -> None:
    scores = named(subject(StandardNormal(2)))
    assert scores["c2st"].value == pytest.approx(0.5, abs=3 * scores["c2st"].stderr)
    assert scores["c2st_base"].value == pytest.approx(0.5, abs=3 * scores["c2st_base"].stderr)
    for name in NAMES:
        own, base = scores[name], scores[f"{name}_base"]
        assert own.value == pytest.approx(base.value, abs=3 * math.hypot(own.stderr, base.stderr))


def test_a_wrong_model_of_images_is_seen_by_all_of_them() -> None:
    scores = named(subject(StandardNormal(2), rate=0.6))
    assert scores["c2st"].value > 0.95
    assert scores["sliced_wasserstein"].value > 2 * scores["sliced_wasserstein_base"].value
    assert scores["precision"].value < scores["precision_base"].value / 2


def test_the_same_streams_give_the_same_scores() -> None:
    assert named(subject(StandardNormal(2))) == named(subject(StandardNormal(2)))


def test_too_few_items_and_no_training_items_are_not_compared() -> None:
    assert named(subject(StandardNormal(2), n=9)) == {}
    assert list(named(subject(StandardNormal(2), n=10))) == ALL


def test_at_most_2000_items_are_compared() -> None:
    x = [pixels(2100, seed, d=3) for seed in range(3)]
    scores = compare(x[0], x[1], x[2], None, stream(0, "directions"), "monte-carlo")
    assert {score.n for score in scores} == {2000}


def test_dequantised_pixels_are_compared_by_brightness() -> None:
    class Squashed:
        """Pixels in logit space."""

        def log_jacobian(self, x: Tensor) -> Tensor:
            return x

        def brightness(self, x: Tensor) -> Tensor:
            return x.sigmoid()

    x = [stream(seed, "x").normal(100, 3) for seed in range(3)]
    seen = [item.sigmoid() for item in x]
    squashed = compare(x[0], x[1], x[2], Squashed(), stream(0, "directions"), "monte-carlo")
    assert squashed == compare(seen[0], seen[1], seen[2], None, stream(0, "directions"), "monte-carlo")


def test_the_components_are_not_fitted_to_what_is_compared() -> None:
    """Fitted to as few training items as are compared, they would tell these from test items of the same kind."""
    values = []
    for seed in range(12):
        model, test, train = (
            stream(seed, name).normal(n, 4 * COMPONENTS) for name, n in (("model", 100), ("test", 100), ("train", 400))
        )
        scores = compare(model, test, train, None, stream(seed, "directions"), "monte-carlo")
        values.append(scores[3].value - scores[7].value)
    assert abs(np.mean(values)) < 3.5 * np.std(values, ddof=1) / 12**0.5


def test_a_draw_that_is_not_finite_is_refused() -> None:
    x = pixels(50, 0)
    x[3, 4] = math.nan
    with pytest.raises(NotFinite, match="a draw of the model is not finite"):
        compare(x, pixels(50, 1), pixels(50, 2), None, stream(0, "directions"), "monte-carlo")
