"""Markov chains that leave a prior invariant, exactly or nearly."""

from typing import TYPE_CHECKING

from bench.lazy import members

if TYPE_CHECKING:
    from bench.samplers.blocks import gibbs, gibbs_langevin
    from bench.samplers.convergence import effective_size, split_r_hat
    from bench.samplers.gradients import langevin

__all__ = ["effective_size", "gibbs", "gibbs_langevin", "langevin", "split_r_hat"]

__getattr__ = members(
    __name__,
    {
        "effective_size": "convergence",
        "gibbs": "blocks",
        "gibbs_langevin": "blocks",
        "langevin": "gradients",
        "split_r_hat": "convergence",
    },
)
