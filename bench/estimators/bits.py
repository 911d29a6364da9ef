"""Scores in bits per dimension, for images whose likelihood is scored in another space than that of their pixels.

With LL the log density of a prepared image and J the log Jacobian from pixels to it,

    BPD = -(LL + J) / (D ln 2) = 8 - [ LL + D log(1 - 2 lambda) - sum log( s(y) (1 - s(y)) ) ] / (D ln 2)

where the second form is that of 8-bit pixels in logit space. A uniform density of the pixels has exactly 8.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from bench.estimators.bounds import NLL, VLB
from bench.estimators.evidence import NLL_AIS
from bench.estimators.subject import Corrected, PerImage, Subject
from bench.protocol import Metric, Pixels, Score, Scores

VLB_BITS = Metric("vlb_bits", "bits/dim")
NLL_BITS = Metric("nll_bits", "bits/dim")
NLL_AIS_BITS = Metric("nll_ais_bits", "bits/dim", version=NLL_AIS.version)


def score_bits(subject: Subject) -> Scores:
    """Turn scores in nats into bits per dimension; no scores where the data set does not know how.

    The metrics are `vlb_bits` and `nll_bits`, and `nll_ais_bits` where there is `nll_ais`. The Monte Carlo error and
    the interval of log Z are those of the nats, scaled; the error from the choice of images is that of each image's own
    bits per dimension, whose Jacobians differ. Arrays of the same names, `(N,)` float32, hold each image's score; of
    `nll_ais_bits` they are of the annealed images, which `nll_ais_bits_items` names, `(n,)`.
    """
    dataset, test = subject.dataset, subject.test
    if not isinstance(dataset, Pixels):
        return Scores([])
    scores: list[Score] = []
    arrays: dict[str, np.ndarray] = {}
    images = PerImage(np.zeros(0), np.zeros(0))
    for metric, source in ((VLB_BITS, VLB), (NLL_BITS, NLL), (NLL_AIS_BITS, NLL_AIS)):
        nats = subject.earlier(source)
        if nats is None:
            continue
        annealed = subject.scores.arrays[f"{source.name}_items"] if source == NLL_AIS else None
        shown = test if annealed is None else test[annealed]
        values = bits(dataset, shown, -subject.scores.arrays[source.name].astype(np.float64))
        scale = 1 / (test.shape[1] * math.log(2))
        own = PerImage(values, np.full(len(values), (nats.stderr_mc * scale) ** 2 * len(values)))
        # what annealing corrects is the score before it; all of the draws' error is with the annealed images
        images = own if annealed is None else Corrected(images.values, np.zeros_like(images.values), own, annealed)
        lower, upper = ((end - nats.value) * scale for end in (nats.sys_lower, nats.sys_upper))
        scores.append(images.score(metric, nats.estimator, 0.0, lower, upper, nats.unreliable))
        arrays[metric.name] = values.astype(np.float32)
        if annealed is not None:
            arrays[f"{metric.name}_items"] = annealed
    return Scores(scores, arrays)


def exact_bits(dataset: Pixels, test: Tensor, log_prob: Tensor) -> Scores:
    """Return the scores of a model whose density is known: its bound is tight, and both metrics are the same number.

    Args:
        dataset: the data set.
        test: prepared images, `(N, D)`.
        log_prob: the model's log density of each, `(N,)`, nats.
    """
    values = bits(dataset, test, log_prob.double().cpu().numpy())
    images = PerImage(values, np.zeros_like(values))
    metrics = VLB_BITS, NLL_BITS
    return Scores(
        [images.score(metric, "exact") for metric in metrics],
        {metric.name: values.astype(np.float32) for metric in metrics},
    )


def bits(dataset: Pixels, test: Tensor, log_prob: np.ndarray) -> np.ndarray:
    """Return each image's bits per dimension, `(N,)` float64, from its log density as prepared, `(N,)` nats."""
    values: np.ndarray = -(log_prob + dataset.log_jacobian(test).cpu().numpy()) / (test.shape[1] * math.log(2))
    return values
