"""Unnormalised densities over z that a strategy can train."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.energies.densities.grbm import GRBM
    from bench.energies.densities.perceptron import Neural

__all__ = ["GRBM", "Neural"]

__getattr__ = lazy_members(__name__, __file__)
