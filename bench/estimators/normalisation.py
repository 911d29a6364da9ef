"""Whether a prior that calls itself normalised is: an estimate of log Z, which should be 0.

Nothing else would show that a density integrates to 2.09: every likelihood under it would be better by log 2.09. In at
most two dimensions log Z is had by quadrature over the whole plane, else by importance sampling from a Gaussian with
the full-covariance moments of latents of training data. Half of the points come from that Gaussian stretched by
`STRETCH`, the density of both together counts: where the tails of a prior are a little wider than the latents', weights
by the Gaussian alone have no variance, and their effective sample size says nothing.

The mean weight of a density that integrates to one is 1 in expectation, or less where the Gaussian has no mass. To be
above by 5 standard errors takes an accident of 3 in 10 million, and less than that where weights are skewed: a great
weight raises the error as well. So an estimate above 0 shows an integral above one, and makes all scores unreliable
that the density enters. One below 0 shows none: the prior may have mass where the latents have none. That, or an
integral below one, makes its scores worse and nobody else's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.estimators import hmc, quadrature
from bench.estimators.bounds import rows
from bench.estimators.partition import Estimate
from bench.estimators.subject import Subject
from bench.priors.density import Density
from bench.protocol import Metric, Noise, Normalisation, NotFinite, Score, Scores

LOG_Z_CHECK = Metric("log_z_check", "nats", "neither")  # log of the integral of a density that calls itself normalised

POINTS = 10_000
STRETCH = 1.2
ERRORS = 5.0  # standard errors,
LEAST = 0.05  # nats: what is above by more than both is above
ENOUGH = 100.0  # effective sample size below which nothing is said
NODES = {1: (1000, 2000, 4000, 8000), 2: (200, 400, 800)}  # an axis
SAMPLED = "importance-weighted"
SETTLED = 1e-3  # nats, by which halving the spacing changes log Z at most
_ANCHORS = 1000


def score_normalisation(subject: Subject) -> Scores:
    """Score log Z of a prior that calls itself normalised, and say what it shows; of other priors nothing.

    There is no score where no number is to be had: the density is not finite, or 0 at every point.

    Raises:
        NotFinite: latents are not finite.
    """
    prior, latents = subject.prior, subject.latents
    if not (prior.normalised and prior.has_density):
        return Scores([])
    if len(latents) < 2 or not bool(latents.isfinite().all()):
        raise NotFinite("the prior cannot be checked: it needs two or more finite latents of training data")
    planar = latents.shape[1] <= quadrature.MAX_DIMENSION
    found = (by_quadrature if planar else by_importance)(prior, latents, subject.noise_for("log-z/check"))
    if found.log_z is None:
        return Scores([], normalisation=found)
    # of quadrature the error is none of chance
    chance, margin = (0.0, found.stderr) if planar else (found.stderr, 0.0)
    ends = found.log_z - margin, found.log_z + margin
    score = Score(LOG_Z_CHECK, found.log_z, found.n, found.estimator, chance, 0.0, *ends)
    return Scores([score], normalisation=found)


@torch.no_grad()
def by_importance(prior: Density, latents: Tensor, noise: Noise) -> Normalisation:
    """Return what importance sampling shows of a prior, in any dimension.

    Args:
        prior: gives E = -log p.
        latents: samples of q(z|x) on training data, `(M, d)`.
        noise: where points come from.
    """
    moments = hmc.Moments.of(latents.to(noise.device))
    d = len(moments.mean)
    x = noise.normal(POINTS, d).double()
    x[: POINTS // 2] *= STRETCH
    squares = x.square().sum(1)
    stretched = -0.5 * squares / STRETCH**2 - d * math.log(STRETCH)
    log_base = torch.logaddexp(-0.5 * squares, stretched) - math.log(2) - 0.5 * d * math.log(2 * math.pi)
    log_density = _log_density(prior, moments.colour(x).to(latents.dtype))
    if doubt := _doubt(log_density):
        return Normalisation("not checked", doubt, None, 0.0, 0.0, POINTS, SAMPLED)
    estimate = Estimate.of("check", log_density - log_base + moments.log_scale)
    if estimate.ess < ENOUGH:
        few = f"the effective sample size is {estimate.ess:.0f} of {POINTS:,}"
        doubt = f"{few}: the prior is unlike a Gaussian with the latents' moments"
    return _shown(estimate.value, estimate.stderr, estimate.ess, POINTS, SAMPLED, doubt)


@torch.no_grad()
def by_quadrature(prior: Density, latents: Tensor, noise: Noise) -> Normalisation:
    """Return what quadrature over all z shows of a prior, d <= 2; arguments are those of `by_importance`.

    What halving the spacing changes counts as the standard error.
    """
    anchors = torch.cat([latents.to(noise.device), prior.sample(_ANCHORS, noise)]).double()
    anchors = anchors[anchors.isfinite().all(1)]
    low, centre, high = anchors.quantile(torch.tensor([0.05, 0.5, 0.95], device=noise.device).double(), 0)
    value, change, n = math.nan, math.inf, 0
    for points in NODES[len(centre)]:
        z, log_volume = quadrature.everywhere(centre, (high - low).clamp(min=1e-3) / 2, points)
        log_density, n = _log_density(prior, z.to(latents.dtype)), len(z)
        if doubt := _doubt(log_density):
            return Normalisation("not checked", doubt, None, 0.0, None, n, "quadrature")
        refined = float(torch.logsumexp(log_density + log_volume, 0))
        change, value = (math.inf if math.isnan(value) else abs(refined - value)), refined
        if change < SETTLED:
            break
    unsettled = f"quadrature had not converged: its last step was {change:.2g}" if ERRORS * change > LEAST else ""
    return _shown(value, change, None, n, "quadrature", unsettled)


def _log_density(prior: Density, z: Tensor) -> Tensor:
    """Return -E, `(n,)` float64, at z `(n, d)`."""
    return torch.cat([-prior.energy(part).double() for part in z.split(rows(z, z.device))])


def _doubt(log_density: Tensor) -> str:
    """Return why the log densities at points `(n,)` have no mean to speak of, or nothing."""
    if wrong := int((~(log_density < math.inf)).sum()):  # NaN as well
        return f"its density is not finite at {wrong:,} of {len(log_density):,} points"
    return "" if bool((log_density > -math.inf).any()) else f"its density is 0 at all of {len(log_density):,} points"


def _shown(log_z: float, stderr: float, ess: float | None, n: int, estimator: str, doubt: str) -> Normalisation:
    """Return what an estimate of log Z shows: nothing, if there is a `doubt`."""
    if doubt:
        return Normalisation("not checked", doubt, log_z, stderr, ess, n, estimator)
    margin = max(ERRORS * stderr, LEAST)
    integral = f"{math.exp(log_z):.3g}" if abs(log_z) < 7 else f"e^{log_z:.3g}"
    figures = f"log Z is {log_z:.3f}, standard error {stderr:.2g}"
    if log_z > margin:
        reason = f"the prior calls itself normalised, and its density integrates to {integral} ({figures})"
        return Normalisation("above", reason, log_z, stderr, ess, n, estimator)
    if log_z < -margin:
        why = "it has mass far from the latents, or integrates to less than one, which harms its own scores alone"
        reason = f"the mass seen of its density is {integral} ({figures}): {why}"
        return Normalisation("below", reason, log_z, stderr, ess, n, estimator)
    return Normalisation("holds", "", log_z, stderr, ess, n, estimator)
