"""What trains a prior, and the bound that trains the rest."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.objectives.bound import negative_bound
    from bench.objectives.score_matching import exact, sliced, sliced_variance_reduced

__all__ = ["exact", "negative_bound", "sliced", "sliced_variance_reduced"]

__getattr__ = members(
    __name__,
    {
        "exact": "score_matching",
        "negative_bound": "bound",
        "sliced": "score_matching",
        "sliced_variance_reduced": "score_matching",
    },
)
