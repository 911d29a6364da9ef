"""GRBMs whose log Z is known and whose exact samples can be drawn, however many hidden units they have.

A GRBM of at most 20 hidden units is enumerated. A larger one is made of blocks: in whitened coordinates, rotated by R,
its coupling is block-diagonal, so that W = diag(sigma) R blockdiag(A_k) P, with P a permutation of columns, is dense to
any estimator, while log Z is a sum of small enumerations and the blocks' hidden units are drawn one block at a time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.energies import GRBM
from bench.energies.densities import whitened
from bench.energies.densities.whitened import Whitened
from bench.objectives import exact as exact_score_matching
from bench.protocol import Noise
from bench.streams import stream

MODES = 20  # of the model that the latents of training data know of


@dataclass(frozen=True)
class Oracle:
    """A GRBM and what is known of it.

    Attributes:
        grbm: the model.
        log_z: exact.
        units: the hidden units of each block, which are independent of those of other blocks.
        shares: probabilities of the hidden states of each block, `(2^H_k,)`, in the order of `whitened.states`.
        far: units that are on in modes far away from the rest.
    """

    grbm: GRBM
    log_z: float
    units: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]
    far: tuple[int, ...] = ()

    def hidden(self, n: int, noise: Noise) -> Tensor:
        """Return independent exact draws of h, `(n, H)`."""
        h = torch.zeros(n, len(self.grbm.bias)).double()
        for units, shares in zip(self.units, self.shares, strict=True):
            cumulative = shares.cumsum(0)
            # float32 uniforms have 24 bits, too few for 2^16 states of very unequal probability
            uniform = noise.uniform(n).double() + noise.uniform(n).double() * 2.0**-24
            index = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True).clamp(max=len(shares) - 1)
            h[:, units] = whitened.states(index, len(units))
        return h

    def given(self, h: Tensor, noise: Noise) -> Tensor:
        """Return z | h, `(n, d)`, for h `(n, H)`."""
        model = self.grbm.whitened()
        return model.colour(model.draw_visible(h, noise))

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return independent exact draws of z, `(n, d)`."""
        return self.given(self.hidden(n, noise), noise)

    def latents(self, n: int, noise: Noise) -> Tensor:
        """Return z `(n, d)` as a posterior that fits badly might give them: around `MODES` modes, none far away."""
        h = self.hidden(MODES, noise)
        h[:, list(self.far)] = 0
        return self.given(h[noise.integers(MODES, n)], noise)


def enumerated(grbm: GRBM, far: tuple[int, ...] = ()) -> Oracle:
    """Return what is known of a GRBM of at most 20 hidden units."""
    log_masses = whitened.log_masses(grbm.whitened())
    log_z = float(torch.logsumexp(log_masses, 0))
    return Oracle(grbm, log_z, (torch.arange(len(grbm.bias)),), (torch.softmax(log_masses, 0),), far)


def coupled(visible: int, hidden: int, seed: int, scale: float) -> GRBM:
    """Return a GRBM with random weights of standard deviation `scale` and modes of comparable mass.

    With b = -||W_j||^2/2 every unit costs what it gains; otherwise one of the 2^H modes has all the mass.
    """
    generator = torch.Generator().manual_seed(seed)
    grbm = GRBM(visible, hidden).requires_grad_(False)
    grbm.weight.data = scale * torch.randn(visible, hidden, generator=generator)
    grbm.mu.data = torch.randn(visible, generator=generator)
    grbm.log_var.data = 0.3 * torch.randn(visible, generator=generator)
    precision = 1 / grbm.var
    grbm.bias.data = -grbm.weight.T @ (precision * grbm.mu) - 0.5 * precision @ grbm.weight.square()
    return grbm


def islands(visible: int, hidden: int, distance: float, share: float) -> GRBM:
    """Return a GRBM of which `share` of the mass lies `distance` standard deviations from the rest, behind unit 0."""
    grbm = coupled(visible, hidden, seed=0, scale=0.2)
    grbm.mu.data.zero_()
    grbm.log_var.data.zero_()
    grbm.weight.data[0] = 0
    grbm.weight.data[:, 0] = 0
    grbm.weight.data[0, 0] = distance
    grbm.bias.data = -0.5 * grbm.weight.data.square().sum(0)
    grbm.bias.data[0] += math.log(share / (1 - share))
    return grbm


