"""Langevin dynamics on an energy."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from bench.protocol import Noise


class Differentiable(Protocol):
    """A density by its energy and the energy's gradient."""

    def energy(self, z: Tensor) -> Tensor:
        """Return E(z), `(n,)`, for z `(n, d)`."""

    def gradient(self, z: Tensor) -> Tensor:
        """Return the gradient of E at z, `(n, d)`."""


@torch.no_grad()
def langevin(
    prior: Differentiable, z: Tensor, steps: int, step_size: float, noise: Noise, adjust: bool
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
    accepted = torch.zeros((), device=z.device)
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
        accept = torch.log(noise.uniform(len(z))) < log_ratio
        z = torch.where(accept[:, None], proposal, z)
        gradient = torch.where(accept[:, None], proposal_gradient, gradient)
        energy = torch.where(accept, proposal_energy, energy)
        accepted += accept.float().mean()
    return z, accepted / steps if adjust and steps else torch.ones((), device=z.device)
