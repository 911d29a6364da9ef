"""The learned Stein discrepancy.

References:
    Grathwohl et al. (2020), Learning the Stein discrepancy for training and evaluating energy-based models.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.networks import perceptron
from bench.priors.density import Density

MOMENTUM = 0.01


class Critic(nn.Module):
    """f: R^d -> R^d, a smooth perceptron of z whitened by running moments. No batch-norm, no dropout.

    Attributes:
        mean, var: running moments of z, `(d,)`.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, latent: int, hidden: list[int]) -> None:
        super().__init__()
        self.net = perceptron(latent, hidden, latent, "silu")
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("var", torch.ones(latent))

    @torch.no_grad()
    def follow(self, z: Tensor) -> None:
        """Move the running moments towards those of z `(B, d)`; one z alone has no variance, and leaves it as it is."""
        self.mean.lerp_(z.mean(0), MOMENTUM)
        if len(z) > 1:
            self.var.lerp_(z.var(0), MOMENTUM)

    def forward(self, z: Tensor) -> Tensor:
        """Return f(z), `(B, d)`."""
        value: Tensor = self.net((z - self.mean) * self.var.rsqrt())
        return value


def discrepancy(critic: Critic, score: Tensor, z: Tensor, penalty: float, directions: Tensor) -> Tensor:
    """Return E_q[s'f + tr(grad f) - penalty ||f||^2], which the critic maximises; f* = (s - s_q)/(2 penalty).

    Args:
        critic: gives f.
        score: s = -grad E at z, detached, `(B, d)`.
        z: samples of q, detached, `(B, d)`.
        penalty: lambda.
        directions: Rademacher vectors that estimate the trace, `(n, B, d)`.
    """
    z = z.detach().requires_grad_()
    f = critic(z)
    trace = torch.zeros((), device=z.device)
    for v in directions:
        (product,) = torch.autograd.grad((f * v).sum(), z, create_graph=True)
        trace = trace + (product * v).sum(-1).mean() / len(directions)
    value: Tensor = (score * f).sum(-1).mean() + trace - penalty * f.square().sum(-1).mean()
    return value


def model_part(prior: Density, critic: Critic, z: Tensor) -> Tensor:
    """Return E_q[s'f] with f frozen: the part of the discrepancy that depends on the prior, which minimises it."""
    with torch.no_grad():
        f: Tensor = critic(z)
    return -(prior.gradient(z, create_graph=True) * f).sum(-1).mean()
