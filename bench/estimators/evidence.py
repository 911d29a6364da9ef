"""log p(x) of single images by annealing from q(z|x) to the posterior, and between two ends by annealing both ways.

For an image x the path (`hmc.Bridge`) leads from q(z|x) at t = 0, which is normalised, to p(x|z) exp(-E(z)) at t = 1,
whose integral over z is p(x) times Z, the prior's normaliser. So `log_weights` lack log Z, which is one number for all
images (`partition.py`). Every image has chains of its own; the estimate is the log of their weights' mean.

*Forward* chains start in q(z|x). Their mean weight is unbiased for p(x), so its log is too low in expectation, by about
half its variance: a stochastic lower bound on log p(x), hence an upper one on the negative log-likelihood. So is the
importance-weighted estimate, which is the same without temperatures between.

*Reverse* chains start in the posterior. Their mean weight is unbiased for 1/p(x), so minus its log is a stochastic
upper bound on log p(x). Of test images no exact sample of the posterior is known. Of an image that was simulated, by z
from the prior and x from p(x|z), there is one: z itself. There both bounds hold, and the gap between them says how far
off forward chains can be, on images like those the model makes; of test images, which differ from them, it tells that
much less the worse the model is.

That z is an exact sample presumes that the prior can be sampled. Normalised priors and GRBMs with few hidden units are.
For other energies z is the end of a long Markov chain: if that has not converged, the upper bound on log p(x) is one
under the density in which it is, and may be too low under the prior's own by what the chain has missed.

Annealing is dear, so that few of the test images are annealed, and those few are easier or harder than the rest.
The importance-weighted estimate I is there of all N: its mean, plus the mean of A - I over the n that were annealed,
estimates the mean of A over all (`subject.Corrected`). What is left of the error over images is little more than that
of A - I, as far as I follows the images' difficulty, and no bias of I is in it. The n are the same for every model.

Steps are tuned on chains that count for nothing (`hmc.tuned`). z moves in float64; networks are evaluated in their own
precision, which costs weights some 1e-5 nats.

References:
    Wu et al. (2017), On the quantitative analysis of decoder-based generative models.
    Grosse, Ghahramani & Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.estimators import ais, hmc
from bench.estimators.bounds import NLL, doubt, rows, variances
from bench.estimators.subject import Corrected, PerImage, Subject
from bench.protocol import AisNll, Metric, Noise, Scores
from bench.streams import stream

# negative log-likelihood of all images, by annealing some of them; version 1 was of the first images alone
NLL_AIS = Metric("nll_ais", "nats", version=2)
BDMC_GAP = Metric("bdmc_gap", "nats", "neither")  # between the two ends on images drawn from the model
BDMC_LOWER = Metric("bdmc_lower", "nats", "neither")  # of their negative log-likelihood, by reverse chains
BDMC_UPPER = Metric("bdmc_upper", "nats", "neither")  # the same by forward chains

# how many samples' ways through a decoder take about as long as one step of a chain: it goes through it twice, forward
# and back
STEP_COST = 5.0
_BLOCKS = (
    2  # blocks of samples that are annealed at a time: each step of chains has its own cost, whatever their number
)
LEAST = 50  # annealed images below which the spread of what they tell is not enough for an interval


@dataclass(frozen=True)
class Annealed:
    """The negative log-likelihood of N images without log Z by annealed chains, nats.

    Attributes:
        nll: the estimates; each variance is the delta method's, (C/ESS - 1)/(C - 1).
        ess: effective sample size of each image's weights, `(N,)`, of C.
        log_weights: `(N, C)`.
    """

    nll: PerImage
    ess: np.ndarray
    log_weights: np.ndarray

    @classmethod
    def of(cls, log_weights: Tensor, sign: int = 1) -> Annealed:
        """Return the estimate by log_weights `(N, C)`; -1 for those of reverse chains, whose mean is that of 1/p."""
        chains = log_weights.shape[1]
        ess = 1 / torch.softmax(log_weights, 1).square().sum(1)
        nll = -sign * (torch.logsumexp(log_weights, 1) - math.log(chains))
        sizes = ess.cpu().numpy()
        return cls(PerImage(nll.cpu().numpy(), variances(sizes, chains)), sizes, log_weights.cpu().numpy())

    @property
    def doubt(self) -> str:
        """Why the mean should not be trusted: too many images whose effective sample size is below C/2; or nothing."""
        return doubt(self.ess, self.log_weights.shape[1], "chains")


@dataclass(frozen=True)
class Bracket:
    """The negative log-likelihood of simulated images between two ends, without log Z, nats.

    Attributes:
        upper: by forward chains.
        lower: by reverse chains from the true z. The variance of each counts its chains, not that they share a start.
        exact: whether z are exact draws of the prior, or ends of long Markov chains.
    """

    upper: Annealed
    lower: Annealed
    exact: bool

    @property
    def gap(self) -> PerImage:
        """How far the ends are apart: in expectation no less than either's error. It holds no log Z."""
        upper, lower = self.upper.nll, self.lower.nll
        return PerImage(upper.values - lower.values, upper.variances + lower.variances)


