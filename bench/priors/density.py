"""What every prior is: a density over z that says what it can."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from bench.protocol import Noise


@dataclass(frozen=True)
class Chains:
    """Where chains are, u `(n, d)`; subclasses add whatever else both weights and moves need to know of it."""

    u: Tensor


State = TypeVar("State", bound=Chains)


@dataclass(frozen=True)
class Path(Generic[State]):
    """Unnormalised densities p_t, 0 <= t <= 1, from a Gaussian base to another density, and moves among them.

    Chains are at u = Q'y, in the eigenvectors of the base's inverse covariance C^-1.

    Attributes:
        rotation: eigenvectors Q in columns, `(d, d)`.
        mean: Q'm, the base's mean, `(d,)`; or `(n, d)`, a base for each of n chains, and so is what follows.
        precision: eigenvalues of C^-1, `(d,)`.
    """

    rotation: Tensor
    mean: Tensor
    precision: Tensor

    @property
    def log_z(self) -> Tensor:
        """log Z at t = 0, `()`, or `(n,)` where every chain has its own base."""
        return 0.5 * self.mean.shape[-1] * math.log(2 * math.pi) - 0.5 * self.precision.log().sum(-1)

    def begin(self, n: int, noise: Noise) -> State:
        """Return n independent draws of p_0."""
        return self.state(self.mean + self.precision.rsqrt() * noise.normal(n, self.mean.shape[-1]))

    def at(self, y: Tensor) -> State:
        """Return the state of chains at y `(n, d)`."""
        return self.state(y @ self.rotation)

    def ends(self, state: State) -> Tensor:
        """Return where chains are, y `(n, d)`, in coordinates that all paths to one model share."""
        return state.u @ self.rotation.T

    def state(self, u: Tensor) -> State:
        """Return the state of chains at u `(n, d)`."""
        raise NotImplementedError

    def log_ratio(self, state: State, old: float, new: float) -> Tensor:
        """Return log p_new - log p_old where chains are, `(n,)`, float64."""
        raise NotImplementedError

    def move(self, state: State, t: float, noise: Noise) -> State:
        """Return where chains are after a transition that leaves p_t invariant."""
        raise NotImplementedError


@dataclass(frozen=True)
class Annealing:
    """How log Z of a density is had by annealing.

    Attributes:
        paths: from different bases to the density, by the name of the base. One should be close to where the density
            fits the data, another blind to the data.
        floor: a value that log Z is not below, but for chance; minus infinity where none is known.
        doubt: why an estimate should not be trusted, whatever its chains say; or nothing.
    """

    paths: Mapping[str, Path[Any]]
    floor: float = -math.inf
    doubt: str = ""


def latest(before: float, now: float) -> float:
    """Return `now`."""
    return now


class Figure(NamedTuple):
    """A number to watch: its value, and which of an earlier and a later one a record keeps (`max`, `min`, `latest`)."""

    value: Tensor | float
    keep: Callable[[float, float], float] = latest


class Density(nn.Module):
    """A prior with energy E(z) = -log p(z) - log Z, where log Z = 0 if `normalised`.

    Subclasses give `energy` and `sample`; those with closed forms override the derivatives, which come from autograd.
    What else they can, they say by overriding the methods that return None here: what scores a density, watches its
    training or samples it asks these, and never which class it is.

    Attributes:
        has_density: whether there is an energy at all; `Samples` has none.
        normalised: whether exp(-E) integrates to 1; every scoring of it checks that (`estimators.normalisation`).
        step_cost: how many samples' ways through a decoder take about as long as one step of an annealed chain.
    """

    has_density: ClassVar[bool] = True
    normalised: ClassVar[bool] = False
    step_cost: ClassVar[float] = 2.0  # of a trajectory of Hamiltonian Monte Carlo

    def energy(self, z: Tensor) -> Tensor:
        """Return E(z), `(...)`, for z `(..., d)`."""
        raise NotImplementedError

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`."""
        raise NotImplementedError

    def exact_sample(self, n: int, noise: Noise) -> Tensor | None:
        """Return independent exact draws `(n, d)`, or None where there are none; `sample` of a normalised density."""
        return self.sample(n, noise) if self.normalised else None

    def exact_log_z(self) -> float | None:
        """Return log Z, exact to rounding, or None where it has to be estimated."""
        return 0.0 if self.normalised else None

    def annealing(self, latents: Tensor, noise_for: Callable[[str], Noise]) -> Annealing | None:
        """Return paths of the density's own to it, or None where Hamiltonian Monte Carlo is to move the chains.

        Args:
            latents: samples of q(z|x) on training data, `(M, d)`, M >= 2.
            noise_for: name of a stream -> its noise, on the density's device.

        Raises:
            NotFinite: parameters are not finite, or the density does not integrate.
        """
        return None

    @property
    def step_unit(self) -> float | Tensor:
        """The unit of a Langevin step's size, in squared units of z: about the smallest variance."""
        return 1.0

    def figures(self, z: Tensor) -> dict[str, Figure]:
        """Return scalars that tell how the parameters fare, by name; z `(B, d)` are samples of q(z|x)."""
        return {}

    def tilt(self, z: Tensor) -> Tensor:
        """Return E(z) + log N(z; 0, I), `(...)`, for z `(..., d)`: minus the log ratio to N(0, I), up to log Z."""
        return self.energy(z) - 0.5 * z.square().sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)

    def gradient(self, z: Tensor, create_graph: bool = False) -> Tensor:
        """Return the gradient of E at z, `(..., d)`; with `create_graph`, differentiable in the parameters."""
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.energy(z).sum(), z, create_graph=create_graph)
        return gradient

    def curvature(self, z: Tensor, v: Tensor) -> Tensor:
        """Return v' (Hessian of E at z) v, `(...)`, for v `(..., d)`; differentiable in the parameters."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            along = (self.gradient(z, create_graph=True) * v).sum()
            (product,) = torch.autograd.grad(along, z, create_graph=True)
        return (product * v).sum(-1)

    def gradient_and_curvature(self, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, as above, differentiable in the parameters; a subclass that knows how shares what they share."""
        return self.gradient(z, create_graph=True), self.curvature(z, v)

    def laplacian(self, z: Tensor) -> Tensor:
        """Return the trace of the Hessian of E at z, `(...)`; differentiable in the parameters."""
        basis = torch.eye(z.shape[-1], device=z.device, dtype=z.dtype)
        return torch.stack([self.curvature(z, v.expand_as(z)) for v in basis]).sum(0)


class Restricted(Density):
    """A density with hidden units h that make z normal, z|h ~ N(centre(h), diag var): block Gibbs samples it."""

    @property
    @abstractmethod
    def var(self) -> Tensor:
        """`(d,)`."""

    @abstractmethod
    def centre(self, h: Tensor) -> Tensor:
        """Return E[z|h], `(n, d)`, for h `(n, H)`."""

    @abstractmethod
    def draw_hidden(self, z: Tensor, noise: Noise) -> Tensor:
        """Return h given z, `(n, H)`, for z `(n, d)`."""

    def draw_visible(self, h: Tensor, noise: Noise) -> Tensor:
        """Return z ~ N(centre(h), diag var), `(n, d)`, for h `(n, H)`."""
        centre = self.centre(h)
        return centre + self.var.sqrt() * noise.normal(*centre.shape)
