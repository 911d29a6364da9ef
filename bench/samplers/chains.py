"""Markov chains on a prior: Langevin dynamics of any energy, and block Gibbs where there are hidden units."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.priors.density import Density, Restricted
from bench.protocol import Noise


def accepted(log_ratio: Tensor, noise: Noise) -> Tensor:
    """Return which proposals are taken, `(n,)`: each with probability min(1, exp(log_ratio)), and none where it is NaN.

    Args:
        log_ratio: log of the ratio of Metropolis and Hastings, `(n,)`.
        noise: where draws come from.
    """
    # half a step up, a uniform of 24 bits is never 0, whose logarithm is below any ratio, and never 1
    return torch.log(noise.uniform(*log_ratio.shape).double() + 2.0**-25) < log_ratio


@torch.no_grad()
def langevin(
    prior: Density, z: Tensor, steps: int, step_size: float | Tensor, noise: Noise, adjust: bool
) -> tuple[Tensor, Tensor]:
    """Run z <- z - s grad E(z) + sqrt(2 s) eps for `steps` steps: paper Eq. 13, where s is written sigma.

    Unadjusted, a Gaussian direction of variance sigma^2 comes out inflated by 1/(1 - s/(2 sigma^2)): keep s at or below
    a tenth of the smallest variance, or adjust.

    Args:
        prior: gives E.
        z: where the chains start, `(n, d)`.
        steps: how many steps.
        step_size: s, in the squared units of z.
        noise: where draws come from.
        adjust: accept or reject each step by Metropolis and Hastings, which makes the chain exact.

    Returns:
        The chains' ends `(n, d)`, and the share of accepted steps (1 when not adjusted).
    """
    taken = torch.zeros((), device=z.device)
    gradient, energy = prior.gradient(z), prior.energy(z)
    for _ in range(steps):
        eps = noise.normal(*z.shape)
        proposal = z - step_size * gradient + (2 * step_size) ** 0.5 * eps
        proposal_gradient = prior.gradient(proposal)
        if not adjust:
            z, gradient = proposal, proposal_gradient
            continue
        proposal_energy = prior.energy(proposal)
        back = z - proposal + step_size * proposal_gradient
        log_ratio = energy - proposal_energy + 0.5 * eps.square().sum(-1) - back.square().sum(-1) / (4 * step_size)
        accept = accepted(log_ratio, noise)
        z = torch.where(accept[:, None], proposal, z)
        gradient = torch.where(accept[:, None], proposal_gradient, gradient)
        energy = torch.where(accept, proposal_energy, energy)
        taken += accept.float().mean()
    return z, taken / steps if adjust and steps else torch.ones((), device=z.device)


@torch.no_grad()
def gibbs(prior: Restricted, z: Tensor, steps: int, noise: Noise) -> Tensor:
    """Run `steps` sweeps of block Gibbs, h ~ p(h|z) then z ~ p(z|h), both exact.

    Args:
        prior: gives the conditionals.
        z: where the chains start, `(n, d)`.
        steps: how many sweeps.
        noise: where draws come from.

    Returns:
        The chains' ends, `(n, d)`.
    """
    for _ in range(steps):
        z = prior.draw_visible(prior.draw_hidden(z, noise), noise)
    return z


@torch.no_grad()
def gibbs_langevin(
    prior: Restricted, z: Tensor, steps: int, inner: int, step_size: float, noise: Noise, adjust: bool
) -> tuple[Tensor, Tensor]:
    """Run `steps` sweeps of h ~ p(h|z), then `inner` Langevin steps on z given h: Liao et al. (2022), Algorithm 1.

    Given h, z is N(mu + Wh, diag sigma^2); the steps are preconditioned by sigma^2, so `step_size` is in its units.

    Args:
        prior: gives the conditionals.
        z: where the chains start, `(n, d)`.
        steps: how many sweeps.
        inner: Langevin steps a sweep.
        step_size: in units of sigma^2; unadjusted, the variance of z given h is inflated by 1/(1 - step_size/2).
        noise: where draws come from.
        adjust: accept or reject each step by Metropolis and Hastings, which makes the chain exact.

    Returns:
        The chains' ends `(n, d)`, and the share of accepted steps (1 when not adjusted).
    """
    sigma = prior.var.sqrt()
    taken = torch.zeros((), device=z.device)
    for _ in range(steps):
        centre = prior.centre(prior.draw_hidden(z, noise))
        y = (z - centre) / sigma  # target given h: N(0, I)
        for _ in range(inner):
            eps = noise.normal(*y.shape)
            proposal = (1 - step_size) * y + (2 * step_size) ** 0.5 * eps
            if not adjust:
                y = proposal
                continue
            back = y - (1 - step_size) * proposal
            log_ratio = (
                0.5 * (y.square() - proposal.square()).sum(-1)
                + 0.5 * eps.square().sum(-1)
                - back.square().sum(-1) / (4 * step_size)
            )
            accept = accepted(log_ratio, noise)
            y = torch.where(accept[:, None], proposal, y)
            taken += accept.float().mean()
        z = centre + sigma * y
    moves = steps * inner
    return z, taken / moves if adjust and moves else torch.ones((), device=z.device)
