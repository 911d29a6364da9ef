"""What trains a prior, and the bound that trains the rest."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.objectives.losses import (
        adversary_bound,
        bound_parts,
        classification,
        contrast,
        denoising,
        exact,
        importance_bound,
        importance_likelihood,
        log_mean_exp,
        negative_bound,
        sliced,
        sliced_variance_reduced,
    )
    from bench.objectives.stein import Critic, discrepancy, model_part

__all__ = [
    "Critic",
    "adversary_bound",
    "bound_parts",
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