def chain_steps(settings: AisNll, images: int) -> int:
    """Return how many steps of single chains annealing takes, where there are so many test images."""
    return settings.temperatures * settings.chains * (min(settings.images, images) + 2 * settings.simulated)


def chosen(subject: Subject) -> np.ndarray:
    """Return which images are annealed, rising, `(n,)` int32: as good as random, and the same for every model.

    They are the beginning of a permutation of the images that is keyed to the data set alone, so that more of them
    hold the fewer, and scores of two models, or of two seeds, are paired.
    """
    dataset = subject.dataset
    key = f"{dataset.name}/{dataset.version}" if dataset is not None else ""
    order = stream(0, f"annealed/{key}").permutation(len(subject.test))
    return np.sort(order[: subject.evaluation.ais_nll.images].numpy()).astype(np.int32)


@torch.no_grad()
def annealed(subject: Subject) -> Annealed:
    """Return the negative log-likelihood of the chosen images by forward chains, in expectation an upper bound."""
    settings, noise = subject.evaluation.ais_nll, subject.noise_for("ais-nll/forward")
    x = subject.test[chosen(subject)].to(noise.device)
    log_steps = _tuned(subject, x, subject.noise_for("ais-nll/pilot"))
    parts = []
    for images in x.split(_images(x, settings.chains)):
        path = _path(subject, images, settings.chains, log_steps)
        chains = settings.chains * len(images)
        log_weights, _ = ais.forward(path, settings.temperatures, chains, noise, _progress(subject))
        parts.append(log_weights.unflatten(0, (settings.chains, -1)).T)
    return Annealed.of(torch.cat(parts))


@torch.no_grad()
def bidirectional(subject: Subject) -> Bracket:
    """Return the negative log-likelihood of images drawn from the model, between its two ends."""
    settings, prior, noise_for = subject.evaluation.ais_nll, subject.prior, subject.noise_for
    forward, reverse, latent = (noise_for(f"bdmc/{name}") for name in ("forward", "reverse", "latents"))
    exact = prior.exact_sample(settings.simulated, latent)
    z = prior.sample(settings.simulated, latent) if exact is None else exact
    x = subject.vae.sample(z, noise_for("bdmc/images"))
    log_steps = _tuned(subject, x, noise_for("bdmc/pilot"))
    count = _images(x, settings.chains)
    uppers, lowers = [], []
    for images, latents in zip(x.split(count), z.split(count), strict=True):
        path = _path(subject, images, settings.chains, log_steps)
        starts = latents.double().repeat(settings.chains, 1)
        up, _ = ais.forward(path, settings.temperatures, len(starts), forward, _progress(subject))
        down = ais.reverse(path, settings.temperatures, starts, reverse, _progress(subject))
        uppers.append(up.unflatten(0, (settings.chains, -1)).T)
        lowers.append(down.unflatten(0, (settings.chains, -1)).T)
    return Bracket(Annealed.of(torch.cat(uppers)), Annealed.of(torch.cat(lowers), sign=-1), exact is not None)


def _images(x: Tensor, chains: int) -> int:
    """Return how many of the images x `(N, D)` to anneal at a time, of about equal parts."""
    parts = math.ceil(len(x) * chains / (_BLOCKS * rows(x, x.device)))
    return math.ceil(len(x) / parts)


