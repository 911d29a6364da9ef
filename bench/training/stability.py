"""How training fares: numbers that tell a healthy run from one that is about to leave the finite numbers."""

from __future__ import annotations

import torch

from bench.priors.density import Density
from bench.priors.grbm import GRBM
from bench.streams import Stream
from bench.vae.autoencoder import Posterior

ACTIVE = 0.01  # variance over x of a dimension's posterior mean above which Burda et al. (2016) call it active


@torch.no_grad()
def measure(prior: Density, posterior: Posterior, z: torch.Tensor) -> dict[str, float]:
    """Return the state of prior and posterior on some items.

    The Stein residuals E_q[grad E] and E_q[z' grad E]/d - 1 are both 0 when the prior is the aggregate posterior; they
    need no samples of the prior, and are blind to modes far from q.

    Args:
        prior: gives E and its gradient.
        posterior: q(z|x) of B items.
        z: a sample of it, `(B, d)`.
    """
    energy, gradient = prior.energy(z), prior.gradient(z)
    spread = posterior.mean.var(0)
    figures = {
        "energy_posterior": energy.mean(),
        "energy_abs_max": energy.abs().max(),
        "energy_gradient_max": gradient.norm(dim=-1).max(),
        "stein_mean": gradient.mean(0).norm() / z.shape[-1] ** 0.5,
        "stein_scale": (z * gradient).sum(-1).mean() / z.shape[-1] - 1,
        "active_units": (spread > ACTIVE).sum(),
        "posterior_log_std_min": posterior.log_std.min(),
        "posterior_log_std_max": posterior.log_std.max(),
        **prior.diagnostics(),
    }
    if isinstance(prior, GRBM):
        on = torch.sigmoid(prior.hidden(z)).mean(0)
        figures |= {"hidden_saturated": (on > 0.99).sum(), "hidden_dead": (on < 0.01).sum()}
    return {name: float(value) for name, value in figures.items()}


@torch.no_grad()
def energy_gap(prior: Density, energy_posterior: float, noise: Stream, n: int = 256) -> dict[str, float]:
    """Return E_p[E] by `n` of the prior's own samples, and E_q[E] - E_p[E]: 0 when the prior has caught up."""
    energy = float(prior.energy(prior.sample(n, noise)).mean())
    return {"energy_prior": energy, "energy_gap": energy_posterior - energy}
