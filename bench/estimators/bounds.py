"""Bounds on log p(x) from posterior samples: the variational bound and the importance-weighted likelihood.

Both rest on log weights log p(x|z) - E(z) - log q(z|x), z ~ q(z|x). They lack log Z, which is one number for all
images (`partition.py`). Images and samples are taken in blocks that a CPU's cache holds, or that fill a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.estimators.subject import SAMPLES, PerImage, Subject
from bench.protocol import Metric, Noise, Scores

VLB = Metric("vlb", "nats")  # negative variational lower bound: reconstruction + kl
KL = Metric("kl", "nats", "neither")  # mean over images of KL(q(z|x) || p(z))
RECONSTRUCTION = Metric("reconstruction", "nats", "neither")  # mean over images of -E_q log p(x|z)
NLL = Metric("nll", "nats")  # negative importance-weighted log-likelihood; its bias hangs on how well q(z|x) fits

# float32 numbers in the widest array of a block: 2 MiB, which a core's cache holds, or what keeps a GPU busy
ELEMENTS = {"cpu": 2**19, "cuda": 2**26}
_POINTS = 2**13  # z at a time, at least: what a prior computes that hangs on no z is computed once for them
_DOUBTFUL = 0.05  # share of images with a low effective sample size from which on their mean is called unreliable
_WIDTH = 256  # at least so many of them a sample: hidden layers are wider than some data


@dataclass(frozen=True)
class Bound:
    """The negative variational bound without log Z, `total` = `reconstruction` + `divergence`, nats.

    Attributes:
        reconstruction: -E_q log p(x|z).
        divergence: E_q [log q(z|x) + E(z)]: KL(q(z|x) || p) - log Z.
        total: their sum, with the variance that both have together.
    """

    reconstruction: PerImage
    divergence: PerImage
    total: PerImage


@dataclass(frozen=True)
class Weighted:
    """The negative importance-weighted log-likelihood without log Z, nats.

    Attributes:
        nll: with all S samples.
        ess: effective sample size of each image's weights, `(N,)`, of S.
        samples: the numbers of samples of the curve, 1, 10, 100, ..., S, `(C,)`.
        curve: the estimate with so many samples, the mean over all disjoint groups of them, `(C, N)`.
    """

    nll: PerImage
    ess: np.ndarray
    samples: np.ndarray
    curve: np.ndarray

    @property
    def doubt(self) -> str:
        """Why the mean should not be trusted: it is too high by what no error of it says; or nothing."""
        return doubt(self.ess, int(self.samples[-1]), "samples")


def variational(subject: Subject) -> Bound:
    """Return the negative variational bound (paper Eq. 4) by `vlb_samples` posterior samples an image.

    With one sample an image, its own error cannot be told from the images'; all counts as theirs.
    """
    samples = subject.evaluation.vlb_samples
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {"reconstruction": [], "divergence": [], "total": []}
    for likelihood, ratio in _log_weights(subject, samples, subject.noise_for("vlb")):
        for name, draws in zip(parts, (-likelihood, -ratio, -likelihood - ratio), strict=True):
            variance = draws.var(0) / samples if samples > 1 else torch.zeros_like(draws[0])
            parts[name].append((draws.mean(0), variance))
    return Bound(**{name: PerImage(*_join(chunks)) for name, chunks in parts.items()})


def importance(subject: Subject) -> Weighted:
    """Return -log of the mean weight of S posterior samples an image, and its curve over fewer samples.

    The mean weight is unbiased for p(x); minus its log is above -log p(x) in expectation, the less so the more samples
    (Burda et al., 2016, Theorem 1), and the more so the worse q(z|x) fits. Each image's variance is the delta
    method's, which knows nothing of that.
    """
    samples = subject.evaluation.importance_samples
    sizes = curve_sizes(samples)
    chunks = []
    for likelihood, ratio in _log_weights(subject, samples, subject.noise_for("importance")):
        log_weights = likelihood + ratio  # (S, B)
        curve = torch.stack([_groups(log_weights, size) for size in sizes])
        effective = 1 / torch.softmax(log_weights, 0).square().sum(0)
        chunks.append((-curve.T, effective))
    curves, ess = _join(chunks)
    return Weighted(PerImage(curves[:, -1], variances(ess, samples)), ess, np.array(sizes), curves.T)


def variances(ess: np.ndarray, draws: int) -> np.ndarray:
    """Return the variance of the log of each image's mean weight by the delta method, (S/ESS - 1)/(S - 1), `(N,)`.

    Args:
        ess: effective sample sizes, `(N,)`.
        draws: weights an image, S; of one the variance cannot be told and is 0.
    """
    return np.maximum(draws / ess.astype(np.float64) - 1, 0) / max(draws - 1, 1)


def doubt(ess: np.ndarray, draws: int, what: str) -> str:
    """Return why a mean over images of logs of mean weights should not be trusted, or nothing.

    More than a twentieth of the images have an effective sample size below half of their weights; or there are so few
    weights that none could be so low.

    Args:
        ess: effective sample sizes, `(N,)`.
        draws: weights an image.
        what: they are of.
    """
    if draws < 3:
        return f"fewer than 3 {what} an image, whose effective sample size tells nothing"
    low = int((ess < draws / 2).sum())
    if low <= _DOUBTFUL * len(ess):
        return ""
    return f"{low} of {len(ess)} images have an effective sample size below half of {draws} {what}"


def curve_sizes(samples: int) -> list[int]:
    """Return 1, 10, 100, ..., `samples`."""
    powers = [10**k for k in range(len(str(samples)))]
    return [size for size in powers if size < samples] + [samples]


def _groups(log_weights: Tensor, size: int) -> Tensor:
    """Return the log mean weight of `size` samples, averaged over the disjoint groups of log_weights `(S, B)`."""
    count = len(log_weights) // size
    grouped = log_weights[: count * size].unflatten(0, (count, size))
    return (torch.logsumexp(grouped, 1) - math.log(size)).mean(0)


def _join(chunks: Sequence[tuple[Tensor, ...]]) -> list[np.ndarray]:
    return [torch.cat(parts).cpu().numpy() for parts in zip(*chunks, strict=True)]


def rows(x: Tensor, device: torch.device) -> int:
    """Return how many samples to take at a time on a device, over all images of a block, for x `(N, D)`."""
    elements = ELEMENTS.get(device.type, ELEMENTS["cpu"])
    return max(1, elements // max(x.shape[1], _WIDTH))


def _log_weights(subject: Subject, samples: int, noise: Noise) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield log p(x|z) and -E(z) - log q(z|x), `(samples, B)` float64 each, for one group of images after another.

    A prior without a density is left out of the second.
    """
    vae, prior, block = subject.vae, subject.prior, rows(subject.test, torch.device(noise.device))
    points = max(block, _POINTS)
    for batch in subject.test.to(noise.device).split(max(1, points // samples)):
        parts = []
        for count in _even(samples, points):
            with torch.inference_mode():
                posterior = vae.encoder(batch)
                eps = noise.normal(len(batch), count, posterior.mean.shape[1]).to(posterior.mean.dtype)
                # of a draw mean + std * eps, -log q(z|x) is a matter of eps
                z = torch.addcmul(posterior.mean[:, None], posterior.log_std.exp()[:, None], eps)
                ratio = 0.5 * torch.linalg.vecdot(eps, eps) + posterior.log_std.sum(-1, keepdim=True)
                ratio = ratio.double() + 0.5 * eps.shape[-1] * math.log(2 * math.pi)
                if prior.has_density:
                    ratio -= prior.energy(z).double()
                parts.append((_log_likelihood(subject, batch, z, block), ratio.T))
        yield torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _log_likelihood(subject: Subject, x: Tensor, z: Tensor, block: int) -> Tensor:
    """Return log p(x|z), `(S, B)` float64, for x `(B, D)` and z `(B, S, d)`, for at most `block` z at a time."""
    columns = []
    for images, latents in zip(*(part.split(max(1, block // z.shape[1])) for part in (x, z)), strict=True):
        read, parts = subject.vae.decoder.reader(images), []
        for some in latents.transpose(0, 1).split(_even(z.shape[1], block)):
            parts.append(read(some).double())
            subject.meter.advance(parts[-1].numel())
        columns.append(torch.cat(parts))
    return torch.cat(columns, 1)


def _even(total: int, most: int) -> list[int]:
    """Return the sizes of the fewest parts of `total` that are no greater than `most`, all about the same."""
    parts = -(-total // most)
    return [total * (k + 1) // parts - total * k // parts for k in range(parts)]


def score_bound(subject: Subject) -> Scores:
    """Score the variational bound and its parts; the array `vlb` `(N,)` float32 holds each image's.

    Where the prior has no density there is the reconstruction alone.
    """
    bound = variational(subject)
    if not subject.prior.has_density:
        return Scores([bound.reconstruction.score(RECONSTRUCTION, SAMPLES)])
    scores = [
        subject.score(VLB, bound.total, "monte-carlo"),
        subject.score(KL, bound.divergence, "monte-carlo"),
        bound.reconstruction.score(RECONSTRUCTION, "monte-carlo"),
    ]
    return Scores(scores, {VLB.name: subject.values(bound.total)})


def score_importance(subject: Subject) -> Scores:
    """Score the importance-weighted likelihood, where the prior has a density. Too high as it is, it ranks no models.

    Arrays: `nll` `(N,)` float32, each image's score; `nll_ess` `(N,)`, the effective sample size of its weights;
    `nll_curve_samples`, `nll_curve_values`, `nll_curve_stderr` `(C,)`, the NLL with 1, 10, 100, ..., S samples and its
    total statistical error.
    """
    if not subject.prior.has_density:
        return Scores([])
    weighted = importance(subject)
    curve = [PerImage(values, np.zeros_like(values)) for values in weighted.curve]
    arrays = {
        "nll": subject.values(weighted.nll),
        "nll_ess": weighted.ess.astype(np.float32),
        "nll_curve_samples": weighted.samples,
        "nll_curve_values": np.array([estimate.mean for estimate in curve]) + subject.shift,
        "nll_curve_stderr": np.array([estimate.stderr_images for estimate in curve]),
    }
    return Scores([subject.score(NLL, weighted.nll, "importance-weighted", weighted.doubt)], arrays)
