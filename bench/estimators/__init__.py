"""Scores: the variational bound, the importance-weighted likelihood, and log Z with its interval."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.estimators.bits import pictures, score_bits
    from bench.estimators.known import score_known
    from bench.estimators.partition import log_partition
    from bench.estimators.scoring import score

__all__ = ["log_partition", "pictures", "score", "score_bits", "score_known"]

__getattr__ = lazy_members(__name__, __file__)
