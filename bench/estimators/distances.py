"""Scores from samples alone: how far a model's draws are from data, beside how far other real data are from the same.

They need no density, so that every model which can be sampled has them. Items are compared as they look (points as they
are; pixels of a Bernoulli likelihood drawn, zeros and ones; dequantised pixels by brightness), in the space of their
first principal components: what lies outside of these is not seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.estimators.density import POINTS
from bench.estimators.subject import SAMPLES, Subject
from bench.protocol import Metric, Noise, NotFinite, Pixels, Score, Scores

# of draws of the model against as many test items, and of as many training items against these
SLICED = Metric("sliced_wasserstein", "1", version=2)  # version 1 compared as many draws as there are test items
SLICED_BASE = Metric("sliced_wasserstein_base", "1", "neither", 2)
CLASSIFIER = Metric("c2st", "1", version=2)  # accuracy, best at .5; version 1 saw neighbours alone
CLASSIFIER_BASE = Metric("c2st_base", "1", "neither", 2)
PRECISION = Metric("precision", "1", "higher")  # share of draws within the manifold of the test items
PRECISION_BASE = Metric("precision_base", "1", "neither")
RECALL = Metric("recall", "1", "higher")  # share of test items within the manifold of the draws
RECALL_BASE = Metric("recall_base", "1", "neither")

MOST, FEWEST = 2000, 10  # items of a sample: more cost too much, fewer cannot be parted into folds and groups
COMPONENTS = 50
DIRECTIONS = 256
GROUPS = 10  # of points whose own manifolds tell a manifold's error
NEAREST = 3  # neighbours whose distance is the radius of a ball, as in Kynkaanniemi et al.
FOLDS = 5
# To first order a point's score is a sum over the points it is compared to of their labels times how alike both are.
# So two points that are alike vote for each other unless they are in one fold, and right answers come together: a
# label sways a majority of k by sqrt(2/(pi k)), which over k of them adds 2/pi of the binomial variance across folds.
INFLATION = 1 + 2 / math.pi * (FOLDS - 1) / FOLDS
RIDGE = 10.0  # precision of the prior of standardised coefficients; it decides little
_BLOCK = 256  # latents that are decoded at a time


@dataclass(frozen=True)
class Distance:
    """A distance between samples x and y, with its standard errors from the choice of either."""

    value: float
    stderr_x: float
    stderr_y: float

    def score(self, metric: Metric, n: int, estimator: str) -> Score:
        """Return it as a score, where x are draws and y test items."""
        return Score(metric, self.value, n, estimator, self.stderr_x, self.stderr_y, self.value, self.value)


def score_samples(subject: Subject) -> Scores:
    """Compare draws of the model to test items; no scores without training items or with fewer than 10 of either kind.

    The metrics are `sliced_wasserstein`, `c2st`, `precision`, `recall`, and the same with `_base` of training items in
    place of draws. Draws are exact where the model has such, else the prior's own; there are as many as test items, up
    to 2,000 (`n`).

    Raises:
        NotFinite: a draw is not finite.
    """

    test, train, prior = subject.test[:MOST], subject.train, subject.prior
    if train is None or min(len(test), len(train)) < FEWEST:
        return Scores([])
    drawn = subject.scores.arrays.get(POINTS)  # on a known density they are exact whatever the prior's own are
    if drawn is None:
        noise = subject.noise_for("distances/latents")
        z = prior.exact_sample(len(test), noise) if prior.has_density else None
        z = prior.sample(len(test), noise) if z is None else z
        noise = subject.noise_for("distances/items")
        draws = torch.cat([subject.vae.sample(part, noise) for part in z.split(_BLOCK)])
    else:
        draws = torch.from_numpy(drawn)
    estimator = "monte-carlo" if prior.has_density else SAMPLES
    directed = subject.noise_for("distances/directions")
    return Scores(compare(draws, test, train, subject.dataset, directed, estimator))


def compare(draws: Tensor, test: Tensor, train: Tensor, dataset: object, noise: Noise, estimator: str) -> list[Score]:
    """Return the scores of a model by its draws: as many items of every kind as there are of each, at most 2,000.

    Args:
        draws: of the model, independent, as prepared, `(K, D)`.
        test: prepared test items, `(N, D)`.
        train: prepared training items, `(M, D)`: the first are compared, the others tell the principal components.
        dataset: what they come from.
        noise: the directions of the sliced distance.
        estimator: of the scores.

    Returns:
        The scores; nothing of fewer than 10 items.

    Raises:
        NotFinite: a draw is not finite.
    """
    n = min(len(draws), len(test), len(train), MOST)
    if n < FEWEST:
        return []
    model = _seen(draws[:n], dataset)
    if not np.isfinite(model).all():
        raise NotFinite("a draw of the model is not finite")
    data, other = _seen(test[:n], dataset), _seen(train[:n], dataset)
    # fitted to what is compared, the components would tell these items from others
    model, data, other = _projected(_seen(train[n:], dataset) if len(train) >= 2 * n else other, model, data, other)
    along = directions(data.shape[1], noise)
    scores = []
    for x, metrics in (
        (model, (SLICED, CLASSIFIER, PRECISION, RECALL)),
        (other, (SLICED_BASE, CLASSIFIER_BASE, PRECISION_BASE, RECALL_BASE)),
    ):
        distances = sliced_wasserstein(x, data, along), classifier_accuracy(x, data), *precision_recall(x, data)
        scores += [d.score(metric, n, estimator) for metric, d in zip(metrics, distances, strict=True)]
    return scores


def _seen(x: Tensor, dataset: object) -> np.ndarray:
    """Return prepared items as they look, `(n, D)` float64."""
    array: np.ndarray = (dataset.brightness(x) if isinstance(dataset, Pixels) else x).double().cpu().numpy()
    return array


def _projected(fitted: np.ndarray, *samples: np.ndarray) -> list[np.ndarray]:
    """Return samples in the first principal components of `fitted`, `(n, C)`; as they are in no more dimensions."""
    from sklearn.decomposition import PCA

    if fitted.shape[1] <= COMPONENTS:
        return list(samples)
    components = min(COMPONENTS, len(fitted) - 1)
    pca = PCA(components, svd_solver="covariance_eigh" if fitted.shape[1] <= len(fitted) else "full").fit(fitted)
    return [pca.transform(sample) for sample in samples]


# ---------------------------------------------------------------- how far two samples are apart


def directions(d: int, noise: Noise) -> np.ndarray:
    """Return at least 256 directions of d dimensions in columns, `(d, K)`: random orthonormal bases.

    Over a basis the mean square of a shift's projections is the same for every shift.
    """
    bases = noise.normal(-(-DIRECTIONS // d), d, d).double().cpu().numpy()
    return np.concatenate(np.linalg.qr(bases)[0], axis=1)


def sliced_wasserstein(x: np.ndarray, y: np.ndarray, along: np.ndarray) -> Distance:
    """Return the sliced 2-Wasserstein distance between samples of one size, in the unit of their coordinates.

    The root mean square, over directions, of the Wasserstein distance between the projections. Between two finite
    samples of one distribution it is above 0: compare it to that base level. An item moves the squared distance by its
    Kantorovich potential, whose slope on a line is twice how far the item is carried; the variance of its mean over
    directions is the error's, to first order. At the base level, where potentials vanish, it is a rough guide only.

    References:
        Bonneel et al. (2015), Sliced and Radon Wasserstein barycenters of measures.
        Del Barrio & Loubes (2019), Central limit theorems for empirical transportation cost.

    Args:
        x, y: `(n, d)`.
        along: directions in columns, `(d, K)`.
    """
    lines = x @ along, y @ along
    orders = [np.argsort(line, axis=0, kind="stable") for line in lines]
    a, b = (np.take_along_axis(line, order, 0) for line, order in zip(lines, orders, strict=True))
    value = math.sqrt(np.square(a - b).mean())

    def stderr(own: np.ndarray, other: np.ndarray, order: np.ndarray) -> float:
        carried = own - other
        sorted_potential = np.zeros_like(own)
        np.cumsum(np.diff(own, axis=0) * (carried[1:] + carried[:-1]), axis=0, out=sorted_potential[1:])
        potential = np.empty_like(own)
        np.put_along_axis(potential, order, sorted_potential, 0)
        of_square = potential.mean(1).std(ddof=1) / math.sqrt(len(own))
        return float(of_square / (2 * value)) if value else 0.0

    return Distance(value, stderr(a, b, orders[0]), stderr(b, a, orders[1]))


def classifier_accuracy(x: np.ndarray, y: np.ndarray) -> Distance:
    """Return how often a classifier tells which of two samples a point is from: .5 if they are of one distribution.

    The classifier is a logistic regression, cross-validated in five folds, of a point's coordinates, their squares and
    the vote of its neighbours: in the plane that vote comes close to the best there is, and in many dimensions, where
    the denser sample wins every vote, the squares see what it does not. The accuracy is the mean of both samples'
    shares of right answers; its standard errors are theirs, binomial but for the correlation between folds.

    References:
        Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests.

    Args:
        x: `(n, d)`.
        y: `(m, d)`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.neighbors import NearestNeighbors
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    points, labels = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    features = np.concatenate([points, np.square(points)], axis=1)
    right = np.zeros(len(points), dtype=bool)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(points, labels):
        neighbours = NearestNeighbors(n_neighbors=math.isqrt(len(train)) | 1).fit(points[train])
        # of a voter itself the others are asked
        asked = [neighbours.kneighbors(of, return_distance=False) for of in (None, points[test])]
        votes = [labels[train][voters].mean(1, keepdims=True) for voters in asked]
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1 / RIDGE, max_iter=1000))
        classifier.fit(np.concatenate([features[train], votes[0]], axis=1), labels[train])
        right[test] = classifier.predict(np.concatenate([features[test], votes[1]], axis=1)) == labels[test]
    shares = right[labels == 0].mean(), right[labels == 1].mean()
    errors = [math.sqrt(INFLATION) / 2 * _binomial(share, n) for share, n in zip(shares, (len(x), len(y)), strict=True)]
    return Distance(float(np.mean(shares)), *errors)


