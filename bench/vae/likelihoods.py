"""Likelihoods p(x|z): what a decoder's output means."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.protocol import Noise


class Bernoulli(nn.Module):
    """Independent binary pixels; the decoder gives logits."""

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return log p(x|z).

        Args:
            x: zeros and ones, `(B, D)`.
            parameters: logits, `(..., B, D)`.

        Returns:
            `(..., B)`, nats.
        """
        return (x * parameters).sum(-1) - functional.softplus(parameters).sum(-1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return E[x|z], the shape of `parameters`."""
        return torch.sigmoid(parameters)

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Return x ~ p(x|z), zeros and ones in the shape of `parameters`."""
        # half a step up, a uniform of 24 bits is never 0, which would turn on a pixel of probability 1e-20
        uniform = noise.uniform(*parameters.shape).double() + 2.0**-25
        return (uniform < torch.sigmoid(parameters.double())).to(parameters.dtype)


class Gaussian(nn.Module):
    """Independent normal coordinates around the decoder's output, with one learned log standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(()))

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return log p(x|z), `(..., B)`, nats, for x `(B, D)` and means `(..., B, D)`."""
        squares = ((x - parameters) * torch.exp(-self.log_std)).square().sum(-1)
        return -0.5 * squares - x.shape[-1] * (self.log_std + 0.5 * math.log(2 * math.pi))

    def mean(self, parameters: Tensor) -> Tensor:
        """Return E[x|z]: `parameters` themselves."""
        return parameters

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Return x ~ p(x|z) in the shape of the means `parameters`."""
        return parameters + torch.exp(self.log_std) * noise.normal(*parameters.shape)


LIKELIHOODS: dict[str, type[Bernoulli] | type[Gaussian]] = {"bernoulli": Bernoulli, "gaussian": Gaussian}
