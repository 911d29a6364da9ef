"""What is scored, what a scorer makes of it, and how far scoring has come."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from bench.priors.density import Density
from bench.protocol import Dataset, Evaluation, Metric, Noise, NotFinite, Score, Scores
from bench.vae.autoencoder import VAE

SAMPLES = "samples"  # the estimator of what is scored where the prior has samples and no density
LOG_Z = Metric("log_z", "nats", "neither", 2)  # log of the integral of exp(-E); version 1 had its error twice


class Meter:
    """Counts what has been done, in samples through the networks, and tells every hundredth of it."""

    def __init__(self, progress: Callable[..., None] | None = None, total: float = 1) -> None:
        self.progress, self.total = progress, int(total)
        self.done, self._shown = 0.0, -1

    def expect(self, count: float) -> None:
        """Add `count` to what there is to do."""
        self.total += int(count)
        self._shown = min(self._shown, int(100 * self.done / self.total))

    def advance(self, count: float) -> None:
        """Add `count`."""
        self.done += count
        hundredth = int(100 * self.done / self.total)
        if self.progress is not None and hundredth > self._shown:
            self._shown = hundredth
            self.progress(stage="evaluate", done=min(round(self.done), self.total), total=self.total)


def _none(n: int) -> Mapping[str, Tensor]:
    """Return no samples."""
    return {}


@dataclass(frozen=True)
class Subject:
    """A model that is scored, on what, and the scores that it has so far. Nothing of it records gradients.

    A scorer is a function from a subject to its own `Scores`; it finds those of scorers before it in `scores`.

    Attributes:
        vae: gives q(z|x) and p(x|z), in evaluation mode, on the device of `noise_for`'s streams.
        prior: gives E(z), and says what it can.
        test: prepared items that are scored, `(N, D)`.
        latents: samples of q(z|x) on training data, `(M, d)`.
        evaluation: numbers of samples and the effort of AIS.
        noise_for: name of a stream -> its noise, the same for the same name. None depends on the prior but those named
            `log-z/...` and `bdmc/...`, so that strategies are compared on the same draws.
        dataset: what the items come from, if some scorer is to ask what it knows of them. Which items are annealed
            depends on it alone.
        train: prepared training items, `(M, D)`, with which samples are compared as well.
        draws: n -> samples of the prior `(n, d)` by the name of their sampler, as the strategy draws them.
        meter: told what has been done.
        scores: what scorers before gave.
    """

    vae: VAE
    prior: Density
    test: Tensor
    latents: Tensor
    evaluation: Evaluation
    noise_for: Callable[[str], Noise]
    dataset: Dataset | None = None
    train: Tensor | None = None
    draws: Callable[[int], Mapping[str, Tensor]] = _none
    meter: Meter = field(default_factory=Meter)
    scores: Scores = field(default_factory=lambda: Scores([]))

    def plus(self, new: Scores) -> Subject:
        """Return the subject with further scores and arrays.

        Raises:
            NotFinite: a score is not finite.
        """
        for score in new.scores:
            if not np.isfinite([score.value, score.stderr, score.sys_lower, score.sys_upper]).all():
                raise NotFinite(f"the score {score.metric.name} is not finite: {score.value}")
        scores = Scores(
            [*self.scores.scores, *new.scores],
            {**self.scores.arrays, **new.arrays},
            normalisation=self.scores.normalisation or new.normalisation,
        )
        return replace(self, scores=scores)

    @property
    def log_z(self) -> Score | None:
        """Log Z, where the prior is not normalised; None where it is, or before it was scored."""
        return self.earlier(LOG_Z)

    def earlier(self, metric: Metric) -> Score | None:
        """Return the score of `metric` that a scorer before gave, if one did."""
        return next((score for score in self.scores.scores if score.metric == metric), None)

    @property
    def doubt(self) -> str:
        """Why no score that the prior's density enters should be trusted: its log Z, if anything."""
        if self.log_z is not None and self.log_z.unreliable:
            return f"log Z: {self.log_z.unreliable}"
        check = self.scores.normalisation
        return check.reason if check is not None and check.verdict == "above" else ""

    @property
    def shift(self) -> float:
        """What a score gains that lacks log Z."""
        return self.log_z.value if self.log_z else 0.0

    def values(self, estimate: PerImage) -> np.ndarray:
        """Return an estimate that lacks log Z with it, image by image, `(N,)` float32."""
        shifted: np.ndarray = (estimate.values + self.shift).astype(np.float32)
        return shifted

    def score(self, metric: Metric, estimate: PerImage, estimator: str, doubt: str = "") -> Score:
        """Return an estimate that lacks log Z as a score with it; `doubt` is a reason not to trust it."""
        log_z = self.log_z
        value, lower, upper = (log_z.value, log_z.sys_lower, log_z.sys_upper) if log_z else (0.0, 0.0, 0.0)
        return estimate.score(metric, estimator, value, lower, upper, "; ".join(filter(None, [doubt, self.doubt])))


