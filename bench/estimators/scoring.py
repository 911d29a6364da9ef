"""The one face of scoring: a model and a test set in, `Scores` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.estimators import evidence
from bench.estimators.bits import score_bits
from bench.estimators.bounds import score_bound, score_importance
from bench.estimators.density import score_density
from bench.estimators.distances import score_samples
from bench.estimators.normalisation import score_normalisation
from bench.estimators.partition import score_log_z
from bench.estimators.subject import Meter, Subject
from bench.protocol import Scores, UserError

Scorer = Callable[[Subject], Scores]

#: in this order: scores but `reconstruction` and `bdmc_gap` need log Z, annealing corrects the importance-weighted
#: likelihood, bits need the scores in nats, and samples the exact draws
SCORERS: Sequence[Scorer] = (
    score_log_z,
    score_normalisation,
    score_bound,
    score_importance,
    evidence.score_annealed,
    evidence.score_bidirectional,
    score_bits,
    score_density,
    score_samples,
)
#: those of an evaluation that asks for the bound alone
BOUND_SCORERS: Sequence[Scorer] = (score_log_z, score_normalisation, score_bound)


def score(subject: Subject, progress: Callable[..., None] | None = None) -> Scores:
    """Score a model by every scorer that has something to say of it; of a prior without a density few have.

    log Z's point estimate enters every metric but `reconstruction`, `bdmc_gap` and those of samples, its interval as
    `sys_lower` and `sys_upper`, and what makes it unreliable makes them so. So does a density that calls itself
    normalised and integrates to more than one.

    Args:
        subject: the model; the first `evaluation.images` of its test items are scored.
        progress: called as `progress(stage="evaluate", done=..., total=...)`.

    Raises:
        UserError: there is no way to log Z of this prior, or there are fewer than two images.
        NotFinite: a score is not finite.
    """
    evaluation, test = subject.evaluation, subject.test[: subject.evaluation.images]
    if len(test) < 2:
        raise UserError(f"scoring needs 2 or more test images, not {len(test)}")
    steps, samples = 0, len(test) * evaluation.vlb_samples
    if subject.prior.has_density and not evaluation.bound_alone:
        steps = evidence.chain_steps(evaluation.ais_nll, len(test))
        samples += len(test) * evaluation.importance_samples
    subject = replace(subject, test=test, meter=Meter(progress, samples + int(evidence.STEP_COST * steps)))
    for scorer in BOUND_SCORERS if evaluation.bound_alone else SCORERS:
        subject = subject.plus(scorer(subject))
    return subject.scores
