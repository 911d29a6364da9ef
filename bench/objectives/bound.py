"""The bound that trains encoder and decoder."""

from __future__ import annotations

from torch import Tensor

from bench.priors.density import Density
from bench.vae.autoencoder import VAE, Posterior


def negative_bound(vae: VAE, prior: Density, x: Tensor, posterior: Posterior, z: Tensor) -> Tensor:
    """Return -mean_x [ log p(x|z) - E(z) - log q(z|x) ]: paper section 2.3 and Algorithm 1, line 4.

    For an unnormalised prior it lacks log Z (paper Eq. 4), on which encoder and decoder do not depend.

    Args:
        vae: gives log p(x|z).
        prior: gives E(z).
        x: prepared items, `(B, D)`.
        posterior: q(z|x) of these items.
        z: its samples, `(B, d)`, differentiable in the encoder.

    Returns:
        A scalar, nats.
    """
    return (prior.energy(z) + posterior.log_prob(z) - vae.log_likelihood(x, z)).mean()
