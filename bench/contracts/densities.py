"""The contracts on a prior: its samples come from its density, and its derivatives are those of its energy.

Both are looked at in two dimensions, where quadrature is exact, and away from the prior's starting point, where a
factor that a sampler forgets may still be 1: the prior is first fitted to a bent cloud by exact maximum likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bench.contracts.task import LATENT
from bench.contracts.verdicts import Breach
from bench.priors import Density
from bench.protocol import Run, Task
from bench.strategy import Strategy
from bench.streams import stream

FIT_STEPS = 60
FIT_LR = 0.03
SAMPLES = 2000
ERRORS = 5.0  # standard errors; 13 moments of a right sampler exceed it once in 130,000 times
NORMALISED = 1e-3  # of log Z, for energies in float32
POINTS = (201, 401)  # an axis; what halving the spacing changes is the quadrature's error
OUTSIDE = 12.0  # nats by which the mass outside the box is smaller, about
WIDENINGS = 10  # of the box, each by 1.3; much further out the grid would be too coarse to see the middle
DERIVATIVES = 1e-3  # relative; float32 has seven digits, and a second derivative loses three or four


def fitted(strategy: Strategy, task: Task, folder: Path) -> Density:
    """Return the strategy's prior after some steps of maximum likelihood on a bent cloud, by quadrature.

    Whatever the energy depends on moves, be it a parameter of the prior or, as in a VampPrior, of the encoder.
    """
    model = strategy.model(task, Run(0, "cpu", folder))
    prior = model.prior
    parameters = [p for module in model.groups.values() for p in module.parameters() if p.requires_grad]
    t = stream(0, "check/cloud").normal(256, 2)
    cloud = torch.stack([0.5 + 0.7 * t[:, 0], 0.6 * t[:, 0] * (1 + t[:, 0]) - 0.8 + 0.4 * t[:, 1]], dim=1)
    points = _grid(torch.zeros(2), torch.full((2,), 6.0), 61)
    adam = torch.optim.Adam(parameters, lr=FIT_LR)
    for _ in range(FIT_STEPS):
        # log Z up to a constant; a normalised density's is 0, and on a box it would reward mass outside of the box
        log_z = torch.zeros(()) if prior.normalised else torch.logsumexp(-prior.energy(points), 0)
        loss = prior.energy(cloud).mean() + log_z
        if not loss.requires_grad:
            break
        if not bool(loss.isfinite()):
            raise Breach("its energy is not finite near the origin")
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    return prior.requires_grad_(False)


# ---------------------------------------------------------------- samples and density


@torch.no_grad()
def check_samples(prior: Density) -> str:
    """Compare moments of the prior's samples with those of its density by quadrature."""
    z = prior.sample(SAMPLES, stream(0, "check/samples"))
    if z.shape != (SAMPLES, LATENT) or not bool(z.isfinite().all()):
        wrong = f"of shape {tuple(z.shape)}" if z.shape != (SAMPLES, LATENT) else "that are not all finite"
        raise Breach(f"sample({SAMPLES}) gives draws {wrong}; they must be finite, ({SAMPLES}, {LATENT})")
    z = z.detach().double()
    coarse, fine = (Quadrature.around(prior, z, points) for points in POINTS)
    error = abs(fine.log_z - coarse.log_z)
    if prior.normalised and not abs(fine.log_z) <= NORMALISED + error:
        raise Breach(f"it says that it is normalised, and its density integrates to {math.exp(fine.log_z):.4g}, not 1")
    functions = _functions(fine)
    worst = 0.0
    for name, function in functions.items():
        expected, spread = fine.moments(function)
        found = float(function(z).mean())
        # the samples' error and the quadrature's
        tolerance = ERRORS * spread / SAMPLES**0.5 + abs(expected - coarse.moments(function)[0])
        errors = abs(found - expected) / (spread / SAMPLES**0.5)
        if not abs(found - expected) <= tolerance:
            raise Breach(
                f"its samples do not come from its density: the mean of {name} is {found:.3g} by {SAMPLES:,} samples "
                f"and {expected:.3g} by quadrature, {errors:.3g} standard errors apart"
            )
        worst = max(worst, errors)
    return f"{len(functions)} moments of {SAMPLES:,} samples lie within {worst:.1f} standard errors of quadrature"


