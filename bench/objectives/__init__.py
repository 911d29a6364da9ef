"""What trains a prior, and the bound that trains the rest."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.objectives.bound import negative_bound
    from bench.objectives.contrasts import adversary_bound, classification, contrast, denoising
    from bench.objectives.partition import importance_bound, importance_likelihood, log_mean_exp
    from bench.objectives.score_matching import exact, sliced, sliced_variance_reduced
    from bench.objectives.stein import Critic, discrepancy, model_part

__all__ = [
    "Critic",
    "adversary_bound",
    "classification",
    "contrast",
    "denoising",
    "discrepancy",
    "exact",
    "importance_bound",
    "importance_likelihood",
    "log_mean_exp",
    "model_part",
    "negative_bound",
    "sliced",
    "sliced_variance_reduced",
]

__getattr__ = members(
    __name__,
    {
        "Critic": "stein",
        "adversary_bound": "contrasts",
        "classification": "contrasts",
        "contrast": "contrasts",
        "denoising": "contrasts",
        "discrepancy": "stein",
        "exact": "score_matching",
        "importance_bound": "partition",
        "importance_likelihood": "partition",
        "log_mean_exp": "partition",
        "model_part": "stein",
        "negative_bound": "bound",
        "sliced": "score_matching",
        "sliced_variance_reduced": "score_matching",
    },
)
