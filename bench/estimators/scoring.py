"""The one face of scoring: a model and a test set in, `Scores` out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from bench.estimators import evidence
from bench.estimators.bounds import Autoencoder, PerImage, importance, variational
from bench.estimators.partition import LogZ, log_partition
from bench.priors.grbm import GRBM
from bench.protocol import AisNll, Evaluation, Metric, Noise, Prior, Score, Scores, UserError

VLB = Metric("vlb", "nats")  # negative variational lower bound: reconstruction + kl
NLL = Metric("nll", "nats")  # negative importance-weighted log-likelihood
KL = Metric("kl", "nats", "neither")  # mean over images of KL(q(z|x) || p(z))
RECONSTRUCTION = Metric("reconstruction", "nats", "neither")  # mean over images of -E_q log p(x|z)
LOG_Z = Metric("log_z", "nats", "neither")  # log of the integral of exp(-E)
NLL_AIS = Metric("nll_ais", "nats")  # negative log-likelihood by annealing, of the first images
BDMC_GAP = Metric("bdmc_gap", "nats", "neither")  # between the two ends on images drawn from the model
BDMC_LOWER = Metric("bdmc_lower", "nats", "neither")  # of their negative log-likelihood, by reverse chains
BDMC_UPPER = Metric("bdmc_upper", "nats", "neither")  # the same by forward chains

# how many samples' ways through a decoder take about as long as one step of a chain of AIS: of a GRBM, of another
# energy, and of a posterior, which goes through that decoder twice, forward and back
_PASSES_PER_SWEEP = 0.05
_PASSES_PER_TRAJECTORY = 2.0
_PASSES_PER_POSTERIOR_STEP = 5.0


def score(
    vae: Autoencoder,
    prior: Prior,
    test: Tensor,
    train_latents: Tensor | Callable[[], Tensor],
    evaluation: Evaluation,
    noise_for: Callable[[str], Noise],
    progress: Callable[..., None] | None = None,
) -> Scores:
    """Score a model on test images.

    The result has the metrics `vlb`, `nll`, `kl` and `reconstruction`, and `log_z` where the prior is not normalised;
    by annealing (`evidence.py`) `nll_ais`, of the first test images, and `bdmc_gap`, `bdmc_lower` and `bdmc_upper`, of
    images drawn from the model. The estimator of the last three is `bidirectional-long-run` where the prior's draws are
    ends of Markov chains, on whose convergence `bdmc_lower` then depends.

    log Z's point estimate enters every metric but `reconstruction` and `bdmc_gap`, its interval as `sys_lower` and
    `sys_upper`, and what makes it unreliable makes them so.

    Arrays: `vlb` and `nll` `(N,)` float32, each image's score; `nll_ess` `(N,)`, the effective sample size of its
    weights; `nll_curve_samples`, `nll_curve_values`, `nll_curve_stderr` `(C,)`, the NLL with 1, 10, 100, ..., S samples
    and its total statistical error. `nll_ais`, `nll_ais_ess` `(n,)` and `nll_ais_log_weights` `(n, chains)`, which lack
    log Z; the same for `bdmc_upper`, of forward chains, and for `bdmc_lower`, of reverse chains, whose mean weight is
    1/p(x). Where log Z is estimated by AIS: `ais_forward_BASE` `(repeats, chains)` and
    `ais_reverse_BASE` `(chains,)`, log weights with BASE `posterior` and either `uniform` (of a GRBM) or `isotropic`;
    `ais_estimates` `(4, 4)`, in that order (forward first) the value, standard error, effective sample size and number
    of chains; `ais_floor`; `ais_rounds` `(rounds, 4)`, temperatures, chains, repeats and width of the interval of every
    round, the last of which alone is the estimate.

    Args:
        vae: gives q(z|x) and p(x|z), in evaluation mode, on the device of `noise_for`'s streams.
        prior: gives E(z).
        test: prepared images, `(N, D)`; the first `evaluation.images` of them are scored.
        train_latents: samples of q(z|x) on training data, `(M, d)`, or what returns them; used for log Z only.
        evaluation: numbers of samples and the effort of AIS.
        noise_for: name of a stream -> its noise, the same for the same name. None depends on the prior but those named
            `log-z/...` and `bdmc/...`, so that strategies are compared on the same draws.
        progress: called as `progress(stage="evaluate", done=..., total=...)`.

    Raises:
        UserError: there is no way to log Z of this prior, or there are fewer than two images.
        ArithmeticError: a score is not finite.
    """
    x = test[: evaluation.images]
    if len(x) < 2:
        raise UserError(f"scoring needs 2 or more test images, not {len(x)}")
    steps = evidence.chain_steps(evaluation.ais_nll, len(x))
    samples = len(x) * (evaluation.vlb_samples + evaluation.importance_samples)
    meter = Meter(progress, samples + int(_PASSES_PER_POSTERIOR_STEP * steps))
    log_z = None
    if not prior.normalised:
        latents = train_latents() if callable(train_latents) else train_latents
        passes = _PASSES_PER_SWEEP if isinstance(prior, GRBM) else _PASSES_PER_TRAJECTORY
        log_z = log_partition(
            prior,
            latents,
            evaluation.ais,
            noise_for,
            lambda n: meter.advance(passes * n),
            lambda n: meter.expect(passes * n),
        )
    bound = variational(vae, prior, x, evaluation.vlb_samples, noise_for("vlb"), meter.advance)
    weighted = importance(vae, prior, x, evaluation.importance_samples, noise_for("importance"), meter.advance)

    scores = [
        _score(VLB, bound.total, "monte-carlo", log_z),
        _score(NLL, weighted.nll, "importance-weighted", log_z),
        _score(KL, bound.divergence, "monte-carlo", log_z),
        _score(RECONSTRUCTION, bound.reconstruction, "monte-carlo", None),
    ]
    found, arrays = _annealed(
        vae, prior, x, evaluation.ais_nll, log_z, noise_for, lambda n: meter.advance(_PASSES_PER_POSTERIOR_STEP * n)
    )
    scores += found
    if log_z is not None:
        ends = (log_z.lower, log_z.upper)
        scores.append(Score(LOG_Z, log_z.value, log_z.n, log_z.estimator, log_z.stderr, 0.0, *ends, log_z.unreliable))
    for each in scores:
        if not np.isfinite([each.value, each.stderr, each.sys_lower, each.sys_upper]).all():
            raise ArithmeticError(f"the score {each.metric.name} is not finite: {each.value}")

    shift = 0.0 if log_z is None else log_z.value
    curve = [PerImage(values, np.zeros_like(values)) for values in weighted.curve]
    arrays |= {
        "vlb": (bound.total.values + shift).astype(np.float32),
        "nll": (weighted.nll.values + shift).astype(np.float32),
        "nll_ess": weighted.ess.astype(np.float32),
        "nll_curve_samples": weighted.samples,
        "nll_curve_values": np.array([each.mean for each in curve]) + shift,
        "nll_curve_stderr": np.array([each.stderr_images for each in curve]),
    }
    return Scores(scores, arrays if log_z is None else arrays | log_z.arrays)


def _annealed(
    vae: Autoencoder,
    prior: Prior,
    x: Tensor,
    settings: AisNll,
    log_z: LogZ | None,
    noise_for: Callable[[str], Noise],
    progress: Callable[[int], None],
) -> tuple[list[Score], dict[str, np.ndarray]]:
    """Return the scores and arrays of annealing from q(z|x), as far as they are asked for."""
    scores, found = [], {}
    if settings.images:
        estimate = evidence.annealed(vae, prior, x[: settings.images], settings, noise_for, progress)
        scores.append(_score(NLL_AIS, estimate.nll, "ais", log_z, estimate.doubt))
        found[NLL_AIS.name] = estimate
    if settings.simulated:
        bracket = evidence.bidirectional(vae, prior, settings, noise_for, progress)
        estimator = "bidirectional" if bracket.exact else "bidirectional-long-run"
        doubt = "; ".join(filter(None, [bracket.upper.doubt, bracket.lower.doubt]))
        scores += [
            _score(BDMC_GAP, bracket.gap, estimator, None, doubt),
            _score(BDMC_LOWER, bracket.lower.nll, estimator, log_z, bracket.lower.doubt),
            _score(BDMC_UPPER, bracket.upper.nll, estimator, log_z, bracket.upper.doubt),
        ]
        found |= {BDMC_LOWER.name: bracket.lower, BDMC_UPPER.name: bracket.upper}
    shift = 0.0 if log_z is None else log_z.value
    arrays = {}
    for name, estimate in found.items():
        arrays[name] = (estimate.nll.values + shift).astype(np.float32)
        arrays[f"{name}_ess"] = estimate.ess.astype(np.float32)
        arrays[f"{name}_log_weights"] = estimate.log_weights
    return scores, arrays


def _score(metric: Metric, estimate: PerImage, estimator: str, log_z: LogZ | None, doubt: str = "") -> Score:
    """Return `estimate` as a score, with log Z added if it is given; `doubt` is a reason not to trust it."""
    value, lower, upper = (0.0, 0.0, 0.0) if log_z is None else (log_z.value, log_z.lower, log_z.upper)
    return Score(
        metric,
        estimate.mean + value,
        len(estimate.values),
        estimator,
        estimate.stderr_mc,
        estimate.stderr_images,
        estimate.mean + lower,
        estimate.mean + upper,
        "; ".join(filter(None, [doubt, f"log Z: {log_z.unreliable}" if log_z and log_z.unreliable else ""])),
    )


class Meter:
    """Counts what has been done, in samples through the networks, and tells every hundredth of it."""

    def __init__(self, progress: Callable[..., None] | None, total: int) -> None:
        self.progress, self.total = progress, total
        self._done, self._told = 0.0, -1

    def expect(self, count: float) -> None:
        """Add `count` to what there is to do."""
        self.total += int(count)
        self._told = min(self._told, int(100 * self._done / self.total))

    def advance(self, count: float) -> None:
        """Add `count`."""
        self._done += count
        hundredth = int(100 * self._done / self.total)
        if self.progress is not None and hundredth > self._told:
            self._told = hundredth
            self.progress(stage="evaluate", done=min(round(self._done), self.total), total=self.total)