def blocks(
    shapes: Sequence[tuple[int, int]],
    seed: int,
    scale: float,
    far: int = 0,
    distance: float = 10.0,
    share: float = 0.75,
) -> Oracle:
    """Return a GRBM of blocks, float64.

    Args:
        shapes: visible and hidden units of each block.
        seed: of everything random.
        scale: standard deviation of its weights in units of sigma.
        far: in so many blocks, the first of its hidden units leads far away; there lies `share` of the block's mass.
        distance: how far, in units of sigma.
        share: of the mass.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    visible, hidden = sum(v for v, _ in shapes), sum(h for _, h in shapes)
    couplings, log_odds = [], []
    for block, (v, h) in enumerate(shapes):
        coupling, odds = scale * normal(v, h), torch.zeros(h).double()
        if block < far:
            coupling[0], coupling[:, 0], coupling[0, 0] = 0, 0, distance
            odds[0] = math.log(share / (1 - share))
        couplings.append(coupling)
        log_odds.append(odds)
    # c_j = -||A_j||^2/2: as in `coupled`
    offsets = [odds - 0.5 * coupling.square().sum(0) for odds, coupling in zip(log_odds, couplings, strict=True)]
    parts = [
        Whitened(A, c, torch.zeros(len(A)).double(), torch.ones(len(A)).double())
        for A, c in zip(couplings, offsets, strict=True)
    ]
    log_masses = [whitened.log_masses(part) for part in parts]

    rotation = torch.linalg.qr(normal(visible, visible)).Q
    place = torch.randperm(hidden, generator=generator)  # where the blocks' units stand among all
    grbm = GRBM(visible, hidden).double().requires_grad_(False)
    grbm.mu.data = normal(visible)
    grbm.log_var.data = 0.3 * normal(visible)
    sigma = grbm.var.sqrt()
    grbm.weight.data[:, place] = sigma[:, None] * (rotation @ torch.block_diag(*couplings))
    grbm.bias.data[place] = torch.cat(offsets)
    grbm.bias.data -= grbm.weight.T @ (grbm.mu / grbm.var)

    units = place.split([h for _, h in shapes])
    log_z = sum(float(torch.logsumexp(each, 0)) for each in log_masses) + float(sigma.log().sum())
    return Oracle(
        grbm,
        log_z,
        units,
        tuple(torch.softmax(each, 0) for each in log_masses),
        tuple(int(each[0]) for each in units[:far]),
    )


FOUR_OF_16 = [(16, 16)] * 4  # 64 x 64
EIGHT_OF_64_16 = [(64, 16)] * 8  # 512 x 128


@functools.cache
def fitted(objective: str, steps: int = 400) -> tuple[Oracle, Tensor]:
    """Return a GRBM with 64 visible and 16 hidden units, trained on a mixture of ten normal ones, and the data.

    Args:
        objective: `score matching` or `maximum likelihood`.
        steps: of training.
    """
    noise = stream(0, "mixture")
    centres = 0.7 * noise.normal(10, 64)
    z = centres[noise.integers(10, 5000)] + 0.7 * noise.normal(5000, 64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        grbm = GRBM(64, 16)
    h = whitened.states(torch.arange(2**16), 16).float()
    optimiser = torch.optim.Adam(grbm.parameters(), lr=1e-2)
    for _ in range(steps):
        batch = z[noise.integers(5000, 256)]
        if objective == "score matching":
            loss = exact_score_matching(grbm, batch)
        else:
            scaled = grbm.weight / grbm.var[:, None]
            quadratic = 0.5 * ((h @ (grbm.weight.T @ scaled)) * h).sum(1)
            log_z = torch.logsumexp(h @ (grbm.bias + scaled.T @ grbm.mu) + quadratic, 0)
            loss = grbm.energy(batch).mean() + log_z + 0.5 * grbm.var.log().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return enumerated(grbm.requires_grad_(False)), z
