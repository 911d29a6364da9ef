"""Scores: the variational bound, the importance-weighted likelihood, and log Z with its interval."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.estimators.scoring import score

__all__ = ["score"]

__getattr__ = members(__name__, {"score": "scoring"})  # a module of the same name would hide it
