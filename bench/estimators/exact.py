"""log Z without sampling: by enumeration of a GRBM's hidden units, or by quadrature of any energy where d <= 2.

Both are exact to rounding (enumeration) or to a reported error (quadrature), and what every other estimate is checked
against.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.estimators.whitened import Whitened
from bench.priors.grbm import GRBM
from bench.protocol import Noise

MAX_HIDDEN = 20
MAX_DIMENSION = 2
_BLOCK = 2**14

_TOLERANCE = 1e-10  # quadrature stops once halving the spacing changes log Z by less
_FALL = 45.0  # nats by which the density must have fallen at the edge of the box: e^-45 = 3e-20
_POINTS = {1: (257, 262145), 2: (129, 2049)}  # points an axis, at first and at most


@torch.no_grad()
def log_masses(model: Whitened) -> Tensor:
    """Return log of the unnormalised p(h), `(2^H,)`, in the order of `states`."""
    H, device = model.hidden, model.mu.device
    starts = range(0, 2**H, _BLOCK)
    blocks = (states(torch.arange(start, min(start + _BLOCK, 2**H), device=device), H) for start in starts)
    return torch.cat([model.log_mass(block) for block in blocks])


def states(index: Tensor, hidden: int) -> Tensor:
    """Return the hidden states `(n, H)`, zeros and ones, that `index` `(n,)` of 0 .. 2^H - 1 counts in binary."""
    return ((index[:, None] >> torch.arange(hidden, device=index.device)) & 1).double()


def enumerate_log_z(grbm: GRBM) -> float:
    """Return log Z = logsumexp_h log p~(h), over all 2^H hidden states, exact to rounding.

    Raises:
        ValueError: H > 20.
    """
    _check(grbm)
    return float(torch.logsumexp(log_masses(Whitened.of(grbm)), 0))


@torch.no_grad()
def sample(grbm: GRBM, n: int, noise: Noise) -> Tensor:
    """Return independent exact draws z `(n, d)`, float64: h by its enumerated probability, then z|h.

    Raises:
        ValueError: H > 20.
    """
    _check(grbm)
    model = Whitened.of(grbm)
    cumulative = torch.softmax(log_masses(model), 0).cumsum(0)
    # float32 uniforms have 24 bits, too few for 2^20 states; the second adds 24 more
    uniform = noise.uniform(n).double() + noise.uniform(n).double() * 2.0**-24
    index = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True).clamp(max=len(cumulative) - 1)
    return model.colour(model.draw_visible(states(index, model.hidden), noise))


def _check(grbm: GRBM) -> None:
    if len(grbm.bias) > MAX_HIDDEN:
        raise ValueError(f"a GRBM with {len(grbm.bias)} hidden units cannot be enumerated; at most {MAX_HIDDEN} can")


@torch.no_grad()
def quadrature(energy: Callable[[Tensor], Tensor], anchors: Tensor) -> tuple[float, float]:
    """Return log of the integral of exp(-E) over R^d, d <= 2, and its error: by how much refining still changes it.

    The trapezoidal rule, whose error falls exponentially with the spacing for a smooth density that has died out at
    the edges. The box around `anchors` is widened until it has; the spacing is halved until log Z stands still and no
    anchor is likelier than the likeliest point of the grid by more than half a nat, as it would be between two points
    of a grid too coarse to see its mode.

    Args:
        energy: E, `(n, d)` -> `(n,)`, in float64.
        anchors: points `(n, d)`, float64, near all the mass: samples of the density and of what it was fitted to.

    Raises:
        ValueError: d > 2.
        ArithmeticError: the density is not finite, or does not fall off.
    """
    centre, half = support(energy, anchors)
    d = len(centre)
    at_anchors = float((-energy(anchors)).max())
    points, most = _POINTS[d]
    value, changes = math.nan, [math.inf, math.inf]
    while points <= most:
        log_density = on_grid(energy, centre, half, points)
        refined = float(torch.logsumexp(log_density.flatten(), 0) + (2 * half / (points - 1)).log().sum())
        seen = float(log_density.max()) > at_anchors - 0.5
        changes.append(abs(refined - value) if seen and not math.isnan(value) else math.inf)
        value = refined
        if changes[-1] < _TOLERANCE:
            return value, changes[-1]
        points = 2 * points - 1
    return value, max(changes[-2:])  # with kinks, successive changes shrink unevenly


def support(energy: Callable[[Tensor], Tensor], anchors: Tensor, fall: float = _FALL) -> tuple[Tensor, Tensor]:
    """Return the centre and half the sides of a box, `(d,)` each, at whose edges exp(-E) has died out; d <= 2.

    Args:
        energy: as in `quadrature`.
        anchors: as in `quadrature`; the box is at least twice as wide as they are.
        fall: nats by which the density must have fallen.

    Raises:
        ValueError: d > 2.
        ArithmeticError: the density is not finite, or does not fall off.
    """
    d = anchors.shape[1]
    if d > MAX_DIMENSION:
        raise ValueError(f"quadrature is for at most {MAX_DIMENSION} dimensions, not {d}")
    low, high = anchors.min(0).values, anchors.max(0).values
    centre, half = (low + high) / 2, (high - low).clamp(min=1e-3)
    at_anchors = float((-energy(anchors)).max())
    for _ in range(60):
        log_density = on_grid(energy, centre, half, _POINTS[d][0])
        if _edge_maximum(log_density, d) < max(float(log_density.max()), at_anchors) - fall:
            return centre, half
        half = 1.3 * half
    raise ArithmeticError("log Z cannot be had by quadrature: the density does not fall off away from its samples")


def nodes(centre: Tensor, half: Tensor, points: int) -> Tensor:
    """Return an even grid with `points` an axis on a box with `half` sides `(d,)` around `centre`: `(points^d, d)`."""
    axis = torch.linspace(-1, 1, points, dtype=centre.dtype, device=centre.device)
    return torch.cartesian_prod(*[axis] * len(centre)).reshape(-1, len(centre)) * half + centre


def on_grid(energy: Callable[[Tensor], Tensor], centre: Tensor, half: Tensor, points: int) -> Tensor:
    """Return -E at the `nodes`, `(points,)` or `(points, points)`.

    Raises:
        ArithmeticError: the energy is not finite.
    """
    log_density = torch.cat([-energy(block) for block in nodes(centre, half, points).split(2**16)])
    if not bool((log_density < math.inf).all()):  # false for NaN as well
        raise ArithmeticError("log Z cannot be had by quadrature: the energy is not finite everywhere")
    return log_density.reshape([points] * len(centre))


def _edge_maximum(log_density: Tensor, d: int) -> float:
    return max(float(log_density.select(axis, at).max()) for axis in range(d) for at in (0, -1))
