"""The variational autoencoder: encoder, decoder, likelihood. Its prior lives elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.networks import Headed
from bench.protocol import Likelihood as Word
from bench.protocol import Networks, Noise, UserError
from bench.vae.likelihoods import Likelihood, likelihood


@dataclass(frozen=True)
class Posterior:
    """q(z|x) = N(mean, diag exp(2 log_std)); both `(B, d)`."""

    mean: Tensor
    log_std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + std * noise, `(..., B, d)`: differentiable in both."""
        z: Tensor = self.mean + torch.exp(self.log_std) * noise
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z|x), `(..., B)`, for z `(..., B, d)`."""
        squares = ((z - self.mean) * torch.exp(-self.log_std)).square()
        return -(0.5 * squares + self.log_std).sum(-1) - 0.5 * self.mean.shape[-1] * math.log(2 * math.pi)

    def entropy(self) -> Tensor:
        """Return E_q[-log q(z|x)], `(B,)`."""
        return self.log_std.sum(-1) + 0.5 * self.mean.shape[-1] * (1 + math.log(2 * math.pi))

    def detach(self) -> Posterior:
        """Return the same posterior, cut off from the encoder."""
        return Posterior(self.mean.detach(), self.log_std.detach())


class Encoder(nn.Module):
    """x -> q(z|x): a network whose output is split into mean and log-variance.

    Args:
        net: x `(..., D)` -> `(..., 2d)`.
        std: a standard deviation that replaces the learned one, or None.
    """

    def __init__(self, net: nn.Module, std: float | None = None) -> None:
        super().__init__()
        self.net, self.std = net, std

    def forward(self, x: Tensor) -> Posterior:
        """Return the posteriors of x `(B, D)`."""
        mean, log_var = self.net(x).chunk(2, dim=-1)
        return Posterior(mean, 0.5 * log_var if self.std is None else torch.full_like(mean, math.log(self.std)))


class Decoder(nn.Module):
    """z -> p(x|z): a network and the likelihood that reads its output."""

    def __init__(self, net: nn.Module, likelihood: Likelihood) -> None:
        super().__init__()
        self.net, self.likelihood = net, likelihood

    def forward(self, z: Tensor) -> Tensor:
        """Return the likelihood's parameters `(..., D)` for z `(..., d)`."""
        parameters: Tensor = self.net(z)
        return parameters

    def reader(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return z `(..., B, d)` -> log p(x|z), `(..., B)`, for many z of one x `(B, D)`, in the quickest way there is.

        x and parameters stand still meanwhile: a gradient reaches z alone.
        """
        net = self.net
        if not isinstance(net, Headed):
            return lambda z: self.likelihood.log_prob(x, self(z))
        read = self.likelihood.reader(x, net.last())
        return lambda z: read(net.features(z))

    def mean(self, z: Tensor) -> Tensor:
        """Return E[x|z], `(..., D)`, for z `(..., d)`."""
        return self.likelihood.mean(self(z))


class VAE(nn.Module):
    """Encoder and decoder."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z), `(..., B)`, for x `(B, D)` and z `(..., B, d)`."""
        return self.decoder.likelihood.log_prob(x, self.decoder(z))

    def sample(self, z: Tensor, noise: Noise) -> Tensor:
        """Return x ~ p(x|z), `(..., D)`, for z `(..., d)`."""
        return self.decoder.likelihood.sample(self.decoder(z), noise)


def encoder(networks: Networks, shape: Sequence[int], std: float | None = None) -> Encoder:
    """Return a fresh encoder for items of `shape`, flat as x `(..., D)`, with a fixed `std` if one is given.

    Raises:
        UserError: the networks cannot do such items.
    """
    _check(networks, shape)
    return Encoder(networks.encoder.encoder(shape, 2 * networks.latent), std)


def decoder(networks: Networks, shape: Sequence[int], of: Word) -> Decoder:
    """Return a fresh decoder for items of `shape`, flat as x `(..., D)`, under the likelihood that a data set names.

    Raises:
        UserError: the networks cannot do such items.
    """
    _check(networks, shape)
    return Decoder(networks.decoder.decoder(networks.latent, shape), likelihood(of))


def _check(networks: Networks, shape: Sequence[int]) -> None:
    if reason := networks.refuses(shape):
        raise UserError(reason)