def precision_recall(x: np.ndarray, y: np.ndarray) -> tuple[Distance, Distance]:
    """Return the share of x within the manifold of y, and that of y within the manifold of x.

    A sample's manifold is the union of balls around its points, each out to the point's third nearest neighbour. Where
    modes of y are missing in x the second share falls, and where x has points unlike any of y, the first. Even of one
    distribution neither is 1.

    References:
        Kynkaanniemi et al. (2019), Improved precision and recall metric for assessing generative models.

    Args:
        x: `(n, d)`.
        y: `(m, d)`.
    """
    precision, recall = within(x, y), within(y, x)
    return precision, Distance(recall.value, recall.stderr_y, recall.stderr_x)


def within(x: np.ndarray, y: np.ndarray) -> Distance:
    """Return the share of points x `(n, d)` within the manifold of y `(m, d)`.

    Its error from the choice of x is binomial. That from the choice of y is the spread over manifolds of ten disjoint
    groups of y, by the square root of their number. (The jackknife would be up to three times too large: which points
    a single ball holds is too rough for it.)
    """
    from scipy.spatial.distance import cdist

    distances, among = cdist(x, y), cdist(y, y)

    def inside(group: np.ndarray) -> float:
        # the nearest is the point itself
        radii = np.partition(among[np.ix_(group, group)], NEAREST, axis=1)[:, NEAREST]
        return float((distances[:, group] <= radii).any(1).mean())

    everyone = np.arange(len(y))
    groups = min(GROUPS, len(y) // (NEAREST + 2))
    shares = [inside(everyone[first::groups]) for first in range(groups)]
    share = inside(everyone)
    return Distance(share, _binomial(share, len(x)), float(np.std(shares, ddof=1)) / math.sqrt(groups))


def _binomial(share: float, n: int) -> float:
    """Return the standard error of a share of n."""
    return math.sqrt(share * (1 - share) / n)
