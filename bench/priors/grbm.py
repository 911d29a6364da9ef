"""The Gaussian-Bernoulli restricted Boltzmann machine."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.priors.density import Density
from bench.protocol import Noise
from bench.samplers.blocks import gibbs

LOG_VAR_BOUND = 6.0
SAMPLE_STEPS = 1000


class GRBM(Density):
    """E(z) = 1/2 ||(z - mu)/sigma||^2 - sum softplus(W' z/sigma^2 + b): paper Eq. 12, hidden units summed out.

    It is a mixture of 2^H Gaussians N(mu + W h, diag sigma^2). Write L = diag(sigma^-2) and g = sigmoid(W'Lz + b).

    References:
        Liao et al. (2022), Gaussian-Bernoulli RBMs without tears.

    Args:
        visible: d, the dimension of z.
        hidden: H, the number of hidden units.

    Attributes:
        weight: W `(d, H)`, drawn from N(0, 1/(d + H)): at W = 0, a saddle, the model stays a Gaussian.
        mu: `(d,)`; bias: b `(H,)`; log_var: log sigma^2 `(d,)`, clamped to +-6 in use.
    """

    normalised = False

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(visible, hidden) * (visible + hidden) ** -0.5)
        self.mu = nn.Parameter(torch.zeros(visible))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.log_var = nn.Parameter(torch.zeros(visible))

    @property
    def var(self) -> Tensor:
        """sigma^2, `(d,)`."""
        return torch.exp(self.log_var.clamp(-LOG_VAR_BOUND, LOG_VAR_BOUND))

    def hidden(self, z: Tensor) -> Tensor:
        """Return the hidden units' logits W'Lz + b, `(..., H)`, for z `(..., d)`."""
        return (z / self.var) @ self.weight + self.bias

    def energy(self, z: Tensor) -> Tensor:
        """Return E(z), `(...)`, for z `(..., d)`."""
        return 0.5 * ((z - self.mu).square() / self.var).sum(-1) - functional.softplus(self.hidden(z)).sum(-1)

    def gradient(self, z: Tensor, create_graph: bool = False) -> Tensor:
        """Return L(z - mu) - LWg, `(..., d)`; differentiable in the parameters if `create_graph`."""
        with torch.set_grad_enabled(create_graph):
            return (z - self.mu - torch.sigmoid(self.hidden(z)) @ self.weight.T) / self.var

    def curvature(self, z: Tensor, v: Tensor) -> Tensor:
        """Return v'(Hessian)v = sum v^2/sigma^2 - sum_j g_j(1 - g_j)(W_j'Lv)^2, `(...)`."""
        scaled = v / self.var
        return (v * scaled).sum(-1) - (self._slope(z) * (scaled @ self.weight).square()).sum(-1)

    def laplacian(self, z: Tensor) -> Tensor:
        """Return the trace of the Hessian, sum 1/sigma^2 - sum_j g_j(1 - g_j) ||L W_j||^2, `(...)`."""
        norms = (self.weight / self.var[:, None]).square().sum(0)
        return (1 / self.var).sum() - (self._slope(z) * norms).sum(-1)

    def _slope(self, z: Tensor) -> Tensor:
        g = torch.sigmoid(self.hidden(z))
        return g * (1 - g)

    def draw_hidden(self, z: Tensor, noise: Noise) -> Tensor:
        """Return h ~ Bernoulli(g), `(n, H)` zeros and ones, for z `(n, d)`."""
        probability = torch.sigmoid(self.hidden(z))
        return (noise.uniform(*probability.shape) < probability).to(probability.dtype)

    def centre(self, h: Tensor) -> Tensor:
        """Return E[z|h] = mu + Wh, `(n, d)`, for h `(n, H)`."""
        return self.mu + h @ self.weight.T

    def draw_visible(self, h: Tensor, noise: Noise) -> Tensor:
        """Return z ~ N(mu + Wh, diag sigma^2), `(n, d)`, for h `(n, H)`."""
        centre = self.centre(h)
        return centre + self.var.sqrt() * noise.normal(*centre.shape)

    @torch.no_grad()
    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`: block Gibbs from uniform hidden units, `SAMPLE_STEPS` sweeps."""
        z = self.draw_visible((noise.uniform(n, len(self.bias)) < 0.5).to(self.bias.dtype), noise)
        return gibbs(self, z, SAMPLE_STEPS, noise)

    @torch.no_grad()
    def diagnostics(self) -> dict[str, Tensor]:
        """Return sigma's extremes and the spectral norm of LW."""
        sigma = self.var.sqrt()
        norm = torch.linalg.matrix_norm(self.weight / self.var[:, None], ord=2)
        return {"sigma_min": sigma.min(), "sigma_max": sigma.max(), "coupling_norm": norm}
