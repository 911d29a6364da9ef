"""Scores: the variational bound, the importance-weighted likelihood, and log Z with its interval."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.estimators.partition import log_partition
    from bench.estimators.scoring import score
    from bench.estimators.shown import drawings, pictures
    from bench.estimators.subject import Subject

__all__ = ["Subject", "drawings", "log_partition", "pictures", "score"]

__getattr__ = lazy_members(__name__, __file__)
