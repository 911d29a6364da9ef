"""The Gaussian-Bernoulli restricted Boltzmann machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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
        energy: Tensor = _Energy.apply(z, self.weight, self.mu, self.bias, self.log_var)  # type: ignore[no-untyped-call]
        return energy

    def gradient(self, z: Tensor, create_graph: bool = False) -> Tensor:
        """Return L(z - mu) - LWg, `(..., d)`; differentiable in the parameters if `create_graph`."""
        with torch.set_grad_enabled(create_graph):
            return (z - self.mu - torch.sigmoid(self.hidden(z)) @ self.weight.T) / self.var

    def curvature(self, z: Tensor, v: Tensor) -> Tensor:
        """Return v'(Hessian)v = sum v^2/sigma^2 - sum_j g_j(1 - g_j)(W_j'Lv)^2, `(...)`."""
        scaled = v / self.var
        return (v * scaled).sum(-1) - (self._slope(z) * (scaled @ self.weight).square()).sum(-1)

    def gradient_and_curvature(self, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return both; of fixed points `(B, d)` they share the hidden units, and so do their derivatives."""
        if z.dim() != 2 or v.dim() != 2 or z.requires_grad or v.requires_grad:
            return super().gradient_and_curvature(z, v)
        parts = (z, v, self.weight, self.mu, self.bias, self.log_var)
        gradient, curvature = _Derivatives.apply(*parts)  # type: ignore[no-untyped-call]
        return gradient, curvature

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
    def step_unit(self) -> Tensor:
        """The smallest sigma^2, `()`."""
        return self.var.detach().min()

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


class _Derivatives(torch.autograd.Function):
    """`GRBM.gradient_and_curvature`, whose derivatives in the parameters are in closed form.

    With p = 1/sigma^2, g = sigmoid((zp)W + b) and s = (vp)W these are r = (z - mu - gW')p and c = sum v^2 p -
    sum g(1 - g)s^2. z and v are fixed; second derivatives are refused.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, v: Tensor, weight: Tensor, mu: Tensor, bias: Tensor, log_var: Tensor) -> Any:
        clamped = log_var.clamp(-LOG_VAR_BOUND, LOG_VAR_BOUND)
        p = torch.exp(-clamped)
        zp, vp = z * p, v * p
        g = torch.addmm(bias, zp, weight).sigmoid_()
        s = vp @ weight
        slope = torch.addcmul(g, g, g, value=-1)
        bend = slope * s
        centred = torch.addmm(z - mu, g, weight.T, alpha=-1)
        ctx.save_for_backward(v, weight, p, clamped == log_var, zp, vp, g, s, slope, bend, centred)
        return centred * p, torch.linalg.vecdot(v, vp) - torch.linalg.vecdot(bend, s)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_r: Tensor, of_c: Tensor) -> Any:
        v, weight, p, inside, zp, vp, g, s, slope, bend, centred = ctx.saved_tensors
        of_c = of_c.unsqueeze(-1)
        scaled, bend = of_r * p, bend * of_c
        # of the hidden units' logits (1 - 2g = d slope/dg) and of s, both times -1
        of_logits = torch.addcmul(slope * (scaled @ weight), bend * s, torch.add(1.0, g, alpha=-2))
        shared = torch.addmm(zp.T @ of_logits, vp.T, bend, alpha=2)
        # p enters zp and vp as well, whose part is the sum over hidden units of what W has of them
        of_p = torch.linalg.vecdot(of_r, centred, dim=0) + torch.linalg.vecdot(of_c * v, v, dim=0)
        of_log_var = ((shared * weight).sum(1) - of_p * p) * inside
        return None, None, -torch.addmm(shared, scaled.T, g), -scaled.sum(0), -of_logits.sum(0), of_log_var


class _Energy(torch.autograd.Function):
    """`GRBM.energy` of points `(..., d)`, whose derivatives are in closed form."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: Tensor, mu: Tensor, bias: Tensor, log_var: Tensor) -> Tensor:
        p = torch.exp(-log_var.clamp(-LOG_VAR_BOUND, LOG_VAR_BOUND))
        logits, centred = functional.linear(z * p, weight.T, bias), z - mu
        ctx.save_for_backward(z, weight, mu, bias, log_var)
        ctx.parts = p, logits, centred
        energy: Tensor = 0.5 * torch.linalg.vecdot(centred * p, centred) - functional.softplus(logits).sum(-1)
        return energy

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        z, weight, mu, bias, log_var = ctx.saved_tensors
        p, logits, centred = ctx.parts
        if torch.is_grad_enabled():  # to be differentiated once more
            p = torch.exp(-log_var.clamp(-LOG_VAR_BOUND, LOG_VAR_BOUND))
            logits, centred = (z * p) @ weight + bias, z - mu
        g, slope = torch.sigmoid(logits), slope.unsqueeze(-1)
        back = g @ weight.T
        of_z = (centred - back) * (p * slope)
        if not any(ctx.needs_input_grad[1:]):
            return of_z, None, None, None, None
        d, H = weight.shape
        weighed, of_mu = (g * slope).reshape(-1, H), (centred * slope).reshape(-1, d).sum(0) * -p
        of_weight = -(z * p).reshape(-1, d).T @ weighed
        of_p = ((0.5 * centred.square() - z * back) * slope).reshape(-1, d).sum(0)
        return of_z, of_weight, of_mu, -weighed.sum(0), -of_p * p * (log_var.abs() <= LOG_VAR_BOUND)
