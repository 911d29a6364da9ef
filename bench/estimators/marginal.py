"""log p(x) of a VAE with a Gaussian likelihood and at most two latent dimensions, by quadrature over z.

    p(x) = 1/Z int exp(-E(z)) N(x; f(z), s^2 I) dz

on an even grid over z: no bound and no sampling. The integrand is smooth and dies out within the grid's box, so that
the rule converges exponentially once neighbouring nodes are decoded less than about 1.5 s apart. Where s is too small
for one grid to serve all items, each that needs it has its own, fine only where it counts (`Refinement`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.estimators import quadrature
from bench.priors.density import Density
from bench.protocol import Noise
from bench.vae.autoencoder import VAE
from bench.vae.likelihoods import Gaussian

# nodes an axis, by d
FIRST = {1: 257, 2: 129}
FAIR = {1: 1025, 2: 513}
MOST = {1: 4097, 2: 1025}
_SCAN = {1: 65537, 2: 513}  # for the prior's mass to be found, once
_HOPEFUL = 0.1  # nats within which a fair grid should be, to be refined further
TOLERANCE = 1e-3  # nats: the grid is fine enough once halving its spacing changes log p(x) by less, on average
TRIAL = 500  # items on which that is tried
_FALL = 36.0  # nats below its peak at which the prior counts as nothing: e^-36 = 2e-16,
_FARTHER = (100.0, 300.0, 1000.0)  # and where that leaves an item without any z it could come from
_SMALLEST = -80.0  # nats: a term so far below the largest counts for nothing
_BLOCK = 2**14  # nodes at a time
_PAIRS = 2**17  # pairs of nodes and items at a time: 1 MiB, which a CPU's cache holds

# of the grids of single items
STEP = 1.2  # neighbouring nodes of an item's own grid are decoded at most so many s apart
SAFETY = 2.0  # a cell may be decoded to so many times the distance that its own nodes tell
CELL_FALL = 25.0  # nats below an item's largest term at which a cell counts for nothing
COUNTS = 10.0  # nats below it at which a cell no longer decides how fine the grid must be
LEVELS = 48
ITEMS = 250  # at a time,
CELLS = 2**20  # unless they have more cells than so many; an item that has alone is given up
NODES = 2**25  # in all, half a minute; items that are left when so many have been visited are given up as well
_CELL_BLOCK = 2**12  # nodes at a time


@dataclass(frozen=True)
class Lattice:
    """A prior's mass on an even grid over z, and where it is decoded to; all float64.

    Attributes:
        z: the nodes that have any mass, `(M, d)`.
        log_mass: log of p(z) times a cell's volume, `(M,)`.
        means: f(z), `(M, D)`.
        spacing: of neighbouring nodes, `(d,)`.
        log_std: log s.
        log_lost: log of the prior's mass where there are no nodes.
    """

    z: Tensor
    log_mass: Tensor
    means: Tensor
    spacing: Tensor
    log_std: float
    log_lost: float

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x), `(N,)`, nats, for x `(N, D)`."""
        precision, D = math.exp(-2 * self.log_std), x.shape[1]
        x = x.double()
        # ||x - m||^2 multiplied out, so that pairs of items and nodes are one matrix product
        constant = self.log_mass - 0.5 * precision * self.means.square().sum(1)
        parts = []
        for items in x.split(max(1, _PAIRS // _BLOCK)):
            sums = []
            for means, offset in zip(self.means.split(_BLOCK), constant.split(_BLOCK), strict=True):
                exponents = torch.addmm(offset, items, means.T, alpha=precision)
                top = exponents.amax(1, keepdim=True)
                # the exponential takes most of the time; in float32 its relative error is 1e-5 where it counts, and
                # denormal numbers, which are slow, are kept out
                terms = exponents.sub_(top).float().clamp_(min=_SMALLEST).exp_()
                sums.append(top[:, 0] + terms.sum(1).log())
            parts.append(torch.logsumexp(torch.stack(sums), 0))
        squares = 0.5 * precision * x.square().sum(1)
        return torch.cat(parts) - squares - D * (self.log_std + 0.5 * math.log(2 * math.pi))

    def unreached(self, log_prob: Tensor) -> Tensor:
        """Return, given log p(x) `(N,)`, for which items the nodes left out may count for a thousandth of it."""
        most = self.log_lost - self.means.shape[1] * (self.log_std + 0.5 * math.log(2 * math.pi))
        return most - log_prob > math.log(1e-3)

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return independent draws z `(n, d)`: uniform within the cell of a node, which is chosen by its mass."""
        cumulative = self.log_mass.exp().cumsum(0)
        # float32 uniforms have 24 bits, too few for a million nodes; the second adds 24 more
        uniform = noise.uniform(n).double() + noise.uniform(n).double() * 2.0**-24
        index = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True).clamp(max=len(cumulative) - 1)
        return self.z[index] + (noise.uniform(n, self.z.shape[1]).double() - 0.5) * self.spacing


class Marginal:
    """log p(x) of a model.

    Args:
        vae: its decoder gives f and s.
        prior: gives E.
        log_z: log Z; 0 where the prior is normalised.
        anchors: points `(n, d)` near all the prior's mass: samples of it and of what it was fitted to.
        items: x `(N, D)` on which, or on some of which, the common grid's fineness is tried.

    Attributes:
        grid: the common grid.
        settled: whether the common grid is fine enough for the items that were tried.
        imbalance: by how much the log of the prior's mass on the grid differs from 0, where it should be.

    Raises:
        ValueError: d > 2, or the likelihood is not Gaussian.
        NotFinite: the density is not finite, or does not fall off.
    """

    @torch.no_grad()
    def __init__(self, vae: VAE, prior: Density, log_z: float, anchors: Tensor, items: Tensor) -> None:
        if not isinstance(vae.decoder.likelihood, Gaussian):
            raise ValueError("log p(x) by quadrature needs a Gaussian likelihood")
        # copied together: a prior may share the encoder
        self._vae, self._prior = copy.deepcopy((vae, prior))
        self._vae.double()
        self._prior.double()
        self._log_z = log_z
        self._anchors = anchors.double()
        box = self._box()
        d = anchors.shape[1]
        points, tried = FIRST[d], items[:TRIAL]
        self._coarse = self.grid = self._lattice(*box, points, _FALL)
        value, self._change = self.grid.log_prob(tried), math.inf
        # where s is so small that even a fair number of nodes is far from enough, more of them all would be a waste
        while self._change > TOLERANCE and (points < FAIR[d] or (points < MOST[d] and self._change < _HOPEFUL)):
            points = 2 * points - 1
            self._coarse, self.grid = self.grid, self._lattice(*box, points, _FALL)
            refined = self.grid.log_prob(tried)
            value, self._change = refined, float((refined - value).abs().mean())
        self.settled = self._change <= TOLERANCE
        self.imbalance = abs(float(torch.logsumexp(self.grid.log_mass, 0)))

    @torch.no_grad()
    def log_prob(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x), `(N,)`, and by how much the last refinement changed it, `(N,)`, for x `(N, D)`.

        Items so unlikely that they come from z where the prior has next to no mass are right as well. What is out of
        reach even so has an infinite change.
        """
        values = self.grid.log_prob(x)
        changes = torch.full_like(values, self._change)
        if not self.settled:
            changes = (values - self._coarse.log_prob(x)).abs()
            self._refine(self._coarse, x, changes > TOLERANCE, values, changes)
        lattice = self.grid
        for fall in _FARTHER:
            left = lattice.unreached(values)
            if not left.any():
                break
            # the box around mass e^-fall is wide and its grid coarse, and every item's own grid makes up for it
            box = quadrature.support(self._prior.energy, self._anchors, fall)
            lattice = self._lattice(*box, FAIR[len(box[0])], fall)
            self._refine(lattice, x, left, values, changes)
        changes[lattice.unreached(values)] = math.inf
        return values, changes

    def _refine(self, lattice: Lattice, x: Tensor, which: Tensor, values: Tensor, changes: Tensor) -> None:
        """Put log p(x) and its last change by grids of each item's own into `values` and `changes`, for some items."""
        if not which.any():
            return
        refinement = Refinement(self._log_density, self._vae.decoder.mean, lattice.log_std, lattice.z, lattice.spacing)
        refined, changes[which] = refinement.log_prob(x[which])
        values[which] = torch.where(refined.isfinite(), refined, values[which])  # what was given up keeps what it had

    def _log_density(self, z: Tensor) -> Tensor:
        return -self._prior.energy(z) - self._log_z

    def _box(self) -> tuple[Tensor, Tensor]:
        """Return a box around all the prior's mass: its centre and half sides `(d,)`."""
        centre, half = quadrature.support(self._prior.energy, self._anchors)
        scan = self._lattice(centre, half, _SCAN[len(centre)], _FALL)
        low, high = scan.z.min(0).values - scan.spacing, scan.z.max(0).values + scan.spacing
        return (low + high) / 2, (high - low) / 2

    def _lattice(self, centre: Tensor, half: Tensor, points: int, fall: float) -> Lattice:
        """Return the nodes of a box at which the prior is less than `fall` nats below its peak."""
        spacing = 2 * half / (points - 1)
        log_density = quadrature.on_grid(self._prior.energy, centre, half, points).flatten() - self._log_z
        peak = float(log_density.max())
        some = log_density > peak - fall
        z = quadrature.nodes(centre, half, points)[some]
        means = torch.cat([self._vae.decoder.mean(block) for block in z.split(_BLOCK)])
        likelihood = self._vae.decoder.likelihood
        assert isinstance(likelihood, Gaussian)
        # nowhere outside is the density above e^-fall of its peak, and it falls at least as fast as within
        log_lost = peak - fall + float((2 * half).log().sum())
        return Lattice(z, log_density[some] + spacing.log().sum(), means, spacing, float(likelihood.log_std), log_lost)

    @torch.no_grad()
    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return independent draws of the model, `(n, D)` float32: exact but for the grid's spacing."""
        return self.draw(self.grid.sample(n, noise), noise)

    @torch.no_grad()
    def draw(self, z: Tensor, noise: Noise) -> Tensor:
        """Return draws of p(x|z), `(n, D)` float32, for z `(n, d)`."""
        means = self._vae.decoder.mean(z.double())
        return (means + math.exp(self.grid.log_std) * noise.normal(*means.shape)).float()


class Refinement:
    """log of the integral of p(z) N(x; f(z), s^2 I) over z where s is small: a grid of its own for every item.

    A decoder whose noise s is small against the distance at which a grid's neighbouring nodes are decoded leaves
    most items between the nodes. From a grid over all z, those cells are kept for an item that may hold any of its
    mass, and halved, along the axis on which they are decoded farthest, until they are fine enough. At each level
    the cells of an item are part of one even grid, outside of which the integrand has died out, so that the rule
    converges exponentially as it does on the whole grid.

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
        blocks = z.split(_CELL_BLOCK)
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
            (kept,) = torch.nonzero(bound > self._terms(distance, self._log_prior).max() - CELL_FALL, as_tuple=True)
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
            kept = (bound > top[item] - CELL_FALL) & going[item]
            item, z, moved, weighty = item[kept], z[kept], moved[kept], weighty[kept]
        changes[item] = math.inf  # of those that were still to be refined
        return values, changes


def _greatest(values: Tensor, item: Tensor, least: Tensor) -> Tensor:
    """Return the greatest of the values `(P, ...)` of each item, `(N, ...)`, and `least` where it has none."""
    index = item.reshape(-1, *[1] * (values.dim() - 1)).expand_as(values)
    return least.scatter_reduce(0, index, values, "amax")
