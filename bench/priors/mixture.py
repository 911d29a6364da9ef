"""Mixture priors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from bench.priors.density import Density
from bench.protocol import Noise, NotFinite
from bench.vae.autoencoder import Posterior

BLOCK = 2**22  # numbers of the (K, n, d) arrays of a mixture with full covariances


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
        inputs: Tensor = self.inputs if self.bounds is None else _Clamped.apply(self.inputs, *self.bounds)  # type: ignore[no-untyped-call]
        return self._encoder[0](inputs)

    def energy(self, z: Tensor) -> Tensor:
        """Return -log p(z), `(...)`, for z `(..., d)`."""
        components = self.components()
        # ||(z - m_k)/s_k||^2 expanded, so that n points against K components are two matrix products, not (n, K, d);
        # in float64, since at small s its terms are many orders greater than what they leave
        mean, log_std, points = components.mean.double(), components.log_std.double(), z.double()
        precision = torch.exp(-2 * log_std)
        linear = mean * precision
        constant = (0.5 * mean * linear + log_std).sum(-1) + 0.5 * z.shape[-1] * math.log(2 * math.pi)
        log_components = points @ linear.T - points.square() @ (0.5 * precision).T - constant
        return math.log(len(self.inputs)) - torch.logsumexp(log_components.to(z.dtype), dim=-1)

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`."""
        components = self.components()
        chosen = noise.integers(len(self.inputs), n)
        picked = Posterior(components.mean[chosen], components.log_std[chosen])
        return picked.sample(noise.normal(*picked.mean.shape))


class _Clamped(torch.autograd.Function):
    """`x.clamp(low, high)`, whose own derivative takes several passes over x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        # the next numbers out: what the derivative below takes for a bound is out of bounds
        bounds = torch.tensor([low, high], dtype=x.dtype)
        ctx.beyond = torch.nextafter(bounds, torch.tensor([-math.inf, math.inf], dtype=x.dtype)).tolist()
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        return torch.ops.aten.hardtanh_backward(slope, *ctx.saved_tensors, *ctx.beyond), None, None


class GaussianMixture(Density):
    """p(z) = sum_k w_k N(z; m_k, C_k) with full covariances: buffers that `set` fills, and that no gradient moves.

    Until then every component is N(0, I).

    Attributes:
        log_weights: log w, `(K,)`.
        means: m, `(K, d)`.
        factors: lower triangular L_k with C_k = L_k L_k', `(K, d, d)`.
        whitening: their inverses, `(K, d, d)`.
    """

    normalised = True

    log_weights: Tensor
    means: Tensor
    factors: Tensor
    whitening: Tensor

    def __init__(self, components: int, latent: int) -> None:
        super().__init__()
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))
        self.register_buffer("means", torch.zeros(components, latent))
        self.register_buffer("factors", torch.eye(latent).repeat(components, 1, 1))
        self.register_buffer("whitening", torch.eye(latent).repeat(components, 1, 1))

    def set(self, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> None:
        """Take on other parameters.

        Args:
            weights: w, `(K,)`, none below 0; they are divided by their sum.
            means: `(K, d)`.
            covariances: C, `(K, d, d)`, symmetric.

        Raises:
            ValueError: a shape is wrong, or there is a weight below 0 or none above it.
            NotFinite: a covariance is not positive definite.
        """
        w, m, c = (torch.as_tensor(np.asarray(array), dtype=torch.float64) for array in (weights, means, covariances))
        for name, new, shape in (
            ("weights", w, self.log_weights.shape),
            ("means", m, self.means.shape),
            ("covariances", c, self.factors.shape),
        ):
            if new.shape != shape:
                raise ValueError(f"the mixture's {name} have the shape {tuple(new.shape)}; it must be {tuple(shape)}")
        if not (bool((w >= 0).all()) and bool(w.sum() > 0)):
            raise ValueError("the mixture's weights must not be below 0, and one must be above it")
        factors, failed = torch.linalg.cholesky_ex(c)
        if bool(failed.any()):
            raise NotFinite(f"the covariance of component {int(failed.argmax())} is not positive definite")
        identity = torch.eye(m.shape[1], dtype=torch.float64).expand_as(factors)
        self.log_weights.copy_((w / w.sum()).log())
        self.means.copy_(m)
        self.factors.copy_(factors)
        self.whitening.copy_(torch.linalg.solve_triangular(factors, identity, upper=False))

    def energy(self, z: Tensor) -> Tensor:
        """Return -log p(z), `(...)`, for z `(..., d)`."""
        parts = z.reshape(-1, z.shape[-1]).split(max(1, BLOCK // self.means.numel()))
        log_scale = self.factors.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * z.shape[-1] * math.log(2 * math.pi)
        constant = (self.log_weights - log_scale)[:, None]
        energies = []
        for points in parts:
            white = torch.einsum("kij,knj->kni", self.whitening, points - self.means[:, None])
            energies.append(-torch.logsumexp(constant - 0.5 * white.square().sum(-1), 0))
        return torch.cat(energies).reshape(z.shape[:-1])

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`."""
        K, d = self.means.shape
        cumulative = self.log_weights.exp().cumsum(0)
        chosen = torch.searchsorted(cumulative, noise.uniform(n) * cumulative[-1], right=True).clamp(max=K - 1)
        z = noise.normal(n, d)
        for k in range(K):
            z[chosen == k] = self.means[k] + z[chosen == k] @ self.factors[k].T
        return z
