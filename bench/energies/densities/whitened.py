"""A GRBM in coordinates in which every conditional is simple, in float64; few hidden units are enumerated there.

Enumeration is exact to rounding, and what every other estimate is checked against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.protocol import Noise

MAX_HIDDEN = 20  # of what can be enumerated
_BLOCK = 2**14


@dataclass(frozen=True)
class Whitened:
    """A GRBM in y = (z - mu)/sigma: E(y) = 1/2 ||y||^2 - sum softplus(A'y + c), and log Z = log Z_y + sum log sigma.

    Given h, y ~ N(Ah, I); so the model's covariance of y is I + A Cov(h) A', nowhere below I.

    Attributes:
        coupling: A = W/sigma, `(d, H)`.
        offset: c = b + W'mu/sigma^2, `(H,)`.
        mu: `(d,)`.
        sigma: `(d,)`.
    """

    coupling: Tensor
    offset: Tensor
    mu: Tensor
    sigma: Tensor

    @property
    def visible(self) -> int:
        """d."""
        return self.coupling.shape[0]

    @property
    def hidden(self) -> int:
        """H."""
        return self.coupling.shape[1]

    @property
    def log_scale(self) -> float:
        """Return sum log sigma: what log Z gains on the way back to z."""
        return float(self.sigma.log().sum())

    def whiten(self, z: Tensor) -> Tensor:
        """Return y `(..., d)` for z `(..., d)`."""
        return (z.double() - self.mu) / self.sigma

    def colour(self, y: Tensor) -> Tensor:
        """Return z `(..., d)` for y `(..., d)`."""
        return self.mu + self.sigma * y

    def log_mass(self, h: Tensor) -> Tensor:
        """Return log of the integral of exp(-E(z, h)) over z, `(n,)`, for h `(n, H)`: the unnormalised log p(h).

        It is (d/2) log 2 pi + sum log sigma + c'h + 1/2 ||Ah||^2, and log Z is its logsumexp over all 2^H h.
        """
        gram = self.coupling.T @ self.coupling  # H x H, so that no (n, d) array is made
        quadratic = 0.5 * ((h @ gram) * h).sum(-1)
        return 0.5 * self.visible * math.log(2 * math.pi) + self.log_scale + h @ self.offset + quadratic

    def draw_hidden(self, y: Tensor, noise: Noise) -> Tensor:
        """Return h ~ p(h|y), `(n, H)` zeros and ones, for y `(n, d)`."""
        return bernoulli(torch.sigmoid(y @ self.coupling + self.offset), noise)

    def draw_visible(self, h: Tensor, noise: Noise) -> Tensor:
        """Return y ~ N(Ah, I), `(n, d)`, for h `(n, H)`."""
        return h @ self.coupling.T + noise.normal(len(h), self.visible)


def bernoulli(probability: Tensor, noise: Noise) -> Tensor:
    """Return zeros and ones, float64, that are one with `probability` `(n, H)`."""
    # a float32 uniform is exactly 0 once in 2^24 draws; half a step up, it never turns on a unit of probability 1e-20,
    # and in float64 it does not become 1, which would turn off a unit of probability 1
    uniform = noise.uniform(*probability.shape).double().add_(2.0**-25)
    return torch.lt(uniform, probability, out=uniform)  # into floats, which is quicker than booleans turned into them


# ---------------------------------------------------------------- enumeration of hidden states


def states(index: Tensor, hidden: int) -> Tensor:
    """Return the hidden states `(n, H)`, zeros and ones, that `index` `(n,)` of 0 .. 2^H - 1 counts in binary."""
    return ((index[:, None] >> torch.arange(hidden, device=index.device)) & 1).double()


@torch.no_grad()
def log_masses(model: Whitened) -> Tensor:
    """Return log of the unnormalised p(h), `(2^H,)`, in the order of `states`.

    Raises:
        ValueError: H > 20.
    """
    H, device = model.hidden, model.mu.device
    if H > MAX_HIDDEN:
        raise ValueError(f"a GRBM with {H} hidden units cannot be enumerated; at most {MAX_HIDDEN} can")
    starts = range(0, 2**H, _BLOCK)
    blocks = (states(torch.arange(start, min(start + _BLOCK, 2**H), device=device), H) for start in starts)
    return torch.cat([model.log_mass(block) for block in blocks])


def log_z(model: Whitened) -> float:
    """Return log Z = logsumexp_h log p~(h), over all 2^H hidden states, exact to rounding; H as in `log_masses`."""
    return float(torch.logsumexp(log_masses(model), 0))


@torch.no_grad()
def sample(model: Whitened, n: int, noise: Noise) -> Tensor:
    """Return independent exact draws z `(n, d)`: h by its enumerated probability, then z|h; H as in `log_masses`."""
    cumulative = torch.softmax(log_masses(model), 0).cumsum(0)
    # float32 uniforms have 24 bits, too few for 2^20 states; the second adds 24 more
    uniform = noise.uniform(n).double() + noise.uniform(n).double() * 2.0**-24
    index = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True).clamp(max=len(cumulative) - 1)
    return model.colour(model.draw_visible(states(index, model.hidden), noise))
