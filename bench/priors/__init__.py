"""Densities over z that a strategy can train."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.priors.density import Density, Figure, Restricted
    from bench.priors.flow import Flow
    from bench.priors.gaussian import FullGaussian, StandardNormal
    from bench.priors.mixture import GaussianMixture, VampPrior
    from bench.priors.samples import Samples

__all__ = [
    "Density",
    "Figure",
    "Flow",
    "FullGaussian",
    "GaussianMixture",
    "Restricted",
    "Samples",
    "StandardNormal",
    "VampPrior",
]

__getattr__ = lazy_members(__name__, __file__)
