"""What can be told of an energy without annealing: how exp(-E) falls off, and a floor under its log Z.

Both work in whitened coordinates x of some moments (`Moments.colour`), in which samples are about N(0, I).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.estimators.hmc import Moments, differentiated
from bench.protocol import Noise, NotFinite

Energy = Callable[[Tensor], Tensor]

_STARTS = 256
_RADII = (1e3, 1e6)
_TURNS = 200  # steps of descent on the sphere
_LEAST_FREEDOM = 5.0  # at 4, one interval of 20 in 16 dimensions was wrong and not called unreliable; at 6, none
_SCALES = (1.0, 3.0, 10.0, 30.0)  # standard deviations of the starts of the hunt for modes
_DESCENTS = 300  # steps of the hunt
_STRIDE = 2.0  # how far one of them goes at most
_APART = 0.05  # minima closer than that are one
_MODES = 32  # of which so many are kept at most
_DIFFERENCE = 1e-3  # between points whose gradients give a curvature
_FLATTEST = 0.04  # least curvature of a mode: a direction wider than 5 counts as 5 wide
_GROUPS, _DRAWS = 20, 1000
_ERRORS = 4.0  # standard errors by which the floor is lowered
_ROWS = 2**13  # points whose energy is taken at a time


def whitened(energy: Energy, moments: Moments) -> Energy:
    """Return E as a function of x, less what makes its log Z the same as that of E."""
    return lambda x: energy(moments.colour(x)) - moments.log_scale


@torch.no_grad()
def tails(energy: Energy, moments: Moments, noise: Noise) -> str:
    """Return what is the matter with the tails of exp(-E), if anything is.

    From random directions it descends on a sphere so wide that a perceptron is as good as linear along every ray. On
    any ray, E has to rise by more than d log R over a factor of R, or the mass of a cone around it grows without end.
    If it rises by (d + k) log R, the tail is that of Student's t with k degrees of freedom, and for small k too heavy
    for chains that start from a normal distribution. To find no such ray proves nothing; to find one does.

    Raises:
        NotFinite: the density does not integrate, or its energy is not a number far out.
    """
    energy = whitened(energy, moments)
    near, far = _RADII
    direction = normalize(noise.normal(_STARTS, len(moments.mean)).double(), dim=1)
    for turn in range(_TURNS):
        _, gradient = differentiated(energy, far * direction)
        tangent = gradient - (gradient * direction).sum(1, keepdim=True) * direction
        angle = 0.5 * 0.92**turn  # at last 3e-8: far out, the valley around a ray is narrow
        direction = normalize(direction - angle * normalize(tangent.nan_to_num(), dim=1), dim=1)
    low, high = energy(near * direction), energy(far * direction)
    if bool(high.isnan().any()):
        raise NotFinite("log Z cannot be estimated: the energy is not a number far away from the samples")
    rise = torch.where(high == math.inf, math.inf, high - low)
    freedom = float((rise / math.log(far / near)).min()) - len(moments.mean)
    if not freedom > 0:
        raise NotFinite("log Z cannot be estimated: the density does not fall off away from its samples")
    return (
        "" if freedom > _LEAST_FREEDOM else f"the tails are those of Student's t with {freedom:.1f} degrees of freedom"
    )


@dataclass(frozen=True)
class Mixture:
    """Normal distributions at modes: weights `(K,)`, centres `(K, d)`, and curvatures by eigenvalues and -vectors.

    Attributes:
        log_shares: logarithms of the weights, `(K,)`.
        centres: `(K, d)`.
        precisions: eigenvalues of the inverse covariances, `(K, d)`.
        axes: their eigenvectors in columns, `(K, d, d)`.
    """

    log_shares: Tensor
    centres: Tensor
    precisions: Tensor
    axes: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density, `(n,)`, at x `(n, d)`."""
        parts = []
        for share, centre, precision, axes in zip(
            self.log_shares, self.centres, self.precisions, self.axes, strict=True
        ):
            squares = ((x - centre) @ axes).square() @ precision
            parts.append(share + 0.5 * precision.log().sum() - 0.5 * squares)
        return torch.logsumexp(torch.stack(parts), 0) - 0.5 * x.shape[1] * math.log(2 * math.pi)

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws, `(n, d)`."""
        cumulative = self.log_shares.exp().cumsum(0)
        chosen = torch.searchsorted(cumulative, noise.uniform(n) * cumulative[-1]).clamp(max=len(cumulative) - 1)
        eps = noise.normal(n, self.centres.shape[1]).double()
        x = torch.empty_like(eps)
        for k, (centre, precision, axes) in enumerate(zip(self.centres, self.precisions, self.axes, strict=True)):
            own = chosen == k
            x[own] = centre + (eps[own] * precision.rsqrt()) @ axes.T
        return x


@torch.no_grad()
def floor(energy: Energy, moments: Moments, noise: Noise) -> float:
    """Return a value below which log Z is not, but for chance: mass where modes were found, however far apart.

    Descent from starts on several scales finds modes, and r, a mixture of normal distributions with the curvatures at
    them, is sampled. By Jensen's inequality E_r[log 1/K sum exp(-E(x_k))/r(x_k)] <= log Z for every K and every r. The
    floor is the mean over `_GROUPS` groups of K = `_DRAWS`, less `_ERRORS` standard errors; minus infinity where no
    mode was found. The better the modes resemble normal distributions, the closer it is. A mode much narrower than
    another has hardly any valley that leads to it; far away, it is missed.

    References:
        Burda et al. (2016), Importance weighted autoencoders, theorem 1.
    """
    energy = whitened(energy, moments)
    scales = torch.tensor(_SCALES, dtype=torch.float64, device=noise.device).repeat_interleave(_STARTS // len(_SCALES))
    x = descend(energy, scales[:, None] * noise.normal(_STARTS, len(moments.mean)))
    r = mixture(energy, distinct(energy, x))
    if r is None:
        return -math.inf
    x = r.sample(_GROUPS * _DRAWS, noise)
    log_weights = torch.cat([-energy(part) for part in x.split(_ROWS)]) - r.log_prob(x)
    groups = torch.logsumexp(log_weights.reshape(_GROUPS, _DRAWS), 1) - math.log(_DRAWS)
    value = float(groups.mean()) - _ERRORS * float(groups.std()) / _GROUPS**0.5
    return value if math.isfinite(value) else -math.inf


def descend(energy: Energy, x: Tensor) -> Tensor:
    """Return x `(n, d)` after `_DESCENTS` steps down the energy, each as long as the last two gradients suggest.

    References:
        Barzilai & Borwein (1988), Two-point step size gradient methods; here with steps back wherever E rises.
    """
    height, gradient = differentiated(energy, x)
    step = torch.full_like(x[:, :1], 0.1)
    for _ in range(_DESCENTS):
        step = step.minimum(_STRIDE / gradient.norm(dim=1, keepdim=True))
        proposal = x - step * gradient
        reached, slope = differentiated(energy, proposal)
        down = (reached < height)[:, None]
        moved, bent = proposal - x, slope - gradient
        suggested = moved.square().sum(1, keepdim=True) / (moved * bent).sum(1, keepdim=True)
        suggested = torch.where((suggested > 0) & suggested.isfinite(), suggested, 4 * step)
        step = torch.where(down, suggested, step / 4)
        x, gradient = torch.where(down, proposal, x), torch.where(down, slope, gradient)
        height = torch.where(down[:, 0], reached, height)
    return x


def distinct(energy: Energy, x: Tensor) -> Tensor:
    """Return the `_MODES` lowest of x `(n, d)` that are at least `_APART` from each other and of finite energy."""
    height = energy(x)
    kept: list[Tensor] = []
    for index in height.argsort().tolist():
        apart = all(float((x[index] - other).norm()) > _APART for other in kept)
        if apart and math.isfinite(float(height[index])) and len(kept) < _MODES:
            kept.append(x[index])
    return torch.stack(kept) if kept else x[:0]


def mixture(energy: Energy, modes: Tensor) -> Mixture | None:
    """Return normal distributions at `modes` `(K, d)`, or None where there are none with finite curvatures.

    A mode's weight is the mean of 1/K and its share of the mass of all, by Laplace's approximation: wherever a mode is
    heavier than that says, it is sampled all the same.
    """
    d = modes.shape[1]
    offsets = _DIFFERENCE * torch.eye(d, dtype=torch.float64, device=modes.device)
    gradients = [differentiated(energy, (mode + torch.cat([offsets, -offsets])))[1].reshape(2, d, d) for mode in modes]
    hessians = [(ahead - behind) / (2 * _DIFFERENCE) for ahead, behind in gradients]
    finite = [k for k, hessian in enumerate(hessians) if bool(hessian.isfinite().all())]
    if not finite:
        return None
    centres, curvature = modes[finite], torch.stack([hessians[k] for k in finite])
    precisions, axes = torch.linalg.eigh((curvature + curvature.mT) / 2)
    precisions = precisions.clamp(min=_FLATTEST)
    mass = torch.softmax(-energy(centres) - 0.5 * precisions.log().sum(1), 0)
    return Mixture(((mass + 1 / len(finite)) / 2).log(), centres, precisions, axes)
