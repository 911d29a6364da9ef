"""log Z by quadrature of any energy where d <= 2, to a reported error."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.protocol import NotFinite

MAX_DIMENSION = 2

TOLERANCE = 1e-10  # quadrature stops once halving the spacing changes log Z by less
_SEEN = 0.5  # nats by which an anchor may be likelier than every point of a grid that is fine enough
_FALL = 45.0  # nats by which the density must have fallen at the edge of the box: e^-45 = 3e-20
_POINTS = {1: (257, 262145), 2: (129, 2049)}  # points an axis, at first and at most


@torch.no_grad()
def log_z(energy: Callable[[Tensor], Tensor], anchors: Tensor, tolerance: float = TOLERANCE) -> tuple[float, float]:
    """Return log of the integral of exp(-E) over R^d, d <= 2, and its error: what refining may still change.

    The trapezoidal rule, whose error falls exponentially with the spacing for a smooth density that has died out at
    the edges. The box around `anchors` is widened until it has; the spacing is halved until log Z stands still and no
    anchor is likelier than the likeliest point of the grid by more than half a nat, as it would be between two points
    of a grid too coarse to see its mode. Where the finest grid does not see it either, the error is at least as many
    nats as the anchor is likelier.

    Args:
        energy: E, `(n, d)` -> `(n,)`, in float64.
        anchors: points `(n, d)`, float64, near all the mass: samples of the density and of what it was fitted to.
        tolerance: a change of log Z, at which it stands still.

    Raises:
        ValueError: d > 2.
        NotFinite: the density is not finite, or does not fall off.
    """
    centre, half = support(energy, anchors)
    d = len(centre)
    at_anchors = float((-energy(anchors)).max())
    points, most = _POINTS[d]
    value, changes = math.nan, []
    while points <= most:
        log_density = on_grid(energy, centre, half, points)
        refined = float(torch.logsumexp(log_density.flatten(), 0) + (2 * half / (points - 1)).log().sum())
        missed = at_anchors - float(log_density.max())
        if not math.isnan(value):
            changes.append(max(abs(refined - value), missed if missed > _SEEN else 0.0))
        value = refined
        if changes and changes[-1] < tolerance:
            return value, changes[-1]
        points = 2 * points - 1
    return value, 2 * max(changes[-2:])  # with kinks, successive changes shrink unevenly


def support(energy: Callable[[Tensor], Tensor], anchors: Tensor, fall: float = _FALL) -> tuple[Tensor, Tensor]:
    """Return the centre and half the sides of a box, `(d,)` each, at whose edges exp(-E) has died out; d <= 2.

    Args:
        energy: as in `log_z`.
        anchors: as in `log_z`; the box is at least twice as wide as they are.
        fall: nats by which the density must have fallen.

    Raises:
        ValueError: d > 2.
        NotFinite: the density is not finite, or does not fall off.
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
    raise NotFinite("log Z cannot be had by quadrature: the density does not fall off away from its samples")


def nodes(centre: Tensor, half: Tensor, points: int) -> Tensor:
    """Return an even grid with `points` an axis on a box with `half` sides `(d,)` around `centre`: `(points^d, d)`."""
    axis = torch.linspace(-1, 1, points, dtype=centre.dtype, device=centre.device)
    return torch.cartesian_prod(*[axis] * len(centre)).reshape(-1, len(centre)) * half + centre


def everywhere(centre: Tensor, scale: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Return nodes that reach out to infinity, nearly, and the log of the volume each stands for, `(n, d)` and `(n,)`.

    They are z = centre + scale u/(1 - u^2), with the midpoints u of equal intervals of (-1, 1) on each axis. For a
    density that dies out, however slowly, the integrand over u and all of its derivatives vanish at both ends, so that
    the sum is as good as the trapezoidal rule can be.

    Args:
        centre, scale: where most of the mass lies, `(d,)` each.
        points: an axis.
    """
    u = nodes(torch.zeros_like(centre), torch.full_like(centre, 1 - 1 / points), points)
    stretch = (1 + u.square()) / (1 - u.square()).square()
    return centre + scale * u / (1 - u.square()), (scale * stretch * 2 / points).log().sum(-1)


def on_grid(energy: Callable[[Tensor], Tensor], centre: Tensor, half: Tensor, points: int) -> Tensor:
    """Return -E at the `nodes`, `(points,)` or `(points, points)`.

    Raises:
        NotFinite: the energy is not finite.
    """
    log_density = torch.cat([-energy(block) for block in nodes(centre, half, points).split(2**16)])
    if not bool((log_density < math.inf).all()):  # false for NaN as well
        raise NotFinite("log Z cannot be had by quadrature: the energy is not finite everywhere")
    return log_density.reshape([points] * len(centre))


def _edge_maximum(log_density: Tensor, d: int) -> float:
    return max(float(log_density.select(axis, at).max()) for axis in range(d) for at in (0, -1))
