"""Markov chains that leave a prior invariant, exactly or nearly."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.samplers.blocks import gibbs, gibbs_langevin
    from bench.samplers.gradients import langevin

__all__ = ["gibbs", "gibbs_langevin", "langevin"]

__getattr__ = members(__name__, {"gibbs": "blocks", "gibbs_langevin": "blocks", "langevin": "gradients"})
