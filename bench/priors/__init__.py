"""Densities over z that a strategy can train."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.priors.density import Density
    from bench.priors.flow import Flow
    from bench.priors.gaussian import FullGaussian, StandardNormal
    from bench.priors.grbm import GRBM
    from bench.priors.mixture import VampPrior
    from bench.priors.neural import Neural

__all__ = ["GRBM", "Density", "Flow", "FullGaussian", "Neural", "StandardNormal", "VampPrior"]

__getattr__ = members(
    __name__,
    {
        "Density": "density",
        "Flow": "flow",
        "FullGaussian": "gaussian",
        "GRBM": "grbm",
        "Neural": "neural",
        "StandardNormal": "gaussian",
        "VampPrior": "mixture",
    },
)
