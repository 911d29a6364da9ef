"""Scores: the variational bound, the importance-weighted likelihood, and log Z with its interval."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.estimators.score import score

__all__ = ["score"]

__getattr__ = members(__name__, {"score": "score"})
