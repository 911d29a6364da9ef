"""The Gaussian-Bernoulli restricted Boltzmann machine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.energies.densities import annealing, whitened
from bench.priors.density import Annealing, Figure, Restricted
from bench.protocol import Noise, NotFinite
from bench.samplers.chains import gibbs

LOG_VAR_BOUND = 6.0
SAMPLE_STEPS = 1000


class GRBM(Restricted):
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

    step_cost = 0.05  # of a Gibbs sweep

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
        return whitened.bernoulli(probability, noise).to(probability.dtype)

    def centre(self, h: Tensor) -> Tensor:
        """Return E[z|h] = mu + Wh, `(n, d)`, for h `(n, H)`."""
        return self.mu + h @ self.weight.T

    @torch.no_grad()
    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`: block Gibbs from uniform hidden units, `SAMPLE_STEPS` sweeps."""
        z = self.draw_visible((noise.uniform(n, len(self.bias)) < 0.5).to(self.bias.dtype), noise)
        return gibbs(self, z, SAMPLE_STEPS, noise)

    # ------------------------------------------------------------ what scoring and training ask of it

    @property
    def step_unit(self) -> float:
        """The smallest sigma^2."""
        return float(self.var.detach().min())

    @torch.no_grad()
    def figures(self, z: Tensor) -> dict[str, Figure]:
        """Return sigma's extremes, the spectral norm of LW, and how many hidden units are always on or always off."""
        sigma, on = self.var.sqrt(), torch.sigmoid(self.hidden(z)).mean(0)
        norm = torch.linalg.matrix_norm(self.weight / self.var[:, None], ord=2)
        return {
            "sigma_min": Figure(sigma.min(), min),
            "sigma_max": Figure(sigma.max(), max),
            "coupling_norm": Figure(norm),
            "hidden_saturated": Figure((on > 0.99).sum()),
            "hidden_dead": Figure((on < 0.01).sum()),
        }

    @torch.no_grad()
    def whitened(self) -> whitened.Whitened:
        """Return the same model in whitened coordinates.

        Raises:
            NotFinite: a parameter is not finite.
        """
        weight, mu, bias, var = (part.detach().double() for part in (self.weight, self.mu, self.bias, self.var))
        if not all(bool(part.isfinite().all()) for part in (weight, mu, bias, var)):
            raise NotFinite("log Z cannot be estimated: the GRBM has parameters that are not finite")
        sigma = var.sqrt()
        return whitened.Whitened(weight / sigma[:, None], bias + weight.T @ (mu / var), mu, sigma)

    def exact_log_z(self) -> float | None:
        """Return log Z by enumeration, or None where there are too many hidden units."""
        return whitened.log_z(self.whitened()) if len(self.bias) <= whitened.MAX_HIDDEN else None

    def exact_sample(self, n: int, noise: Noise) -> Tensor | None:
        """Return draws by enumeration, or None where there are too many hidden units."""
        if len(self.bias) > whitened.MAX_HIDDEN:
            return None
        return whitened.sample(self.whitened(), n, noise).to(self.bias.dtype)

    def annealing(self, latents: Tensor, noise_for: Callable[[str], Noise]) -> Annealing:
        """Return paths of Gibbs sweeps from the latents' moments and from its own under uniform hidden units."""
        model = self.whitened()
        bases = {
            "posterior": annealing.Base.from_samples(model, latents.to(model.mu.device)),
            "uniform": annealing.Base.uniform_hidden(model),
        }
        return Annealing(bases, annealing.floor(model, noise_for("log-z/modes")))
