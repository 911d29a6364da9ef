"""Scores on a data set whose density is known, for models with at most two latent dimensions.

There the model's density is exact as well (`marginal.py`), so that the divergence from the data to the model can be
had, and exact draws of the model can be compared to the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from bench.estimators import exact
from bench.estimators.distances import Distance, classifier_accuracy, sliced_wasserstein
from bench.estimators.marginal import Marginal
from bench.estimators.scoring import LOG_Z
from bench.priors.density import Density
from bench.protocol import Metric, Noise, Score, Scores
from bench.vae.autoencoder import VAE

NLL_EXACT = Metric("nll_exact", "nats")  # -log p(x)
KL_DATA = Metric("kl_data", "nats")  # KL from the data's distribution to the model's
SLICED = Metric("sliced_wasserstein", "1")  # between draws of the model and as many test items
SLICED_BASE = Metric("sliced_wasserstein_base", "1", "neither")  # between training items and as many test items
CLASSIFIER = Metric("c2st", "1")  # accuracy of a classifier of model draws against test items: .5 is best

SHOWN = 2000  # points for pictures
PIXELS = 100  # an axis of a picture of a density
_ANCHORS = 1000
_UNRELIABLE = 1e-2  # nats: what is off by so much has not converged


@runtime_checkable
class KnownDensity(Protocol):
    """A data set of points in the plane with an exact density.

    `window` is half the side of the square around 0 that pictures show.
    """

    window: ClassVar[float]

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Return what the likelihood scores, `(B, 2)`, for stored items."""

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x), `(N,)`, nats, for prepared x `(N, 2)`."""


def score_known(
    vae: VAE,
    prior: Density,
    dataset: object,
    test: Tensor,
    train: Tensor,
    latents: Tensor,
    scores: Sequence[Score],
    draws: Callable[[int], Mapping[str, Tensor]],
    noise_for: Callable[[str], Noise],
) -> Scores:
    """Score a model against a known density; no scores where that is not known or the latent dimension is above 2.

    The metrics are `nll_exact`, `kl_data`, `sliced_wasserstein`, `sliced_wasserstein_base` and `c2st`.

    Arrays: `nll_exact` and `kl_data` `(N,)` float32, each item's score. For pictures: `points_data` `(2000, 2)`, test
    items; `points_model`, exact draws of the model; `points_sampler`, the model's draws from the last of the strategy's
    samplers of z; `density_data` and `density_model` `(100, 100)`, log densities at the centres of the pixels of the
    window (first axis x1, second x2); `window`.

    Args:
        vae: the model's decoder.
        prior: the model's prior.
        dataset: the data set.
        test: prepared test items, `(N, 2)`.
        train: stored training items, N of them.
        latents: samples of q(z|x) on training data, `(K, d)`.
        scores: the common scores, among them log Z where the prior is not normalised.
        draws: n -> samples of the prior `(n, d)` by the name of their sampler, as the strategy draws them.
        noise_for: name of a stream -> its noise.

    Raises:
        ArithmeticError: a score is not finite, or the prior does not integrate.
    """
    if not isinstance(dataset, KnownDensity) or latents.shape[1] > exact.MAX_DIMENSION:
        return Scores([])
    log_z = next((score for score in scores if score.metric == LOG_Z), None)
    anchors = torch.cat([latents, prior.sample(_ANCHORS, noise_for("known/anchors"))])
    marginal = Marginal(vae, prior, log_z.value if log_z else 0.0, anchors, test)

    (log_model, changes), log_data = marginal.log_prob(test), dataset.log_density(test)
    doubt = _doubt(marginal, changes, log_z)
    # where nothing is known of an item's error, that is a doubt and not a margin
    error = float(changes[changes < math.inf].sum()) / len(changes)
    below, above = (log_z.value - log_z.sys_lower, log_z.sys_upper - log_z.value) if log_z else (0.0, 0.0)
    margins = error + below, error + above

    model = marginal.sample(len(test), noise_for("known/draws")).cpu().numpy()
    data, other = test.cpu().numpy(), dataset.prepare(train, noise_for("known/train")).cpu().numpy()
    found = [
        _mean(NLL_EXACT, -log_model, margins, doubt),
        _mean(KL_DATA, log_data - log_model, margins, doubt),
        _distance(SLICED, sliced_wasserstein(model, data), len(test)),
        _distance(SLICED_BASE, sliced_wasserstein(other, data), len(test)),
        _distance(CLASSIFIER, classifier_accuracy(model, data), len(test)),
    ]
    for each in found:
        if not np.isfinite([each.value, each.stderr, each.sys_lower, each.sys_upper]).all():
            raise ArithmeticError(f"the score {each.metric.name} is not finite: {each.value}")

    side = 2 * dataset.window / PIXELS
    # a picture needs no grid of each pixel's own, of which there are too many
    centres = (torch.arange(PIXELS, dtype=torch.float64, device=test.device) + 0.5) * side - dataset.window
    pixels = torch.cartesian_prod(centres, centres)
    shown = list(draws(SHOWN).values())[-1]
    arrays = {
        "nll_exact": (-log_model).float().cpu().numpy(),
        "kl_data": (log_data - log_model).float().cpu().numpy(),
        "points_data": data[:SHOWN],
        "points_model": model[:SHOWN],
        "points_sampler": marginal.draw(shown, noise_for("known/shown")).cpu().numpy(),
        "density_data": _picture(dataset.log_density(pixels)),
        "density_model": _picture(marginal.grid.log_prob(pixels)),
        "window": np.array(dataset.window),
    }
    return Scores(found, arrays)


def _doubt(marginal: Marginal, changes: Tensor, log_z: Score | None) -> str:
    """Return why the exact density should not be trusted, or nothing."""
    reasons = [f"log Z: {log_z.unreliable}"] if log_z and log_z.unreliable else []
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


def _distance(metric: Metric, distance: Distance, n: int) -> Score:
    value = distance.value
    return Score(metric, value, n, "monte-carlo", distance.stderr_x, distance.stderr_y, value, value)


def _picture(log_density: Tensor) -> np.ndarray:
    """Return log densities of pixels as float32, `(PIXELS, PIXELS)`."""
    return log_density.reshape(PIXELS, PIXELS).float().cpu().numpy()