class Quadrature:
    """A density on a square grid of points in two dimensions.

    Attributes:
        points: `(n, 2)`; weights: `(n,)`, which add up to 1.
        log_z: log of the integral of exp(-E).
    """

    def __init__(self, points: Tensor, log_density: Tensor, area: float) -> None:
        self.points, self.weights = points, torch.softmax(log_density, 0)
        self.log_z = float(torch.logsumexp(log_density, 0)) + math.log(area)

    @classmethod
    def around(cls, prior: Density, z: Tensor, points: int) -> Quadrature:
        """Return the density on a box around its samples z, widened until next to nothing lies outside.

        Raises:
            Breach: the density does not fall off, or is not finite.
        """
        low, high = z.min(0).values, z.max(0).values
        centre, half = (low + high) / 2, (high - low).clamp(min=0.1)
        for _ in range(WIDENINGS):
            grid = _grid(centre, half, points)
            log_density = torch.cat([-prior.energy(block.float()).double() for block in grid.split(2**15)])
            if not bool((log_density < math.inf).all()):  # false for NaN as well
                raise Breach("its energy is not finite everywhere")
            found = cls(grid, log_density, float((2 * half / (points - 1)).prod()))
            square = log_density.reshape(points, points)
            edge = max(float(square.select(axis, at).max()) for axis in (0, 1) for at in (0, -1))
            if edge + float((2 * half).log().sum()) < found.log_z - OUTSIDE:
                return found
            half = 1.3 * half
        raise Breach("its density does not fall off away from its samples, so that it has no integral")

    def moments(self, function: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """Return mean and standard deviation of a function `(n, 2)` -> `(n,)` under the density."""
        values = function(self.points)
        mean = float(self.weights @ values)
        return mean, max(float(self.weights @ values.square()) - mean**2, 0.0) ** 0.5


def _grid(centre: Tensor, half: Tensor, points: int) -> Tensor:
    """Return `points` an axis within `half` of `centre`, `(points^2, 2)`."""
    axis = torch.linspace(-1, 1, points, dtype=centre.dtype)
    return torch.cartesian_prod(axis, axis) * half + centre


def _functions(density: Quadrature) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return functions whose means tell densities apart: moments, and waves of about the density's own width."""
    width = torch.tensor([density.moments(lambda z, i=i: z[:, i])[1] for i in range(2)], dtype=torch.float64)  # type: ignore[misc]
    found: dict[str, Callable[[Tensor], Tensor]] = {
        "z1": lambda z: z[:, 0],
        "z2": lambda z: z[:, 1],
        "z1^2": lambda z: z[:, 0].square(),
        "z2^2": lambda z: z[:, 1].square(),
        "z1 z2": lambda z: z[:, 0] * z[:, 1],
    }
    for a, b in ((2, 0), (0, 2), (1, 1), (1, -1)):
        k = torch.tensor([a, b]) / width
        words = f"{k[0]:.2g} z1 + {k[1]:.2g} z2"
        found[f"cos({words})"] = lambda z, k=k: (z @ k).cos()  # type: ignore[misc]
        found[f"sin({words})"] = lambda z, k=k: (z @ k).sin()  # type: ignore[misc]
    return found


# ---------------------------------------------------------------- derivatives


def check_derivatives(prior: Density) -> str:
    """Compare the prior's own derivatives of its energy with automatic ones."""
    z = stream(0, "check/points").normal(16, LATENT)
    v = stream(0, "check/directions").rademacher(16, LATENT)
    # the base class takes each from the energy alone, or from the gradient that has been checked before it
    derivatives = {
        "gradient": (prior.gradient(z), Density.gradient(prior, z)),
        "curvature": (prior.curvature(z, v), Density.curvature(prior, z, v)),
        "laplacian": (prior.laplacian(z), Density.laplacian(prior, z)),
    }
    for name, pair in derivatives.items():
        own, right = (value.detach() for value in pair)
        if own.shape != right.shape:
            raise Breach(f"its {name} has the shape {tuple(own.shape)}, not {tuple(right.shape)}")
        error = float((own - right).abs().max())
        if not error <= DERIVATIVES * (1 + float(right.abs().max())):
            raise Breach(f"its {name} is not that of its energy: it differs by up to {error:.3g}")
    return f"{', '.join(derivatives)} are those of the energy"
