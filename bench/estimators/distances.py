"""How far two samples are apart: the sliced Wasserstein distance and a classifier two-sample test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

ANGLES = 32  # projections, evenly spread over half a turn
GROUPS = 10  # of the jackknife
FOLDS = 5
# Two neighbours vote for each other unless they are in one fold, so that right answers come together: a label sways a
# majority of k by sqrt(2/(pi k)), which over k neighbours adds 2/pi of the binomial variance for pairs across folds.
INFLATION = 1 + 2 / math.pi * (FOLDS - 1) / FOLDS


@dataclass(frozen=True)
class Distance:
    """A distance between samples x and y, with its standard errors from the choice of either."""

    value: float
    stderr_x: float
    stderr_y: float


def sliced_wasserstein(x: np.ndarray, y: np.ndarray) -> Distance:
    """Return the sliced 2-Wasserstein distance between points of the plane, in the unit of their coordinates.

    The root mean square, over directions, of the Wasserstein distance between the projections. Between two finite
    samples of one distribution it is above 0: compare it to that base level. Standard errors are the jackknife's over
    ten groups, which near the base level is a rough guide only.

    References:
        Bonneel et al. (2015), Sliced and Radon Wasserstein barycenters of measures.

    Args:
        x: `(n, 2)`.
        y: `(m, 2)`.
    """
    import ot

    angles = (np.arange(ANGLES) + 0.5) * math.pi / ANGLES
    directions = np.stack([np.cos(angles), np.sin(angles)])

    def between(a: np.ndarray, b: np.ndarray) -> float:
        return float(ot.sliced_wasserstein_distance(a, b, projections=directions, p=2))

    x, y = x.astype(float), y.astype(float)
    return Distance(
        between(x, y),
        _jackknife([between(part, y) for part in _without(x)]),
        _jackknife([between(x, part) for part in _without(y)]),
    )


def _without(x: np.ndarray) -> list[np.ndarray]:
    """Return x without each of its ten groups."""
    group = np.arange(len(x)) % GROUPS
    return [x[group != left_out] for left_out in range(GROUPS)]


def _jackknife(values: list[float]) -> float:
    return math.sqrt((GROUPS - 1) * np.var(values))


def classifier_accuracy(x: np.ndarray, y: np.ndarray) -> Distance:
    """Return how often a classifier tells which of two samples a point is from: .5 if they are of one distribution.

    The classifier is a nearest-neighbour vote, cross-validated in five folds; of two samples in the plane it comes
    close to the best there is. The accuracy is the mean of both samples' shares of right answers; its standard errors
    are theirs, binomial but for the correlation between folds.

    References:
        Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests.

    Args:
        x: `(n, 2)`.
        y: `(m, 2)`.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    points, labels = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    neighbours = math.isqrt(len(points)) | 1  # an odd number, so that no vote is tied
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    right = cross_val_predict(KNeighborsClassifier(neighbours), points, labels, cv=folds) == labels
    shares = right[labels == 0].mean(), right[labels == 1].mean()
    errors = [
        0.5 * math.sqrt(INFLATION * share * (1 - share) / n) for share, n in zip(shares, (len(x), len(y)), strict=True)
    ]
    return Distance(float(np.mean(shares)), *errors)
