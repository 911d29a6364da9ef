"""Paths to energies without closed conditionals, moved by Hamiltonian Monte Carlo.

Between a Gaussian base N(m, C) at t = 0 and an energy at t = 1 the path is geometric,

    log p_t(z) = -(1 - t)/2 (z - m)'C^-1(z - m) - t E(z),

and what leaves p_t invariant is a trajectory of `LEAPFROGS` leapfrog steps, accepted or rejected as a whole. Its
momentum has covariance (1 - t) C^-1 + t G^-1, with G a guess at the model's covariance: that is the precision of p_t,
were the model N(m, G). In the eigenvectors of G, which have to be those of C as well, it is diagonal.

The step size depends on t alone. `tuned` finds it with chains of its own, and it is fixed before any chain runs whose
weight counts: adapted to the very chains that it moves, it would take from their weights that they are unbiased for Z.

A temperature costs a chain `LEAPFROGS` evaluations of the energy and its gradient. At the same number of evaluations,
1, 2 or 3 of them a temperature give about the same variance of log weights (a perceptron and GRBMs in 16 and 64
dimensions), and 5 give more.

References:
    Neal (2011), MCMC using Hamiltonian dynamics, sections 3.2 and 4.1.
    Sohl-Dickstein & Culpepper (2012), Hamiltonian annealed importance sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.priors.density import Chains, Path
from bench.protocol import Noise
from bench.samplers.chains import accepted

LEAPFROGS = 2
PILOTS = 64  # chains of the pilot run

_ACCEPTANCE = 0.75  # what `tuned` aims at
# In units of the guessed standard deviations, how far a trajectory goes at most: somewhat less than pi/2, after which
# a normal one has forgotten its start. Near pi it is accepted all the more, and comes back to the energy it left.
_REACH = 1.3
_JITTER = 0.25  # by so much of itself the step size varies at random, lest trajectories be periodic
_KNOTS = 16  # temperatures at which the step size is tuned
_TRIALS = 8  # trajectories at each
_GAIN = 0.5  # change of the step size's logarithm for a difference of 1 in acceptance


@dataclass(frozen=True)
class Moments:
    """A mean m and a covariance G = Q diag(v) Q'.

    Attributes:
        mean: m, `(d,)`, float64.
        rotation: eigenvectors Q in columns, `(d, d)`.
        variance: eigenvalues v, `(d,)`.
    """

    mean: Tensor
    rotation: Tensor
    variance: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, z: Tensor) -> Moments:
        """Return the moments of z `(M, d)`, the covariance shrunk towards I with the weight of d samples in M + d.

        So few or degenerate samples are usable as well; 1 is the scale on which latent variables live.
        """
        samples, d = z.shape
        mean = z.double().mean(0)
        centred = z.double() - mean
        eye = torch.eye(d, dtype=torch.float64, device=z.device)
        variance, rotation = torch.linalg.eigh((centred.T @ centred + d * eye) / (samples + d))
        return cls(mean, rotation, variance)

    def colour(self, x: Tensor) -> Tensor:
        """Return z `(n, d)` for x `(n, d)`; x ~ N(0, I) has these moments."""
        return self.mean + (x * self.variance.sqrt()) @ self.rotation.T

    @property
    def log_scale(self) -> float:
        """Log of the determinant of `colour`."""
        return 0.5 * float(self.variance.log().sum())


@dataclass(frozen=True)
class State(Chains):
    """Where chains are, with the energy `(n,)` and its gradient in u `(n, d)`."""

    energy: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Bridge(Path[State]):
    """A path from a Gaussian to an energy, in coordinates u = Q'z in which its Gaussians are diagonal.

    Where every of n chains has its own base, their energies may differ.

    Attributes:
        stiffness: eigenvalues of G^-1, `(d,)`, or `(n, d)` as the base's.
        energy: E, z `(n, d)` -> `(n,)`, differentiable.
        log_steps: logarithms of the step size at even t from 0 to 1, interpolated between: `(K,)`, or `(K, n)` for
            every chain its own.
    """

    stiffness: Tensor
    energy: Callable[[Tensor], Tensor]
    log_steps: Tensor

    @classmethod
    def from_moments(cls, energy: Callable[[Tensor], Tensor], moments: Moments, noise: Noise) -> Bridge:
        """Return the path from N(m, G) with the moments' mean and covariance, its step size tuned with `noise`."""
        stiffness = 1 / moments.variance
        mean = moments.mean @ moments.rotation
        return tuned(cls(moments.rotation, mean, stiffness, stiffness, energy, untuned(mean)), noise)

    @classmethod
    def isotropic(cls, energy: Callable[[Tensor], Tensor], moments: Moments, noise: Noise) -> Bridge:
        """Return the path from N(0, s^2 I), its step size tuned with `noise`.

        s is 1, the scale of latent variables under a N(0, I) prior, or their root mean square by `moments`, if that is
        more: an energy without a N(0, I) part leaves their scale free, and training may take it anywhere.
        """
        square = (moments.variance.mean() + moments.mean.square().mean()).clamp(min=1)
        zero = torch.zeros_like(moments.mean)
        precision = torch.ones_like(zero) / square
        return tuned(cls(moments.rotation, zero, precision, 1 / moments.variance, energy, untuned(zero)), noise)

    def log_ratio(self, state: State, old: float, new: float) -> Tensor:
        """Return log p_new - log p_old, `(n,)`."""
        gaussian = ((state.u - self.mean).square() * self.precision).sum(-1)
        return (new - old) * (0.5 * gaussian - state.energy)

    def move(self, state: State, t: float, noise: Noise) -> State:
        """Return the state after one trajectory at t, with the step size of t."""
        place = t * (len(self.log_steps) - 1)
        low = min(int(place), len(self.log_steps) - 2)
        log_step = torch.lerp(self.log_steps[low], self.log_steps[low + 1], place - low)
        return self.trajectory(state, t, log_step.exp(), noise)[0]

    def trajectory(self, state: State, t: float, step: Tensor, noise: Noise) -> tuple[State, Tensor]:
        """Return the state after one trajectory at t, and the probability with which it was accepted, `(n,)`.

        Args:
            state: where chains are.
            t: which p_t to leave invariant.
            step: mean step size, `()` or `(n,)`, in units of the guessed standard deviations of p_t.
            noise: where draws come from.
        """
        n, d = state.u.shape
        scale = ((1 - t) * self.precision + t * self.stiffness).rsqrt()
        momentum = noise.normal(n, d).double()  # in units of its own standard deviations, 1/scale
        stride = step[..., None] * (1 + _JITTER * (2 * noise.uniform(n, 1).double() - 1)) * scale
        before = self._potential(state, t) + 0.5 * momentum.square().sum(-1)
        end = state
        for _ in range(LEAPFROGS):
            momentum = momentum - 0.5 * stride * self._slope(end, t)
            end = self.state(end.u + stride * momentum)
            momentum = momentum - 0.5 * stride * self._slope(end, t)
        log_ratio = before - self._potential(end, t) - 0.5 * momentum.square().sum(-1)
        accept = accepted(log_ratio, noise)
        state = State(
            torch.where(accept[:, None], end.u, state.u),
            torch.where(accept, end.energy, state.energy),
            torch.where(accept[:, None], end.gradient, state.gradient),
        )
        return state, log_ratio.clamp(max=0).exp().nan_to_num(0)

    def _potential(self, state: State, t: float) -> Tensor:
        """Return -log p_t, `(n,)`."""
        gaussian = ((state.u - self.mean).square() * self.precision).sum(-1)
        return 0.5 * (1 - t) * gaussian + t * state.energy

    def _slope(self, state: State, t: float) -> Tensor:
        """Return the gradient of -log p_t, `(n, d)`."""
        return (1 - t) * self.precision * (state.u - self.mean) + t * state.gradient

    def state(self, u: Tensor) -> State:
        """Return the state of chains at u `(n, d)`."""
        return State(u, *differentiated(lambda u: self.energy(u @ self.rotation.T), u))


