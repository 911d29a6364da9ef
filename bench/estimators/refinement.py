"""Quadrature over z where the likelihood is narrow: a grid of its own for every item, fine only where it counts.

A decoder whose noise s is small against the distance at which a grid's neighbouring nodes are decoded leaves most items
between the nodes. From a grid over all z, those cells are kept for an item that may hold any of its mass, and halved,
along the axis on which they are decoded farthest, until they are fine enough. At each level the cells of an item are
part of one even grid, outside of which the integrand has died out, so that the rule converges exponentially as it does
on the whole grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

TOLERANCE = 1e-3  # nats: an item's grid is fine enough once halving its cells changes log p(x) by less,
STEP = 1.2  # and neighbouring nodes are decoded at most so many s apart
SAFETY = 2.0  # a cell may be decoded to so many times the distance that its own nodes tell
FALL = 25.0  # nats below an item's largest term at which a cell counts for nothing
COUNTS = 10.0  # nats below it at which a cell no longer decides how fine the grid must be
LEVELS = 48
ITEMS = 250  # at a time,
CELLS = 2**20  # unless they have more cells than so many; an item that has alone is given up
NODES = 2**25  # in all, half a minute; items that are left when so many have been visited are given up as well
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
        self._z, self._spacing, self._visited = z, spacing, 0
        self._means, self._log_prior = self._at(z)
        halves = torch.diag(spacing) / 2
        ends = [(self._at(z - half)[0], self._at(z + half)[0]) for half in halves]
        self._moved = torch.stack([(high - low).norm(dim=1) for low, high in ends], 1)  # across a cell, by axis

    @torch.no_grad()
    def log_prob(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x), `(N,)`, and by how much the last refinement changed it, for x `(N, D)`.

        The change is infinite where the refinement was given up.
        """
        x, self._visited = x.double(), 0
        values, changes = map(torch.cat, zip(*map(self._refined, x.split(ITEMS)), strict=True))
        for index in torch.nonzero(changes == math.inf)[:, 0]:  # too many cells together may be few enough alone
            if self._visited >= NODES:
                break
            (values[index],), (changes[index],) = self._refined(x[index : index + 1])
        return values, changes

    def _at(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(z) and log p(z)."""
        blocks = z.split(_BLOCK)
        means, log_prior = [self._decode(block) for block in blocks], [self._log_density(block) for block in blocks]
        return torch.cat(means), torch.cat(log_prior)

    def _terms(self, distance: Tensor, log_prior: Tensor) -> Tensor:
        """Return log p(z) - distance^2/2 s^2."""
        return log_prior - 0.5 * (distance / self._std).square()

    def _candidates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return pairs of an item and a node whose cell may hold any of its mass: the indices of both, `(P,)`."""
        items, nodes = [], []
        for index, item in enumerate(x):
            distance = (self._means - item).norm(dim=1)
            bound = self._terms((distance - 0.5 * SAFETY * self._moved.sum(1)).clamp(min=0), self._log_prior)
            (kept,) = torch.nonzero(bound > self._terms(distance, self._log_prior).max() - FALL, as_tuple=True)
            items.append(torch.full_like(kept, index))
            nodes.append(kept)
        return torch.cat(items), torch.cat(nodes)

    def _refined(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x) and its last change for a few items x `(N, D)`."""
        N, D = x.shape
        item, node = self._candidates(x)
        scale = -D * (math.log(self._std) + 0.5 * math.log(2 * math.pi))
        values, changes = x.new_full((N,), -math.inf), x.new_full((N,), math.inf)
        side = self._spacing.repeat(N, 1)
        z, moved, weighty = self._z[node], self._moved[node], torch.ones_like(item, dtype=torch.bool)
        for _ in range(LEVELS):
            if not 0 < 2 * len(item) <= CELLS or self._visited >= NODES:
                break
            self._visited += 2 * len(item)
            # each item's cells are halved along the axis on which one that counts is decoded farthest
            axis = _greatest(torch.where(weighty[:, None], moved, 0.0), item, torch.zeros_like(side)).argmax(1)
            side[torch.arange(N), axis] /= 2
            shift = torch.zeros_like(side).scatter(1, axis[:, None], side.gather(1, axis[:, None]) / 2)[item]
            z = torch.stack([z - shift, z + shift], 1).flatten(0, 1)
            item = item.repeat_interleave(2)
            means, log_prior = self._at(z)
            across = (means[1::2] - means[::2]).norm(dim=1).repeat_interleave(2)
            moved = moved.repeat_interleave(2, 0).scatter(1, axis[item][:, None], across[:, None])

            distance = (x[item] - means).norm(dim=1)
            terms = self._terms(distance, log_prior)
            top = _greatest(terms, item, torch.full_like(values, -math.inf))
            total = x.new_zeros(N).index_add(0, item, (terms - top[item]).exp())
            some = torch.zeros_like(top, dtype=torch.bool).index_fill(0, item, True)
            refined = top + total.log() + side.log().sum(1) + scale
            changes = torch.where(some, (refined - values).abs(), changes)
            values = torch.where(some, refined, values)

            weighty = terms > top[item] - COUNTS
            far = (moved.amax(1) > STEP * self._std) & weighty
            coarse = torch.zeros_like(some).index_fill(0, item[far], True)
            going = coarse | (changes > TOLERANCE)
            bound = self._terms((distance - 0.5 * SAFETY * moved.sum(1)).clamp(min=0), log_prior)
            kept = (bound > top[item] - FALL) & going[item]
            item, z, moved, weighty = item[kept], z[kept], moved[kept], weighty[kept]
        changes[item] = math.inf  # of those that were still to be refined
        return values, changes


def _greatest(values: Tensor, item: Tensor, least: Tensor) -> Tensor:
    """Return the greatest of the values `(P, ...)` of each item, `(N, ...)`, and `least` where it has none."""
    index = item.reshape(-1, *[1] * (values.dim() - 1)).expand_as(values)
    return least.scatter_reduce(0, index, values, "amax")
