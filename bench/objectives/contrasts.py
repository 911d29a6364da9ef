"""Objectives that push an energy down on data and up on the model's own (or somebody else's) samples."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from bench.priors.density import Density


def contrast(prior: Density, positive: Tensor, negative: Tensor) -> Tensor:
    """Return E_q[E(z)] - E_p[E(z)], minus the objective whose gradient is paper Eq. 8.

    Args:
        prior: gives E.
        positive: samples of q, detached, `(B, d)`.
        negative: samples that stand for the prior's, detached, `(n, d)`.
    """
    return prior.energy(positive).mean() - prior.energy(negative).mean()


def adversary_bound(prior: Density, z: Tensor, log_prob: Tensor) -> Tensor:
    """Return E_zeta[-E(z)] + H(q_zeta) <= log Z (paper Eq. 9), which the adversary maximises.

    Paper Algorithm 2, line 3, prints -H: with that sign the adversary collapses. Eqs. 9 and 10 have it right.

    Args:
        prior: gives E.
        z: samples of q_zeta, `(n, d)`, differentiable in zeta.
        log_prob: log q_zeta(z), `(n,)`.
    """
    return -(prior.energy(z) + log_prob).mean()


def denoising(prior: Density, z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return 1/2 E ||grad E(z) - (z - mean)/std^2||^2: regression of the score on that of q(z|x) (Vincent, 2011).

    The paper rules it out (section 2.3), since it fits a corrupted density. But the aggregate posterior *is* Gaussian
    noise around the means, so its exact score is the optimum, by first derivatives only.

    Args:
        prior: gives grad E.
        z: samples of q(z|x), detached, `(B, d)`.
        mean: of q(z|x), detached, `(B, d)`.
        log_std: of q(z|x), detached, `(B, d)`.
    """
    target = (z - mean) * (-2 * log_std).exp()
    return 0.5 * (prior.gradient(z, create_graph=True) - target).square().sum(-1).mean()


def classification(real: Tensor, noise: Tensor) -> Tensor:
    """Return the cross-entropy of telling samples of q from noise, by their logits `(B,)` and `(n,)`.

    At its minimum over all functions the logit is log q(z) - log noise(z).
    """
    return functional.softplus(-real).mean() + functional.softplus(noise).mean()
