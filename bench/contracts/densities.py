"""The contracts on a prior: its samples come from its density, and its derivatives are those of its energy.

Both are looked at in two dimensions, where quadrature is exact, and away from the prior's starting point, where a
factor that a sampler forgets may still be 1: the prior is first fitted to a bent cloud by exact maximum likelihood.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bench.contracts.task import LATENT
from bench.contracts.verdicts import Breach
from bench.estimators import quadrature
from bench.priors import Density
from bench.protocol import Noise
from bench.streams import stream

FIT_STEPS = 60
FIT_LR = 0.03
FIT_SCALE = 3.0
SAMPLES = 2000
ERRORS = 5.0  # standard errors; one of 16 means of a right sampler is further off once in 110,000 times
NORMALISED = 1e-3  # of log Z, for energies in float32
POINTS = (200, 400)  # an axis; what halving the spacing changes is taken for the quadrature's error
SETTLED = 0.05  # of log Z, by which halving the spacing changes it at most where there is an integral
DERIVATIVES = 1e-3  # relative; float32 has seven digits, and a second derivative loses three or four


def fitted(prior: Density, parameters: Iterable[nn.Parameter]) -> Density:
    """Return a prior after some steps of maximum likelihood on a bent cloud, by quadrature.

    Args:
        prior: in two dimensions.
        parameters: whatever its energy may depend on, be it its own or, as in a VampPrior, the encoder's.

    Raises:
        Breach: the energy is not finite.
    """
    bent = cloud()
    # out to nearly infinity, as in `Quadrature`: on a box, mass outside of it would be rewarded
    u = _grid(torch.zeros(2), torch.full((2,), 1 - 1 / 61), 61)
    points, volume = FIT_SCALE * u / (1 - u.square()), ((1 + u.square()) / (1 - u.square()).square()).log().sum(-1)
    adam = torch.optim.Adam([parameter for parameter in parameters if parameter.requires_grad], lr=FIT_LR)
    for _ in range(FIT_STEPS):
        # log Z up to a constant; a normalised density's is 0
        log_z = torch.zeros(()) if prior.normalised else torch.logsumexp(volume - prior.energy(points), 0)
        loss = prior.energy(bent).mean() + log_z
        if not loss.requires_grad:
            break
        if not bool(loss.isfinite()):
            raise Breach("its energy is not finite near the origin")
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    return prior.requires_grad_(False)


def cloud() -> Tensor:
    """Return points `(256, 2)`, off centre, correlated and bent."""
    t = stream(0, "check/cloud").normal(256, 2)
    return torch.stack([0.5 + 0.7 * t[:, 0], 0.6 * t[:, 0] * (1 + t[:, 0]) - 0.8 + 0.4 * t[:, 1]], dim=1)


# ---------------------------------------------------------------- shapes


def check_shapes(prior: Density, word: str = "prior") -> str:
    """Check that a density takes and gives the shapes that it must, in two dimensions; return what was looked at."""
    if not isinstance(prior, Density):
        raise Breach(f"its {word} is a {type(prior).__name__}, which does not extend bench.priors.Density")
    for n in (1, 5):
        check_draws(f"sample({n}) of its {word}", partial(prior.sample, n), n)
    if not prior.has_density:
        return "samples (n, d)"
    one, many = stream(0, "check/one").normal(7, LATENT), stream(0, "check/many").normal(3, 7, LATENT)
    energy = prior.energy(one)
    if energy.shape != (7,) or not bool(energy.isfinite().all()):
        raise Breach(f"its energy of z (7, {LATENT}) has the shape {tuple(energy.shape)}; it must be (7,), and finite")
    several = prior.energy(many)
    if several.shape != (3, 7):
        raise Breach(f"its energy of z (3, 7, {LATENT}) has the shape {tuple(several.shape)}; it must be (3, 7)")
    # one point's energy is its own, whatever lies beside it; float32 leaves about four digits here
    if not torch.allclose(torch.stack([prior.energy(z) for z in many]), several, rtol=1e-3, atol=1e-3):
        raise Breach("its energy of a point depends on the points beside it")
    return "energies (B,) and (K, B), samples (n, d)"


def check_draws(words: str, draw: Callable[[Noise], Tensor], n: int) -> None:
    """Check that draws `(n, 2)` are finite float32 and follow their noise; `words` say where they come from."""
    z, again, other = (draw(stream(0, name)) for name in ("check/sample", "check/sample", "check/other sample"))
    if z.shape != (n, LATENT) or z.dtype != torch.float32 or not bool(z.isfinite().all()):
        rule = f"they must be finite float32, ({n}, {LATENT})"
        raise Breach(f"{words} gives {str(z.dtype).removeprefix('torch.')} draws {tuple(z.shape)}; {rule}")
    if torch.equal(z, other):
        raise Breach(f"{words} gives the same draws whatever the noise; draw from the noise that is handed over")
    if not torch.equal(z, again):
        raise Breach(f"{words} gives other draws from the same noise; draw from the noise that is handed over")


def check_number(log_z: object) -> None:
    """Check that a log Z that is called exact is a number."""
    if not isinstance(log_z, float | int):
        kind = type(log_z).__name__
        raise Breach(f"exact_log_z() gives a {kind}; it must give a number, as float(...) makes of it, or None")


# ---------------------------------------------------------------- samples and density


@torch.no_grad()
def check_samples(prior: Density) -> str:
    """Compare means over the prior's samples with means under its density by quadrature."""
    z = prior.sample(SAMPLES, stream(0, "check/samples"))
    right = Truth.of(prior, z)
    if prior.normalised and not abs(right.fine.log_z) <= NORMALISED + right.error:
        total = math.exp(right.fine.log_z)
        raise Breach(f"it says that it is normalised, and its density integrates to {total:.4g}, not 1")
    return right.compare(z, "its samples do not come from its density")