@dataclass(frozen=True)
class PerImage:
    """A quantity estimated for every image.

    Attributes:
        values: the estimates, `(N,)` float64.
        variances: of each estimate over its own draws, `(N,)`; 0 where one draw cannot tell.
    """

    values: np.ndarray
    variances: np.ndarray

    @property
    def mean(self) -> float:
        """The estimate over images."""
        return float(self.values.mean())

    @property
    def stderr_mc(self) -> float:
        """Standard error of `mean` from the draws: images are independent, so variances add."""
        return math.sqrt(self.variances.sum()) / len(self.values)

    @property
    def stderr_images(self) -> float:
        """Standard error of `mean` from the choice of images: the spread of estimates, less what the draws put in."""
        total = float(self.values.var(ddof=1)) / len(self.values)
        return math.sqrt(max(total - self.stderr_mc**2, 0.0))

    def score(
        self,
        metric: Metric,
        estimator: str,
        shift: float = 0.0,
        lower: float = 0.0,
        upper: float = 0.0,
        unreliable: str = "",
    ) -> Score:
        """Return `mean` plus `shift` as a score; with `lower` and `upper` in its place, its systematic ends."""
        n, mean = len(self.values), self.mean
        errors = self.stderr_mc, self.stderr_images
        return Score(metric, mean + shift, n, estimator, *errors, mean + lower, mean + upper, unreliable)


@dataclass(frozen=True)
class Corrected(PerImage):
    """A quantity estimated roughly for every image, and better for some of them: the rough one is a control variate.

    Over images it is the mean of the rough estimates R of all N, plus the mean of D = better - rough of n that were
    taken at random. R may be biased, as far as the bias of those n is that of the others.

    Attributes:
        values, variances: of the rough estimates, `(N,)`.
        better: estimates of n images, whose draws are others than those of the rough ones.
        items: which these images are, `(n,)`.
    """

    better: PerImage
    items: np.ndarray

    @property
    def mean(self) -> float:
        """The estimate over images."""
        return float(self.values.mean() + (self.better.values - self.values[self.items]).mean())

    @property
    def stderr_mc(self) -> float:
        """Standard error of `mean` from the draws: the rough estimate of one of the n counts by 1/N - 1/n."""
        weights = np.full(len(self.values), 1 / len(self.values))
        weights[self.items] -= 1 / len(self.items)
        rough, better = weights**2 @ self.variances, self.better.variances.sum() / len(self.items) ** 2
        return math.sqrt(rough + better)

    @property
    def stderr_images(self) -> float:
        """Standard error of `mean` from the choice of images: V(R)/N + V(D)/n + 2 Cov(R, D)/N, less the draws' part.

        The n lie among the N. At n = N it is V(better)/N.
        """
        count, rough = len(self.values), self.values[self.items]
        spread = np.cov(rough, self.better.values - rough)
        total = (self.values.var(ddof=1) + 2 * spread[0, 1]) / count + spread[1, 1] / len(rough)
        return math.sqrt(max(float(total) - self.stderr_mc**2, 0.0))
