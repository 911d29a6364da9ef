"""What trains a prior, and the bound that trains the rest."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.objectives.bound import negative_bound
    from bench.objectives.score_matching import exact, sliced, sliced_variance_reduced

__all__ = ["exact", "negative_bound", "sliced", "sliced_variance_reduced"]

_SCORE_MATCHING = ("exact", "sliced", "sliced_variance_reduced")
__getattr__ = members(__name__, {"negative_bound": "bound"} | dict.fromkeys(_SCORE_MATCHING, "score_matching"))
