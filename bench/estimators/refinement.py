"""Quadrature over z where the likelihood is narrow: a grid of its own for every item, fine only where it counts.

A decoder whose noise s is small against the distance at which a grid's neighbouring nodes are decoded leaves most items
between the nodes. From a grid over all z, those cells are kept for an item that may hold any of its mass, and halved
until they are fine enough. At each level the cells of an item are part of one even grid, outside of which the integrand
has died out, so that the rule converges exponentially as it does on the whole grid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

TOLERANCE = 1e-3  # nats: an item's grid is fine enough once halving its cells changes log p(x) by less,
STEP = 1.5  # and neighbouring nodes are decoded at most so many s apart
SAFETY = 2.0  # a cell may be decoded to so many times the distance that its own nodes tell
FALL = 25.0  # nats below an item's largest term at which a cell counts for nothing
LEVELS = 24
ITEMS = 250  # at a time
CELLS = 2**20  # of so many items at most; beyond, the refinement is given up
_BLOCK = 2**12  # nodes at a time


class Refinement:
    """log of the integral of p(z) N(x; f(z), s^2 I) over z, item by item.

    Args:
        log_density: z `(M, d)` -> log p(z), `(M,)`, float64.
        decode: z `(M, d)` -> f(z), `(M, D)`, float64.
        log_std: log s.
        z: the nodes of a grid over all of p's mass, `(M, d)`.
        spacing: of the nodes, `(d,)`.
    """

    def __init__(
        self,
        log_density: Callable[[Tensor], Tensor],
        decode: Callable[[Tensor], Tensor],
        log_std: float,
        z: Tensor,
        spacing: Tensor,
    ) -> None:
        self._log_density, self._decode, self._std = log_density, decode, math.exp(log_std)
        self._z, self._spacing = z, spacing
        self._means, self._log_prior = self._at(z)
        edges = torch.diag(spacing) / 2
        ends = [(self._at(z + edge)[0], self._at(z - edge)[0]) for edge in edges]
        self._reach = sum((high - low).norm(dim=1) for high, low in ends) * SAFETY / 2

    @torch.no_grad()
    def log_prob(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x), `(N,)`, and by how much the last refinement changed it, for x `(N, D)`."""
        found = [self._refined(items) for items in x.double().split(ITEMS)]
        return torch.cat([values for values, _ in found]), torch.cat([changes for _, changes in found])

    def _at(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(z) and log p(z)."""
        blocks = z.split(_BLOCK)
        return torch.cat([self._decode(block) for block in blocks]), torch.cat(
            [self._log_density(block) for block in blocks]
        )

    def _terms(self, distance: Tensor, log_prior: Tensor) -> Tensor:
        """Return log p(z) - distance^2/2 s^2."""
        return log_prior - 0.5 * (distance / self._std).square()

    def _candidates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return pairs of an item, by its index `(P,)`, and a node z `(P, d)` whose cell may hold any of its mass."""
        pairs = []
        for index, item in enumerate(x):
            distance = (self._means - item).norm(dim=1)
            bound = self._terms((distance - self._reach).clamp(min=0), self._log_prior)
            (kept,) = torch.nonzero(bound > self._terms(distance, self._log_prior).max() - FALL, as_tuple=True)
            pairs.append((torch.full_like(kept, index), self._z[kept]))
        return torch.cat([item for item, _ in pairs]), torch.cat([z for _, z in pairs])

    def _refined(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x) and its last change for a few items x `(N, D)`."""
        N, D = x.shape
        d = len(self._spacing)
        corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=d)), dtype=x.dtype, device=x.device)
        scale = -D * (math.log(self._std) + 0.5 * math.log(2 * math.pi))
        values, changes = x.new_full((N,), -math.inf), x.new_full((N,), math.inf)
        item, z = self._candidates(x)
        side = self._spacing
        for _ in range(LEVELS):
            if not 0 < len(item) * len(corners) <= CELLS:
                break
            side = side / 2
            children = (z[:, None] + corners * side / 2).flatten(0, 1)
            item = item.repeat_interleave(len(corners))
            means, log_prior = self._at(children)
            distance = (x[item] - means).norm(dim=1)
            terms = self._terms(distance, log_prior)
            moved = _moved(means, d)  # from one node to the next

            top = x.new_full((N,), -math.inf).scatter_reduce(0, item, terms, "amax")
            total = x.new_zeros(N).index_add(0, item, (terms - top[item]).exp())
            refined = top + total.log() + side.log().sum() + scale
            some = torch.zeros_like(top, dtype=torch.bool).index_fill(0, item, True)
            changes = torch.where(some, (refined - values).abs(), changes)
            values = torch.where(some, refined, values)
            weighty = torch.where(terms > top[item] - 10, moved.amax(1), 0.0)
            step = x.new_zeros(N).scatter_reduce(0, item, weighty, "amax")
            done = (changes < TOLERANCE) & (step < STEP * self._std)

            bound = self._terms((distance - SAFETY / 2 * moved.sum(1)).clamp(min=0), log_prior)
            kept = (bound > top[item] - FALL) & ~done[item]
            item, z = item[kept], children[kept]
        return values, changes


def _moved(means: Tensor, d: int) -> Tensor:
    """Return how far apart the children of a cell are decoded along each axis, `(P 2^d, d)`, for `(P 2^d, D)`."""
    shaped = means.reshape(-1, *[2] * d, means.shape[1])
    along = [shaped.diff(dim=axis).norm(dim=-1).flatten(1).amax(1) for axis in range(1, d + 1)]
    return torch.stack(along, 1).repeat_interleave(2**d, 0)
