"""Scores on a data set whose density is known, for models with at most two latent dimensions.

There the model's density is exact as well (`marginal.py`), so that the divergence from the data to the model can be
had, and exact draws of the model can be compared to the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.estimators import quadrature
from bench.estimators.marginal import Marginal
from bench.estimators.subject import SAMPLES, Subject
from bench.protocol import KnownDensity, Metric, Score, Scores

NLL_EXACT = Metric("nll_exact", "nats")  # -log p(x)
KL_DATA = Metric("kl_data", "nats")  # KL from the data's distribution to the model's
SLICED = Metric("sliced_wasserstein", "1")  # between draws of the model and as many test items
SLICED_BASE = Metric("sliced_wasserstein_base", "1", "neither")  # between training items and as many test items
CLASSIFIER = Metric("c2st", "1")  # accuracy of a classifier of model draws against test items: .5 is best

SHOWN = 2000  # points for pictures
PIXELS = 100  # an axis of a picture of a density
_ANCHORS = 1000
_UNRELIABLE = 1e-2  # nats: what is off by so much has not converged

ANGLES = 32  # projections, evenly spread over half a turn
GROUPS = 10  # of the jackknife
FOLDS = 5
# Two neighbours vote for each other unless they are in one fold, so that right answers come together: a label sways a
# majority of k by sqrt(2/(pi k)), which over k neighbours adds 2/pi of the binomial variance for pairs across folds.
INFLATION = 1 + 2 / math.pi * (FOLDS - 1) / FOLDS


def score_density(subject: Subject) -> Scores:
    """Score a model against a known density; no scores where that is not known or the latent dimension is above 2.

    The metrics are `nll_exact`, `kl_data`, `sliced_wasserstein`, `sliced_wasserstein_base` and `c2st`.

    Arrays: `nll_exact` and `kl_data` `(N,)` float32, each item's score. For pictures: `points_data` `(2000, 2)`, test
    items; `points_model`, exact draws of the model; `points_sampler`, the model's draws from the last of the strategy's
    samplers of z; `density_data` and `density_model` `(100, 100)`, log densities at the centres of the pixels of the
    window (first axis x1, second x2); `window`. A prior without a density has the distances alone, between its own
    draws and the data, and leaves out `points_model`, `density_model` and the arrays of single items.

    Raises:
        NotFinite: the prior does not integrate.
    """
    dataset, test, latents, noise_for = subject.dataset, subject.test, subject.latents, subject.noise_for
    if not isinstance(dataset, KnownDensity) or latents.shape[1] > quadrature.MAX_DIMENSION:
        return Scores([])
    assert subject.train is not None, "without training items there is no base level"
    data, other = test.cpu().numpy(), dataset.prepare(subject.train, noise_for("known/train")).cpu().numpy()
    side = 2 * dataset.window / PIXELS
    # a picture needs no grid of each pixel's own, of which there are too many
    centres = (torch.arange(PIXELS, dtype=torch.float64, device=test.device) + 0.5) * side - dataset.window
    pixels = torch.cartesian_prod(centres, centres)
    arrays = {
        "points_data": data[:SHOWN],
        "density_data": _picture(dataset.log_density(pixels)),
        "window": np.array(dataset.window),
    }
    if not subject.prior.has_density:
        z = subject.prior.sample(len(test), noise_for("known/draws"))
        model = subject.vae.sample(z, noise_for("known/shown")).cpu().numpy()
        return Scores(_distances(model, data, other, SAMPLES), arrays | {"points_sampler": model[:SHOWN]})

    log_z = subject.log_z
    anchors = torch.cat([latents, subject.prior.sample(_ANCHORS, noise_for("known/anchors"))])
    marginal = Marginal(subject.vae, subject.prior, subject.shift, anchors, test)

    (log_model, changes), log_data = marginal.log_prob(test), dataset.log_density(test)
    doubt = _doubt(marginal, changes, subject.doubt)
    # where nothing is known of an item's error, that is a doubt and not a margin
    error = float(changes[changes < math.inf].sum()) / len(changes)
    below, above = (log_z.value - log_z.sys_lower, log_z.sys_upper - log_z.value) if log_z else (0.0, 0.0)
    margins = error + below, error + above

    model = marginal.sample(len(test), noise_for("known/draws")).cpu().numpy()
    scores = [
        _mean(NLL_EXACT, -log_model, margins, doubt),
        _mean(KL_DATA, log_data - log_model, margins, doubt),
        *_distances(model, data, other),
    ]
    shown = list(subject.draws(SHOWN).values())[-1]
    arrays |= {
        "nll_exact": (-log_model).float().cpu().numpy(),
        "kl_data": (log_data - log_model).float().cpu().numpy(),
        "points_model": model[:SHOWN],
        "points_sampler": marginal.draw(shown, noise_for("known/shown")).cpu().numpy(),
        "density_model": _picture(marginal.grid.log_prob(pixels)),
    }
    return Scores(scores, arrays)


def _distances(model: np.ndarray, data: np.ndarray, other: np.ndarray, estimator: str = "monte-carlo") -> list[Score]:
    """Return how far draws of the model are from test items, beside how far training items are."""
    return [
        _distance(SLICED, sliced_wasserstein(model, data), len(data), estimator),
        _distance(SLICED_BASE, sliced_wasserstein(other, data), len(data), estimator),
        _distance(CLASSIFIER, classifier_accuracy(model, data), len(data), estimator),
    ]


def _doubt(marginal: Marginal, changes: Tensor, of_prior: str) -> str:
    """Return why the exact density should not be trusted, or nothing; `of_prior` is one that its prior gives."""
    reasons = [of_prior] if of_prior else []
    if marginal.imbalance > _UNRELIABLE:
        reasons.append(f"the prior's mass on the grid is e^{marginal.imbalance:.2g} or its inverse, not 1")
    astray = int((changes > _UNRELIABLE).sum())
    if astray:
        reasons.append(f"quadrature had not converged on {astray} of {len(changes)} items")
    return "; ".join(reasons)


def _mean(metric: Metric, values: Tensor, margins: tuple[float, float], doubt: str) -> Score:
    """Return the mean over items as a score; it has no Monte Carlo error."""
    value, stderr = float(values.mean()), float(values.std()) / len(values) ** 0.5
    below, above = margins
    return Score(metric, value, len(values), "quadrature", 0.0, stderr, value - below, value + above, doubt)


def _distance(metric: Metric, distance: Distance, n: int, estimator: str) -> Score:
    value = distance.value
    return Score(metric, value, n, estimator, distance.stderr_x, distance.stderr_y, value, value)


def _picture(log_density: Tensor) -> np.ndarray:
    """Return log densities of pixels as float32, `(PIXELS, PIXELS)`."""
    return log_density.reshape(PIXELS, PIXELS).float().cpu().numpy()


# ---------------------------------------------------------------- how far two samples are apart


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
