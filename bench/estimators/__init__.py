"""Scores: the variational bound, the importance-weighted likelihood, and log Z with its interval."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.estimators.bits import pictures, score_bits
    from bench.estimators.known import score_known
    from bench.estimators.partition import log_partition
    from bench.estimators.scoring import score

__all__ = ["log_partition", "pictures", "score", "score_bits", "score_known"]

# a module of the same name would hide the function
__getattr__ = members(
    __name__,
    {
        "log_partition": "partition",
        "pictures": "bits",
        "score": "scoring",
        "score_bits": "bits",
        "score_known": "known",
    },
)
