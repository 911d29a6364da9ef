"""log p(x) of a VAE with a Gaussian likelihood and at most two latent dimensions, by quadrature over z.

    p(x) = 1/Z int exp(-E(z)) N(x; f(z), s^2 I) dz

on an even grid over z: no bound and no sampling. The integrand is smooth and dies out within the grid's box, so that
the rule converges exponentially once neighbouring nodes are decoded less than about 1.5 s apart.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.estimators import exact
from bench.priors.density import Density
from bench.protocol import Noise
from bench.vae.autoencoder import VAE
from bench.vae.likelihoods import Gaussian

POINTS = {1: (257, 65537), 2: (129, 1025)}  # nodes an axis, at first and at most
_SCAN = {1: 65537, 2: 513}  # nodes an axis on which the prior's mass is looked for
TOLERANCE = 1e-3  # nats: the grid is fine enough once halving its spacing changes the mean of log p(x) by less
TRIAL = 500  # items on which that is tried
_FALL = 36.0  # nats below its peak at which the prior counts as nothing: e^-36 = 2e-16
_SMALLEST = -80.0  # nats: a term so far below the largest counts for nothing
_BLOCK = 2**14  # nodes at a time
_PAIRS = 2**17  # pairs of nodes and items at a time: 1 MiB, which a CPU's cache holds


@dataclass(frozen=True)
class Lattice:
    """A prior's mass on an even grid over z, and where it is decoded to; all float64.

    Attributes:
        z: the nodes that have any mass, `(M, d)`.
        log_mass: log of p(z) times a cell's volume, `(M,)`.
        means: f(z), `(M, D)`.
        spacing: of neighbouring nodes, `(d,)`.
        log_std: log s.
        lost: the prior's mass where there are no nodes.
    """

    z: Tensor
    log_mass: Tensor
    means: Tensor
    spacing: Tensor
    log_std: float
    lost: float

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
        """Return for which items, `(N,)`, the nodes that were left out may count for more than a thousandth of p(x).

        Args:
            log_prob: log p(x), `(N,)`.
        """
        D = self.means.shape[1]
        most = math.log(self.lost + 1e-300) - D * (self.log_std + 0.5 * math.log(2 * math.pi))
        return most - log_prob > math.log(1e-3)

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return independent draws z `(n, d)`: uniform within the cell of a node, which is chosen by its mass."""
        cumulative = self.log_mass.exp().cumsum(0)
        # float32 uniforms have 24 bits, too few for a million nodes; the second adds 24 more
        uniform = noise.uniform(n).double() + noise.uniform(n).double() * 2.0**-24
        index = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True).clamp(max=len(cumulative) - 1)
        return self.z[index] + (noise.uniform(n, self.z.shape[1]).double() - 0.5) * self.spacing


class Marginal:
    """log p(x), with the grid refined until it stands still.

    Args:
        vae: its decoder gives f and s.
        prior: gives E.
        log_z: log Z; 0 where the prior is normalised.
        anchors: points `(n, d)` near all the prior's mass: samples of it and of what it was fitted to.
        items: x `(N, D)` on which, or on some of which, the grid's fineness is tried.

    Attributes:
        fine: the grid.
        coarse: one with twice the spacing, for pictures.
        error: mean over the items tried of by how much the last refinement changed log p(x); or by how much the log of
            the prior's mass on the grid differs from 0, if that is more.

    Raises:
        ValueError: d > 2, or the likelihood is not Gaussian.
        ArithmeticError: the density is not finite, or does not fall off.
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
        self._centre, self._half, self._lost = self._box(anchors.double())
        points, most = POINTS[anchors.shape[1]]
        tried = items[:TRIAL]
        self.coarse = self.fine = self._lattice(points)
        value, self.error = self.fine.log_prob(tried), math.inf
        while self.error > TOLERANCE and points < most:
            points = 2 * points - 1
            self.coarse, self.fine = self.fine, self._lattice(points)
            refined = self.fine.log_prob(tried)
            change = float((refined - value).abs().mean())
            value, self.error = refined, max(change, abs(float(torch.logsumexp(self.fine.log_mass, 0))))

    def _box(self, anchors: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return a box around all the prior's mass, its centre and half sides `(d,)`, and the mass left out."""
        centre, half = exact.support(self._prior.energy, anchors)
        points = _SCAN[len(centre)]
        log_mass = self._log_mass(centre, half, points)
        some = log_mass > log_mass.max() - _FALL
        z, margin = exact.nodes(centre, half, points)[some], 2 * half / (points - 1)
        low, high = z.min(0).values - margin, z.max(0).values + margin
        return (low + high) / 2, (high - low) / 2, float(log_mass[~some].exp().sum())

    def _log_mass(self, centre: Tensor, half: Tensor, points: int) -> Tensor:
        """Return log of p(z) times a cell's volume at the nodes of a grid, `(points^d,)`."""
        log_density = exact.on_grid(self._prior.energy, centre, half, points).flatten() - self._log_z
        return log_density + (2 * half / (points - 1)).log().sum()

    def _lattice(self, points: int) -> Lattice:
        log_mass = self._log_mass(self._centre, self._half, points)
        some = log_mass > log_mass.max() - _FALL
        z = exact.nodes(self._centre, self._half, points)[some]
        means = torch.cat([self._vae.decoder.mean(block) for block in z.split(_BLOCK)])
        likelihood = self._vae.decoder.likelihood
        assert isinstance(likelihood, Gaussian)
        spacing = 2 * self._half / (points - 1)
        return Lattice(z, log_mass[some], means, spacing, float(likelihood.log_std), self._lost)

    @torch.no_grad()
    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return independent draws of the model, `(n, D)` float32: exact but for the grid's spacing."""
        return self.draw(self.fine.sample(n, noise), noise)

    @torch.no_grad()
    def draw(self, z: Tensor, noise: Noise) -> Tensor:
        """Return draws of p(x|z), `(n, D)` float32, for z `(n, d)`."""
        means = self._vae.decoder.mean(z.double())
        return (means + math.exp(self.fine.log_std) * noise.normal(*means.shape)).float()
