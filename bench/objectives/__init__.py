"""What trains a prior, and the bound that trains the rest."""

from typing import TYPE_CHECKING

from bench import lazy_members

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

__getattr__ = lazy_members(__name__, __file__)
