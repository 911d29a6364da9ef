"""Markov chains that leave a prior invariant, exactly or nearly."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.samplers.chains import gibbs, gibbs_langevin, langevin
    from bench.samplers.convergence import effective_size, split_r_hat

__all__ = ["effective_size", "gibbs", "gibbs_langevin", "langevin", "split_r_hat"]

__getattr__ = lazy_members(__name__, __file__)