def differentiated(energy: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Return E `(n,)` and its gradient `(n, d)` at z `(n, d)`, in one pass forward and one backward."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = energy(z)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def untuned(like: Tensor) -> Tensor:
    """Return log_steps of trajectories as long as `_REACH` at every t, of the type of `like`."""
    return torch.full((2,), math.log(_REACH / LEAPFROGS), dtype=like.dtype, device=like.device)


@torch.no_grad()
def tuned(bridge: Bridge, noise: Noise, chains: int = PILOTS) -> Bridge:
    """Return `bridge` with a step size for every t, from a pilot run of `chains` that is annealed along.

    It is the step with which `_ACCEPTANCE` of trajectories are accepted, or that of trajectories as long as `_REACH`,
    if it is smaller. Where chains have bases of their own, `chains` has to be the number of them.
    """
    state = bridge.begin(chains, noise)
    log_step = most = math.log(_REACH / LEAPFROGS)
    knots = []
    for knot in range(_KNOTS):
        t = knot / (_KNOTS - 1)
        trail = []
        for _ in range(_TRIALS):
            step = torch.tensor(math.exp(log_step), dtype=torch.float64, device=noise.device)
            state, acceptance = bridge.trajectory(state, t, step, noise)
            log_step = min(log_step + _GAIN * (float(acceptance.mean()) - _ACCEPTANCE), most)
            trail.append(log_step)
        knots.append(sum(trail[_TRIALS // 2 :]) / len(trail[_TRIALS // 2 :]))
    return replace(bridge, log_steps=torch.tensor(knots, dtype=torch.float64, device=noise.device))