@torch.no_grad()
def check_density(prior: Density) -> str:
    """Compare samples with the density, and the log Z that it calls exact with quadrature."""
    seen, log_z = check_samples(prior), prior.exact_log_z()
    if log_z is None or prior.normalised:  # whose integral has been looked at
        return seen
    check_number(log_z)
    z = prior.sample(SAMPLES, stream(0, "check/samples"))
    return f"{seen}; {Truth.of(prior, z).agrees(log_z)}"


@dataclass(frozen=True)
class Truth:
    """A density's log Z and means by quadrature, on a grid and on one of half its spacing."""

    coarse: Quadrature
    fine: Quadrature
    scale: Tensor

    @classmethod
    def of(cls, prior: Density, z: Tensor) -> Truth:
        """Return it for the density that draws z `(n, 2)`, by `sample`, should be of.

        Raises:
            Breach: the draws are of another shape or not finite, or the density has no integral.
        """
        if z.shape != (SAMPLES, LATENT) or not bool(z.isfinite().all()):
            wrong = f"of shape {tuple(z.shape)}" if z.shape != (SAMPLES, LATENT) else "that are not all finite"
            raise Breach(f"sample({SAMPLES}) gives draws {wrong}; they must be finite, ({SAMPLES}, {LATENT})")
        z = z.detach().double()
        low, centre, high = torch.cat([z, cloud().double()]).quantile(torch.tensor([0.05, 0.5, 0.95]).double(), 0)
        scale = (high - low) / 2
        coarse, fine = (Quadrature(prior, centre, scale, points) for points in POINTS)
        right = cls(coarse, fine, scale)
        if not right.error <= SETTLED:
            raise Breach("its density has no integral by quadrature: does it fall off away from its samples?")
        return right

    @property
    def error(self) -> float:
        """The quadrature's error of log Z."""
        return abs(self.fine.log_z - self.coarse.log_z)

    def agrees(self, log_z: float) -> str:
        """Compare a log Z that is called exact with that of quadrature.

        Raises:
            Breach: they are further apart than rounding and the quadrature's error explain.
        """
        if not abs(log_z - self.fine.log_z) <= NORMALISED + self.error:
            raise Breach(f"exact_log_z() gives {log_z:.6g}, and quadrature {self.fine.log_z:.6g}")
        return f"log Z = {log_z:.4g} is that of quadrature"

    def compare(self, z: Tensor, wrong: str) -> str:
        """Compare means over independent draws z `(n, 2)` with those under the density.

        Raises:
            Breach: they are further apart than chance explains; the sentence starts with `wrong`.
        """
        z, functions = z.detach().double(), _waves(self.scale)
        worst = 0.0
        for name, function in functions.items():
            expected, spread = self.fine.mean(function)
            mean = float(function(z).mean())
            # the samples' error and the quadrature's
            tolerance = ERRORS * spread / len(z) ** 0.5 + abs(expected - self.coarse.mean(function)[0])
            errors = abs(mean - expected) / (spread / len(z) ** 0.5)
            if not abs(mean - expected) <= tolerance:
                raise Breach(
                    f"{wrong}: the mean of {name} is {mean:.3g} by {len(z):,} samples "
                    f"and {expected:.3g} by quadrature, {errors:.3g} standard errors apart"
                )
            worst = max(worst, errors)
        return f"{len(functions)} means over {len(z):,} samples lie within {worst:.1f} standard errors of quadrature"


