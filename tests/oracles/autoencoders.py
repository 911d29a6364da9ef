"""VAEs whose likelihood and posterior are in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from bench.protocol import Noise
from bench.vae import VAE, Decoder, Encoder, Gaussian


@dataclass(frozen=True)
class LinearGaussian:
    """z ~ N(0, I) and x|z ~ N(Az + c, s^2 I): log p(x) is normal, and so is p(z|x), with a diagonal covariance.

    Attributes:
        vae: whose q(z|x) is p(z|x) widened; float64.
        weight: A `(D, d)`, of orthogonal columns.
        bias: c `(D,)`.
        std: s.
    """

    vae: VAE
    weight: Tensor
    bias: Tensor
    std: float

    def images(self, n: int, noise: Noise) -> Tensor:
        """Return draws of x from the model, `(n, D)`."""
        D, d = self.weight.shape
        return noise.normal(n, d).double() @ self.weight.T + self.bias + self.std * noise.normal(n, D)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x), `(n,)`, for x `(n, D)`."""
        eye = torch.eye(len(self.bias), dtype=torch.float64)
        covariance = self.weight @ self.weight.T + self.std**2 * eye
        log_prob: Tensor = MultivariateNormal(self.bias, covariance).log_prob(x)
        return log_prob


def linear_gaussian(data: int, latent: int, std: float = 0.5, widened: float = 1.0, seed: int = 0) -> LinearGaussian:
    """Return a linear-Gaussian VAE.

    Args:
        data: D.
        latent: d <= D.
        std: s.
        widened: standard deviations of q(z|x) are so many times those of p(z|x); at 1 it is exact.
        seed: of A and c.
    """
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(data, latent, generator=generator, dtype=torch.float64)).Q
    weight = axes * torch.linspace(0.5, 1.5, latent, dtype=torch.float64)
    bias = torch.randn(data, generator=generator, dtype=torch.float64)
    variance = 1 / (1 + weight.square().sum(0) / std**2)  # of p(z|x)
    to_mean = variance[:, None] * weight.T / std**2
    encoder, decoder = nn.Linear(data, 2 * latent).double(), nn.Linear(latent, data).double()
    encoder.weight.data = torch.cat([to_mean, torch.zeros_like(to_mean)])
    encoder.bias.data = torch.cat([-to_mean @ bias, variance.log() + 2 * math.log(widened)])
    decoder.weight.data, decoder.bias.data = weight, bias
    likelihood = Gaussian().double()
    likelihood.log_std.data.fill_(math.log(std))
    vae = VAE(Encoder(encoder), Decoder(decoder, likelihood)).requires_grad_(False)
    return LinearGaussian(vae, weight, bias, std)
