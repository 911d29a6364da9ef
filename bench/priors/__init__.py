"""Densities over z that a strategy can train."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.priors.density import Density
    from bench.priors.gaussian import StandardNormal
    from bench.priors.grbm import GRBM
    from bench.priors.mixture import VampPrior

__all__ = ["GRBM", "Density", "StandardNormal", "VampPrior"]

__getattr__ = members(
    __name__, {"GRBM": "grbm", "Density": "density", "StandardNormal": "gaussian", "VampPrior": "mixture"}
)
