"""Scores on a data set whose density is known, for models with at most two latent dimensions.

There the model's density is exact as well (`marginal.py`), so that the divergence from the data to the model can be
had, and so are draws of the model, which `distances.py` compares to the data.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bench.estimators import quadrature
from bench.estimators.marginal import Marginal
from bench.estimators.subject import Subject
from bench.protocol import KnownDensity, Metric, Score, Scores

NLL_EXACT = Metric("nll_exact", "nats")  # -log p(x)
KL_DATA = Metric("kl_data", "nats")  # KL from the data's distribution to the model's

POINTS = "points_model"  # the array of exact draws of the model
SHOWN = 2000  # points for pictures
PIXELS = 100  # an axis of a picture of a density
_ANCHORS = 1000
_UNRELIABLE = 1e-2  # nats: what is off by so much has not converged


def score_density(subject: Subject) -> Scores:
    """Score a model against a known density; no scores where that is not known or the latent dimension is above 2.

    The metrics are `nll_exact` and `kl_data`.

    Arrays: `nll_exact` and `kl_data` `(N,)` float32, each item's score. For pictures: `points_data` `(2000, 2)`, test
    items; `points_model`, exact draws of the model; `points_sampler`, the model's draws from the last of the strategy's
    samplers of z; `density_data` and `density_model` `(100, 100)`, log densities at the centres of the pixels of the
    window (first axis x1, second x2); `window`. A prior without a density has no scores, and leaves out `points_model`,
    `density_model` and the arrays of single items; `points_sampler` are its own draws.

    Raises:
        NotFinite: the prior does not integrate.
    """
    dataset, test, latents, noise_for = subject.dataset, subject.test, subject.latents, subject.noise_for
    if not isinstance(dataset, KnownDensity) or latents.shape[1] > quadrature.MAX_DIMENSION:
        return Scores([])
    side = 2 * dataset.window / PIXELS
    # a picture needs no grid of each pixel's own, of which there are too many
    centres = (torch.arange(PIXELS, dtype=torch.float64, device=test.device) + 0.5) * side - dataset.window
    pixels = torch.cartesian_prod(centres, centres)
    arrays = {
        "points_data": test[:SHOWN].cpu().numpy(),
        "density_data": _picture(dataset.log_density(pixels)),
        "window": np.array(dataset.window),
    }
    if not subject.prior.has_density:
        z = subject.prior.sample(min(len(test), SHOWN), noise_for("known/draws"))
        own = subject.vae.sample(z, noise_for("known/shown"))
        return Scores([], arrays | {"points_sampler": own.cpu().numpy()})

    log_z = subject.log_z
    anchors = torch.cat([latents, subject.prior.sample(_ANCHORS, noise_for("known/anchors"))])
    marginal = Marginal(subject.vae, subject.prior, subject.shift, anchors, test)

    (log_model, changes), log_data = marginal.log_prob(test), dataset.log_density(test)
    doubt = _doubt(marginal, changes, subject.doubt)
    # where nothing is known of an item's error, that is a doubt and not a margin
    error = float(changes[changes < math.inf].sum()) / len(changes)
    below, above = (log_z.value - log_z.sys_lower, log_z.sys_upper - log_z.value) if log_z else (0.0, 0.0)
    margins = error + below, error + above

    model = marginal.sample(min(len(test), SHOWN), noise_for("known/draws")).cpu().numpy()
    scores = [
        _mean(NLL_EXACT, -log_model, margins, doubt),
        _mean(KL_DATA, log_data - log_model, margins, doubt),
    ]
    shown = list(subject.draws(SHOWN).values())[-1]
    arrays |= {
        "nll_exact": (-log_model).float().cpu().numpy(),
        "kl_data": (log_data - log_model).float().cpu().numpy(),
        POINTS: model,
        "points_sampler": marginal.draw(shown, noise_for("known/shown")).cpu().numpy(),
        "density_model": _picture(marginal.grid.log_prob(pixels)),
    }
    return Scores(scores, arrays)


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


def _picture(log_density: Tensor) -> np.ndarray:
    """Return log densities of pixels as float32, `(PIXELS, PIXELS)`."""
    return log_density.reshape(PIXELS, PIXELS).float().cpu().numpy()
