"""Annealed importance sampling of a GRBM's log Z, with Gibbs transitions: no step size to tune.

Between a Gaussian base N(m, C) at t = 0 and the model at t = 1, in whitened coordinates y (`whitened.py`), the path is

    log p_t(y) = -(1 - t)/2 (y - m)'C^-1(y - m) - t/2 ||y||^2 + sum softplus(t (A'y + c)),

under which h|y ~ Bernoulli(sigmoid(t (A'y + c))) and y|h is normal with precision (1 - t) C^-1 + t I. (The softplus is
of t(.), not t times the softplus: the geometric path has no Gibbs step.) Rotated into the eigenvectors of C^-1, that
precision is diagonal for every t, so a base with a full covariance costs what a diagonal one does.

References:
    Neal (2001), Annealed importance sampling.
    Salakhutdinov & Murray (2008), On the quantitative analysis of deep belief networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench.estimators.whitened import Whitened, bernoulli
from bench.protocol import Noise


@dataclass(frozen=True)
class Base:
    """A Gaussian base N(m, C) and the model, both in the eigenvectors of C^-1.

    Attributes:
        rotation: eigenvectors Q in columns, `(d, d)`: u = Q'y.
        precision: eigenvalues of C^-1, `(d,)`.
        mean: Q'm, `(d,)`.
        coupling: Q'A, `(d, H)`.
        offset: c, `(H,)`.
        log_scale: sum log sigma.
    """

    rotation: Tensor
    precision: Tensor
    mean: Tensor
    coupling: Tensor
    offset: Tensor
    log_scale: float

    @classmethod
    def of(cls, model: Whitened, mean: Tensor, covariance: Tensor) -> Base:
        """Return the base N(mean `(d,)`, covariance `(d, d)`), in whitened coordinates.

        Directions narrower than the model can be (variance 1: see `Whitened`) are widened to it; this also makes the
        moments of few or degenerate samples usable.
        """
        variance, rotation = torch.linalg.eigh(covariance)
        precision = 1 / variance.clamp(min=1)
        return cls(rotation, precision, rotation.T @ mean, rotation.T @ model.coupling, model.offset, model.log_scale)

    @classmethod
    def from_samples(cls, model: Whitened, z: Tensor) -> Base:
        """Return the base with the mean and full covariance of z `(M, d)`."""
        y = model.whiten(z)
        centred = y - y.mean(0)
        return cls.of(model, y.mean(0), centred.T @ centred / max(len(y) - 1, 1))

    @classmethod
    def uniform_hidden(cls, model: Whitened) -> Base:
        """Return the model's own moments under uniform h: N(mu + W1/2, Sigma + WW'/4). It depends on no data."""
        A = model.coupling
        eye = torch.eye(model.visible, dtype=A.dtype, device=A.device)
        return cls.of(model, 0.5 * A.sum(1), eye + 0.25 * A @ A.T)

    @property
    def log_z(self) -> float:
        """log Z at t = 0, the hidden units' 2^H included; minus that of the model it estimates log (Z/Z_0)."""
        d, H = self.coupling.shape
        gaussian = 0.5 * d * math.log(2 * math.pi) - 0.5 * float(self.precision.log().sum())
        return gaussian + H * math.log(2) + self.log_scale

    def logits(self, u: Tensor) -> Tensor:
        """Return A'y + c, `(n, H)`, for rotated u `(n, d)`."""
        return u @ self.coupling + self.offset

    def log_ratio(self, u: Tensor, logits: Tensor, old: float, new: float) -> Tensor:
        """Return log p_new(u) - log p_old(u), `(n,)`."""
        gaussian = (u - self.mean).square() @ self.precision - u.square().sum(-1)
        hidden = functional.softplus(new * logits) - functional.softplus(old * logits)
        return 0.5 * (new - old) * gaussian + hidden.sum(-1)

    def move(self, logits: Tensor, t: float, noise: Noise) -> Tensor:
        """Return u after one Gibbs sweep h|u, u|h at t, `(n, d)`, from the logits `(n, H)` of where it was."""
        h = bernoulli(torch.sigmoid(t * logits), noise)
        precision = (1 - t) * self.precision + t
        linear = (1 - t) * self.precision * self.mean + t * (h @ self.coupling.T)
        return linear / precision + precision.rsqrt() * noise.normal(*linear.shape)

    def draw(self, n: int, noise: Noise) -> Tensor:
        """Return u ~ the base, `(n, d)`."""
        return self.mean + self.precision.rsqrt() * noise.normal(n, len(self.mean))


@torch.no_grad()
def forward(
    base: Base, temperatures: int, chains: int, noise: Noise, progress: Callable[[int], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Anneal from the base to the model: first the weight, then the move.

    Args:
        base: where chains start.
        temperatures: steps of t from 0 to 1.
        chains: independent chains.
        noise: where draws come from.
        progress: told after every step how many chains took it.

    Returns:
        log weights `(chains,)`, the mean of whose exponentials is Z in expectation; and where the chains end,
        y `(chains, d)`.
    """
    u = base.draw(chains, noise)
    log_weight = torch.full((chains,), base.log_z, dtype=u.dtype, device=u.device)
    for step in range(1, temperatures + 1):
        logits = base.logits(u)
        log_weight += base.log_ratio(u, logits, (step - 1) / temperatures, step / temperatures)
        u = base.move(logits, step / temperatures, noise)
        if progress is not None:
            progress(chains)
    return log_weight, u @ base.rotation.T


@torch.no_grad()
def reverse(
    base: Base, temperatures: int, y: Tensor, noise: Noise, progress: Callable[[int], None] | None = None
) -> Tensor:
    """Anneal from the model to the base: first the move, then the weight.

    Args:
        base: where chains end.
        temperatures: steps of t from 1 to 0.
        y: where chains start, `(chains, d)`. Only with exact draws of the model does it bound log Z from above in
            expectation; if they miss a mode, the result agrees with a forward run that missed it too.
        noise: where draws come from.
        progress: told after every step how many chains took it.

    Returns:
        log weights `(chains,)`, the mean of whose exponentials is 1/Z in expectation.
    """
    u = y @ base.rotation
    log_weight = torch.full((len(u),), -base.log_z, dtype=u.dtype, device=u.device)
    for step in range(temperatures, 0, -1):
        u = base.move(base.logits(u), step / temperatures, noise)
        log_weight += base.log_ratio(u, base.logits(u), step / temperatures, (step - 1) / temperatures)
        if progress is not None:
            progress(len(u))
    return log_weight
