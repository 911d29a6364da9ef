"""The bound that trains encoder and decoder, and what trains a prior beside it.

Score matching fits an energy to samples without its partition function. Paper Algorithm 1, line 5, prints the Hessian
term with the sign that belongs to a log density. For an *energy* E, whose score is -grad E, the Hessian enters with a
minus; as printed, even a one-dimensional Gaussian fit diverges.

The partition function within the bound is estimated by importance sampling from the posterior (paper section 2.1).
Eq. 6 is called unbiased in the paper. It is a ratio of estimates, hence biased: it may train a model and must never
score one.

References:
    Song et al. (2020), Sliced score matching, Eqs. 8 and 9.
    Hyvarinen (2005), Estimation of non-normalized statistical models by score matching.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

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
    divergence, log_likelihood = bound_parts(vae, prior, x, posterior, z)
    return (divergence - log_likelihood).mean()


def bound_parts(vae: VAE, prior: Density, x: Tensor, posterior: Posterior, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return E(z) + E_q[log q(z|x)], whose mean is the KL term but for log Z, and log p(x|z), `(B,)` each, nats.

    The entropy of q is in closed form. At z = mean + std * noise, log q(z|x) has the same gradient, and is noisier.
    """
    return prior.energy(z) - posterior.entropy(), vae.log_likelihood(x, z)


def contrast(prior: Density, positive: Tensor, negative: Tensor) -> Tensor:
    """Return E_q[E(z)] - E_p[E(z)], minus the objective whose gradient is paper Eq. 8.

    Args:
        prior: gives E.
        positive: samples of q, detached, `(B, d)`.
        negative: samples that stand for the prior's, detached, `(n, d)`.
    """
    energy = prior.energy(torch.cat([positive, negative]))
    return energy[: len(positive)].mean() - energy[len(positive) :].mean()


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


def log_mean_exp(x: Tensor) -> Tensor:
    """Return log of the mean of exp(x) over the first axis, `(...)`, for x `(K, ...)`."""
    return torch.logsumexp(x, 0) - math.log(len(x))


def importance_bound(log_likelihood: Tensor, log_ratio: Tensor, log_z: Tensor) -> Tensor:
    """Return Eq. 5: E_q[log p(x|z) - E(z) - log q(z|x)] - ln Z, averaged over items.

    Args:
        log_likelihood: log p(x|z), `(K, B)`.
        log_ratio: -E(z) - log q(z|x), `(K, B)`.
        log_z: ln Z by importance sampling, `(B,)` or a scalar.
    """
    return ((log_likelihood + log_ratio).mean(0) - log_z).mean()


def importance_likelihood(log_likelihood: Tensor, log_ratio: Tensor, log_z: Tensor) -> Tensor:
    """Return Eq. 6: the log of a ratio of two importance-weighted means, averaged over items; shapes as above."""
    return (log_mean_exp(log_likelihood + log_ratio) - log_z).mean()


def sliced(prior: Density, z: Tensor, v: Tensor) -> Tensor:
    """Return mean_z [ -v'(Hessian)v + 1/2 (v'grad E)^2 ]: one random projection an item.

    Args:
        prior: gives E.
        z: samples of the target, detached, `(B, d)`.
        v: directions with E[vv'] = I, `(B, d)`.
    """
    gradient, curvature = prior.gradient_and_curvature(z, v)
    loss: Tensor = (0.5 * torch.linalg.vecdot(gradient, v).square() - curvature).mean()
    return loss


def sliced_variance_reduced(prior: Density, z: Tensor, v: Tensor) -> Tensor:
    """Return mean_z [ -v'(Hessian)v + 1/2 ||grad E||^2 ]: `sliced` with E_v (v'grad E)^2 in closed form."""
    gradient, curvature = prior.gradient_and_curvature(z, v)
    return (0.5 * gradient.square().sum(-1) - curvature).mean()


def exact(prior: Density, z: Tensor) -> Tensor:
    """Return mean_z [ -tr(Hessian) + 1/2 ||grad E||^2 ]: no projection."""
    gradient = prior.gradient(z, create_graph=True)
    return (0.5 * gradient.square().sum(-1) - prior.laplacian(z)).mean()
