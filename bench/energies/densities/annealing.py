"""Annealing to a GRBM by Gibbs sweeps, and a floor under its log Z: the mass of hidden states that were visited.

Between a Gaussian base N(m, C) at t = 0 and a GRBM at t = 1, in whitened coordinates y (`whitened.py`), the path is

    log p_t(y) = -(1 - t)/2 (y - m)'C^-1(y - m) - t/2 ||y||^2 + sum softplus(t (A'y + c)),

under which h|y ~ Bernoulli(sigmoid(t (A'y + c))) and y|h is normal with precision (1 - t) C^-1 + t I. (The softplus is
of t(.), not t times the softplus: the geometric path has no Gibbs step.) Rotated into the eigenvectors of C^-1, that
precision is diagonal for every t, so a base with a full covariance costs what a diagonal one does. A Gibbs sweep has no
step size to tune.

References:
    Salakhutdinov & Murray (2008), On the quantitative analysis of deep belief networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bench.energies.densities.whitened import Whitened
from bench.priors.density import Chains, Path
from bench.protocol import Noise

RANDOM_STARTS = 128
SWEEPS = 200
_FACTORS = 512  # of a product that has to stay within what float64 can hold


@dataclass(frozen=True)
class State(Chains):
    """Where chains are, with A'y + c, `(n, H)`."""

    logits: Tensor


@dataclass(frozen=True)
class Base(Path[State]):
    """A Gaussian base N(m, C) and the path from it to the model, both in the eigenvectors of C^-1.

    Attributes:
        coupling: Q'A, `(d, H)`.
        offset: c, `(H,)`.
        log_scale: sum log sigma.
    """

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
        return cls(rotation, rotation.T @ mean, precision, rotation.T @ model.coupling, model.offset, model.log_scale)

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
    def log_z(self) -> Tensor:
        """log Z at t = 0, the hidden units' 2^H included; minus that of the model it estimates log (Z/Z_0)."""
        return super().log_z + len(self.offset) * math.log(2) + self.log_scale

    def state(self, u: Tensor) -> State:
        """Return the state of chains at u `(n, d)`."""
        return State(u, torch.addmm(self.offset, u, self.coupling))

    @cached_property
    def _gaussian(self) -> tuple[Tensor, Tensor, Tensor]:
        """(u - m)'C^-1(u - m) - ||u||^2 as q'u^2 - 2 l'u + k: q `(d,)`, l `(d,)` and k `()`."""
        linear = self.precision * self.mean
        return self.precision - 1, linear, self.mean @ linear

    def log_ratio(self, state: State, old: float, new: float) -> Tensor:
        """Return log p_new(u) - log p_old(u), `(n,)`."""
        quadratic, linear, constant = self._gaussian
        gaussian = torch.addmv(constant, state.u.square(), quadratic).addmv_(state.u, linear, alpha=-2)
        return gaussian.mul_(0.5 * (new - old)).add_(softplus_gain(state.logits, old, new))

    def move(self, state: State, t: float, noise: Noise) -> State:
        """Return the state after one Gibbs sweep h|u, u|h at t."""
        h = switched(state.logits, t, noise)
        quadratic, linear, _ = self._gaussian
        precision = (1 - t) * quadratic + 1
        mean = torch.addmm((1 - t) * linear, h, self.coupling.T, alpha=t).div_(precision)
        return self.state(mean.addcmul_(noise.normal(*mean.shape).double(), precision.rsqrt_()))


def switched(logits: Tensor, t: float, noise: Noise) -> Tensor:
    """Return zeros and ones, float64, that are one with probability sigmoid(t * logits) `(n, H)`, to within 2^-24.

    That is how finely a float32 uniform tells probabilities apart, so that theirs are in float32 as well.
    """
    # half a step down, as `bernoulli` goes half a step up: a unit of probability 1e-20 is never on, and 1 - 1e-20 is 1
    probability = logits.float().mul_(t).sigmoid_().sub_(2.0**-25)
    return torch.lt(noise.uniform(*probability.shape), probability, out=probability).double()


def softplus_gain(logits: Tensor, old: float, new: float) -> Tensor:
    """Return the sum of softplus(new * logits) - softplus(old * logits) over the last axis.

    As softplus(x) = max(x, 0) + log(1 + e^-|x|), a row takes one logarithm, that of products.
    """
    size, ones = logits.abs(), torch.ones_like(logits[0])
    gain = torch.mv(logits, ones).addmv_(size, ones).mul_(0.5 * (new - old))  # max(x, 0) = (x + |x|)/2
    for part in size.split(_FACTORS, -1):
        above, below = ((part * -t).exp_().add_(1).prod(-1) for t in (new, old))  # factors from 1 to 2
        gain += above.div_(below).log_()
    return gain


# ---------------------------------------------------------------- a floor


@torch.no_grad()
def floor(model: Whitened, noise: Noise) -> float:
    """Return logsumexp of log p~(h) over the distinct h that a hunt for modes visits: never above log Z.

    The hunt runs Gibbs chains from z = mu + W_j for every j and from random h of every density, climbs from where they
    pass to maxima of p~(h), and visits the neighbours of these. Each mass is in closed form, so that however badly the
    chains mix, an estimate of log Z below the floor is wrong.
    """
    h = starts(model, noise)
    visited = [h, ascend(model, h)]
    y = torch.cat([model.coupling.T, model.draw_visible(h, noise)])
    for _ in range(SWEEPS):
        h = model.draw_hidden(y, noise)
        y = model.draw_visible(h, noise)
        visited.append(h)
    peaks = distinct(torch.cat([visited[1], ascend(model, h)]))
    flips = torch.eye(model.hidden, dtype=torch.float64, device=h.device)
    neighbours = (peaks[:, None] - flips).abs().flatten(0, 1)
    return float(torch.logsumexp(model.log_mass(distinct(torch.cat([*visited, peaks, neighbours]))), 0))


def starts(model: Whitened, noise: Noise) -> Tensor:
    """Return random h `(RANDOM_STARTS, H)`, from all units off to all on: their share is itself uniform."""
    share = noise.uniform(RANDOM_STARTS, 1)
    return (noise.uniform(RANDOM_STARTS, model.hidden) < share).double()


def ascend(model: Whitened, h: Tensor) -> Tensor:
    """Return the maxima of p~(h), `(n, H)`, that are reached from h `(n, H)` by flipping the best unit at a time."""
    gram = model.coupling.T @ model.coupling
    rows = torch.arange(len(h), device=h.device)
    while True:
        sign = 1 - 2 * h
        gain = sign * (model.offset + h @ gram) + 0.5 * gram.diagonal()
        best, unit = gain.max(1)
        if not bool((best > 1e-9).any()):
            return h
        h = h.clone()
        h[rows, unit] += sign[rows, unit] * (best > 1e-9)


def distinct(h: Tensor) -> Tensor:
    """Return the distinct rows of h `(n, H)`."""
    rows: Tensor = torch.unique(h.bool(), dim=0)
    return rows.double()
