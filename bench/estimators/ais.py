"""Annealed importance sampling: of any path between a density of known log Z and one of unknown, and of a GRBM's.

Between a Gaussian base N(m, C) at t = 0 and a GRBM at t = 1, in whitened coordinates y (`whitened.py`), the path is

    log p_t(y) = -(1 - t)/2 (y - m)'C^-1(y - m) - t/2 ||y||^2 + sum softplus(t (A'y + c)),

under which h|y ~ Bernoulli(sigmoid(t (A'y + c))) and y|h is normal with precision (1 - t) C^-1 + t I. (The softplus is
of t(.), not t times the softplus: the geometric path has no Gibbs step.) Rotated into the eigenvectors of C^-1, that
precision is diagonal for every t, so a base with a full covariance costs what a diagonal one does. A Gibbs sweep has no
step size to tune; energies without closed conditionals are moved as in `hmc.py`.

References:
    Neal (2001), Annealed importance sampling.
    Salakhutdinov & Murray (2008), On the quantitative analysis of deep belief networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from bench.estimators.whitened import Whitened, bernoulli
from bench.protocol import Noise

State = TypeVar("State")

_FACTORS = 512  # of a product that has to stay within what float64 can hold


class Path(Protocol[State]):
    """Unnormalised densities p_t, 0 <= t <= 1, and moves that leave them invariant.

    A state is where chains are, `(n, d)`, with whatever both weights and moves need to know of it.
    """

    @property
    def log_z(self) -> float | Tensor:
        """log Z at t = 0; `(n,)` where every chain has its own."""

    def begin(self, n: int, noise: Noise) -> State:
        """Return n independent draws of p_0."""

    def at(self, y: Tensor) -> State:
        """Return the state of chains at y `(n, d)`."""

    def ends(self, state: State) -> Tensor:
        """Return where chains are, `(n, d)`, in coordinates that all paths to one model share."""

    def log_ratio(self, state: State, old: float, new: float) -> Tensor:
        """Return log p_new - log p_old where chains are, `(n,)`, float64."""

    def move(self, state: State, t: float, noise: Noise) -> State:
        """Return where chains are after a transition that leaves p_t invariant."""


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

    def draw(self, n: int, noise: Noise) -> Tensor:
        """Return u ~ the base, `(n, d)`."""
        return self.mean + self.precision.rsqrt() * noise.normal(n, len(self.mean))

    def begin(self, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return u ~ the base `(n, d)` and their logits `(n, H)`."""
        u = self.draw(n, noise)
        return u, self.logits(u)

    def at(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return u `(n, d)` and logits `(n, H)` of y `(n, d)`."""
        u = y @ self.rotation
        return u, self.logits(u)

    def ends(self, state: tuple[Tensor, Tensor]) -> Tensor:
        """Return y, `(n, d)`."""
        return state[0] @ self.rotation.T

    def log_ratio(self, state: tuple[Tensor, Tensor], old: float, new: float) -> Tensor:
        """Return log p_new(u) - log p_old(u), `(n,)`."""
        u, logits = state
        gaussian = (u - self.mean).square() @ self.precision - u.square().sum(-1)
        return 0.5 * (new - old) * gaussian + softplus_gain(logits, old, new)

    def move(self, state: tuple[Tensor, Tensor], t: float, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return the state after one Gibbs sweep h|u, u|h at t."""
        h = bernoulli(torch.sigmoid(t * state[1]), noise)
        precision = (1 - t) * self.precision + t
        linear = (1 - t) * self.precision * self.mean + t * (h @ self.coupling.T)
        u = linear / precision + precision.rsqrt() * noise.normal(*linear.shape)
        return u, self.logits(u)


def softplus_gain(logits: Tensor, old: float, new: float) -> Tensor:
    """Return the sum of softplus(new * logits) - softplus(old * logits) over the last axis.

    As softplus(x) = max(x, 0) - log sigmoid(|x|), a row takes one logarithm, that of a product; it takes half the time.
    """
    size = logits.abs()
    ratio = torch.sigmoid(old * size) / torch.sigmoid(new * size)  # from 1/2 to 2
    logs = [part.prod(-1).log() for part in ratio.split(_FACTORS, -1)]
    return (new - old) * logits.clamp(min=0).sum(-1) + torch.stack(logs).sum(0)


@torch.no_grad()
def forward(
    path: Path[State], temperatures: int, chains: int, noise: Noise, progress: Callable[[int], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Anneal from the base to the model: first the weight, then the move.

    Args:
        path: from where chains start to where they end.
        temperatures: steps of t from 0 to 1.
        chains: independent chains.
        noise: where draws come from.
        progress: told after every step how many chains took it.

    Returns:
        log weights `(chains,)`, the mean of whose exponentials is Z in expectation; and where the chains end,
        y `(chains, d)`.
    """
    state = path.begin(chains, noise)
    log_weight = torch.zeros(chains, dtype=torch.float64, device=noise.device) + path.log_z
    for step in range(1, temperatures + 1):
        log_weight += path.log_ratio(state, (step - 1) / temperatures, step / temperatures)
        state = path.move(state, step / temperatures, noise)
        if progress is not None:
            progress(chains)
    return log_weight, path.ends(state)


@torch.no_grad()
def reverse(
    path: Path[State], temperatures: int, y: Tensor, noise: Noise, progress: Callable[[int], None] | None = None
) -> Tensor:
    """Anneal from the model to the base: first the move, then the weight.

    Args:
        path: from where chains end to where they start.
        temperatures: steps of t from 1 to 0.
        y: where chains start, `(chains, d)`. Only with exact draws of the model does it bound log Z from above in
            expectation; if they miss a mode, the result agrees with a forward run that missed it too.
        noise: where draws come from.
        progress: told after every step how many chains took it.

    Returns:
        log weights `(chains,)`, the mean of whose exponentials is 1/Z in expectation.
    """
    state = path.at(y)
    log_weight = torch.zeros(len(y), dtype=torch.float64, device=noise.device) - path.log_z
    for step in range(temperatures, 0, -1):
        state = path.move(state, step / temperatures, noise)
        log_weight += path.log_ratio(state, step / temperatures, (step - 1) / temperatures)
        if progress is not None:
            progress(len(y))
    return log_weight
