"""Densities over z that a strategy can train."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.priors.density import Density
    from bench.priors.flow import Flow
    from bench.priors.gaussian import FullGaussian, StandardNormal
    from bench.priors.grbm import GRBM
    from bench.priors.mixture import VampPrior
    from bench.priors.neural import Neural

__all__ = ["GRBM", "Density", "Flow", "FullGaussian", "Neural", "StandardNormal", "VampPrior"]

__getattr__ = lazy_members(__name__, __file__)
