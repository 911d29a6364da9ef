"""Samplers that alternate between the hidden and the visible units of a GRBM."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from bench.protocol import Noise


class Restricted(Protocol):
    """Hidden units h that make z normal: z|h ~ N(centre(h), diag var)."""

    @property
    def var(self) -> Tensor:
        """`(d,)`."""

    def centre(self, h: Tensor) -> Tensor:
        """Return E[z|h], `(n, d)`."""

    def draw_hidden(self, z: Tensor, noise: Noise) -> Tensor:
        """Return h given z, `(n, H)`."""

    def draw_visible(self, h: Tensor, noise: Noise) -> Tensor:
        """Return z given h, `(n, d)`."""


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
    accepted = torch.zeros((), device=z.device)
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
            accept = torch.log(noise.uniform(len(y))) < log_ratio
            y = torch.where(accept[:, None], proposal, y)
            accepted += accept.float().mean()
        z = centre + sigma * y
    moves = steps * inner
    return z, accepted / moves if adjust and moves else torch.ones((), device=z.device)
