"""What strategies extend.

A strategy that brings a new prior extends `Strategy` and overrides `prior`; one that brings a new way to train an
energy extends `EnergyStrategy` and overrides `objective`. What trains a VAE first and fits its prior to frozen latents
extends `StagedStrategy`. None imports torch until it is used.
"""

from bench import callable_module
from bench.strategy.energy import EnergyStrategy, Sampler
from bench.strategy.fitted import Encoded, Fitted
from bench.strategy.general import Strategy
from bench.strategy.pixels import PixelDensity
from bench.strategy.staged import StagedStrategy

__all__ = ["Encoded", "EnergyStrategy", "Fitted", "PixelDensity", "Sampler", "StagedStrategy", "Strategy"]

callable_module(__name__)
