"""A floor under a GRBM's log Z: the mass of hidden states that were actually visited."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.estimators.whitened import Whitened
from bench.protocol import Noise

RANDOM_STARTS = 128
SWEEPS = 200


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