def _progress(subject: Subject) -> Callable[[int], None]:
    return lambda chains: subject.meter.advance(STEP_COST * chains)


def _tuned(subject: Subject, x: Tensor, noise: Noise) -> Tensor:
    """Return the logarithms of step sizes for x `(N, D)`, the same for every image, from a pilot on some of them."""
    images = x[: hmc.PILOTS]
    chains = math.ceil(hmc.PILOTS / len(images))
    return hmc.tuned(_path(subject, images, chains), noise, chains * len(images)).log_steps


def _path(subject: Subject, x: Tensor, chains: int, log_steps: Tensor | None = None) -> hmc.Bridge:
    """Return the path of `chains * B` chains from q(z|x) to p(x|z) exp(-E(z)), those of one x `(B, D)` B apart.

    The guess at the posterior's variance is q's, which is just that. Without `log_steps` it is untuned.
    """
    posterior = subject.vae.encoder(x)
    mean, precision = posterior.mean.double(), torch.exp(-2 * posterior.log_std.double())
    read = subject.vae.decoder.reader(x)

    def energy(z: Tensor) -> Tensor:
        z = z.to(posterior.mean.dtype)
        likelihood = read(z.unflatten(0, (chains, len(x)))).flatten()
        return (subject.prior.energy(z) - likelihood).double()

    mean, precision = mean.repeat(chains, 1), precision.repeat(chains, 1)
    rotation = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
    steps = hmc.untuned(mean) if log_steps is None else log_steps
    return hmc.Bridge(rotation, mean, precision, precision, energy, steps)


def score_annealed(subject: Subject) -> Scores:
    """Score all images by annealing some of them, if any are asked for and the prior has a density.

    The importance-weighted likelihood of all is the control variate. Arrays, of the n images that were annealed:
    `nll_ais`, `nll_ais_ess`, `nll_ais_items`, which images they are, `(n,)`, and `nll_ais_log_weights` `(n, chains)`,
    which lack log Z.
    """
    if not (subject.evaluation.ais_nll.images and subject.prior.has_density):
        return Scores([])
    earlier, items, estimate = subject.scores.arrays, chosen(subject), annealed(subject)
    rough = earlier[NLL.name].astype(np.float64) - subject.shift
    own = variances(earlier[f"{NLL.name}_ess"], subject.evaluation.importance_samples)
    few = f"{len(items)} annealed images are too few for an interval, which takes {LEAST}" if len(items) < LEAST else ""
    score = subject.score(
        NLL_AIS,
        Corrected(rough, own, estimate.nll, items),
        "ais-control-variate",
        "; ".join(filter(None, [few, estimate.doubt])),
    )
    return Scores([score], _arrays(subject, NLL_AIS, estimate) | {f"{NLL_AIS.name}_items": items})


def score_bidirectional(subject: Subject) -> Scores:
    """Score images drawn from the model between two ends, if any are asked for and the prior has a density.

    The estimator is `bidirectional-long-run` where the prior's draws are ends of Markov chains, on whose convergence
    `bdmc_lower` then depends. Arrays are those of `score_annealed` for `bdmc_upper`, of forward chains, and for
    `bdmc_lower`, of reverse chains, whose mean weight is 1/p(x).
    """
    if not (subject.evaluation.ais_nll.simulated and subject.prior.has_density):
        return Scores([])
    bracket = bidirectional(subject)
    estimator = "bidirectional" if bracket.exact else "bidirectional-long-run"
    upper, lower = bracket.upper, bracket.lower
    scores = [
        bracket.gap.score(BDMC_GAP, estimator, unreliable="; ".join(filter(None, [upper.doubt, lower.doubt]))),
        subject.score(BDMC_LOWER, lower.nll, estimator, lower.doubt),
        subject.score(BDMC_UPPER, upper.nll, estimator, upper.doubt),
    ]
    return Scores(scores, _arrays(subject, BDMC_LOWER, lower) | _arrays(subject, BDMC_UPPER, upper))


def _arrays(subject: Subject, metric: Metric, estimate: Annealed) -> dict[str, np.ndarray]:
    return {
        metric.name: subject.values(estimate.nll),
        f"{metric.name}_ess": estimate.ess.astype(np.float32),
        f"{metric.name}_log_weights": estimate.log_weights,
    }
