"""Mixture priors."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.priors.density import Density
from bench.protocol import Noise
from bench.vae.autoencoder import Posterior


class VampPrior(Density):
    """p(z) = 1/K sum_k q(z|u_k): a mixture of the encoder's posteriors at K learned pseudo-inputs.

    References:
        Tomczak & Welling (2018), VAE with a VampPrior, section 2.

    Args:
        encoder: x `(K, D)` -> q(z|x). Its parameters stay its own; gradients reach them through u.
        inputs: initial pseudo-inputs, `(K, D)`.
        bounds: range of the data, to which pseudo-inputs are clamped in use; None for unbounded data.
    """

    normalised = True

    def __init__(
        self, encoder: Callable[[Tensor], Posterior], inputs: Tensor, bounds: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        self.inputs = nn.Parameter(inputs.clone())
        self.bounds = bounds
        self._encoder = (encoder,)  # in a tuple, lest the encoder's parameters count as the prior's

    def components(self) -> Posterior:
        """Return the K components, mean and log_std `(K, d)`."""
        inputs = self.inputs if self.bounds is None else self.inputs.clamp(*self.bounds)
        return self._encoder[0](inputs)

    def energy(self, z: Tensor) -> Tensor:
        """Return -log p(z), `(...)`, for z `(..., d)`."""
        components = self.components()
        # ||(z - m_k)/s_k||^2 expanded, so that n points against K components are two matrix products, not (n, K, d)
        precision = torch.exp(-2 * components.log_std)
        linear = components.mean * precision
        constant = (0.5 * components.mean * linear + components.log_std).sum(-1)
        squares = 0.5 * z.square() @ precision.T - z @ linear.T
        log_components = -squares - constant - 0.5 * z.shape[-1] * math.log(2 * math.pi)
        return math.log(len(self.inputs)) - torch.logsumexp(log_components, dim=-1)

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`."""
        components = self.components()
        chosen = noise.integers(len(self.inputs), n)
        picked = Posterior(components.mean[chosen], components.log_std[chosen])
        return picked.sample(noise.normal(*picked.mean.shape))