class Quadrature:
    """A density on a grid that reaches out to infinity, nearly, for heavy tails (`quadrature.everywhere`).

    Args:
        prior: gives E.
        centre, scale: where most of the mass lies, `(2,)` each.
        points: an axis.

    Attributes:
        points: `(n, 2)`; weights: `(n,)`, which add up to 1.
        log_z: log of the integral of exp(-E).

    Raises:
        Breach: the energy is NaN or -infinity somewhere.
    """

    def __init__(self, prior: Density, centre: Tensor, scale: Tensor, points: int) -> None:
        self.points, volume = quadrature.everywhere(centre, scale, points)
        log_density = torch.cat([-prior.energy(block.float()).double() for block in self.points.split(2**15)])
        if not bool((log_density < math.inf).all()):  # false for NaN as well
            raise Breach("its energy is not finite everywhere")
        self.weights = torch.softmax(log_density + volume, 0)
        self.log_z = float(torch.logsumexp(log_density + volume, 0))

    def mean(self, function: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """Return the mean and the standard deviation of a function `(n, 2)` -> `(n,)` under the density."""
        values = function(self.points)
        mean = float(self.weights @ values)
        return mean, max(float(self.weights @ values.square()) - mean**2, 0.0) ** 0.5


def _grid(centre: Tensor, half: Tensor, points: int) -> Tensor:
    """Return `points` an axis within `half` of `centre`, `(points^2, 2)`."""
    axis = torch.linspace(-1, 1, points, dtype=centre.dtype)
    return torch.cartesian_prod(axis, axis) * half + centre


def _waves(scale: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return functions `(n, 2)` -> `(n,)` whose means tell densities apart: waves along both axes and diagonals.

    One wave is longer than the density is wide and sees its place and width, the other sees its shape. Unlike moments
    they are bounded, so that their means and errors exist however heavy the tails are.
    """
    waves: dict[str, Callable[[Tensor], Tensor]] = {}
    for length, a, b in itertools.product((1.0, 2.5), (0, 1), (-1, 0, 1)):
        if (a, b) in ((0, -1), (0, 0)):  # the wave along z2 turned round, and none
            continue
        k = length * torch.tensor([a, b]) / scale
        words = " + ".join(f"{float(k[axis]):.2g} z{axis + 1}" for axis in (0, 1) if k[axis] != 0).replace("+ -", "- ")
        waves[f"cos({words})"] = lambda z, k=k: (z @ k).cos()  # type: ignore[misc]
        waves[f"sin({words})"] = lambda z, k=k: (z @ k).sin()  # type: ignore[misc]
    return waves


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
