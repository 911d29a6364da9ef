"""log Z of an unnormalised prior by the best route there is, with the interval in which it lies.

1. A GRBM of at most 20 hidden units: enumeration.
2. Any energy in at most two dimensions: quadrature.
3. Annealed importance sampling (`ais.py`) from two bases. One has the full-covariance moments of the posterior
   samples: it is close where the prior fits. The other is blind to the data, so that mass the data never touch is found
   as well. Of a GRBM it has the moments under uniform hidden units, and chains move by Gibbs sweeps. For another energy
   it is N(0, s^2 I) with s = 1, or the latents' scale if that is greater, and chains move by Hamiltonian Monte Carlo
   (`hmc.py`).

AIS is unbiased for Z, not for log Z, and a chain that misses a mode says nothing about it. So an estimate comes as
the interval from the least of (estimate - 2.24 se) to the greatest of (estimate + 2.24 se) over both bases, no end of
it below the floor of `modes.py` or, for energies without hidden units, `landscape.py`; and it is called unreliable if

- a forward effective sample size is below half the number of chains,
- the two bases, or a base's forward and reverse chains, differ by more than 3 joint standard errors,
- the floor is above an estimate by more than 2.24 standard errors, or
- the density has heavy tails (`landscape.tails`; those of a GRBM never are).

Reverse chains start from forward chains' ends, resampled by weight. They only test consistency: if all forward chains
missed a mode, so do they.

The point estimate is the log of the mean of all weights, of both bases alike. That is a mean of unbiased estimates of
Z with fixed weights, hence unbiased for Z itself, and where the bases disagree it follows the one that found more
mass, to within log 2. To weight them by precision or by effective sample size would favour the base that missed a
mode: there the weights vary less.

How many chains and temperatures this takes is found out by rounds (`effort.py`), the last of which alone is the
estimate.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from bench.estimators import ais, effort, exact, hmc, landscape, modes
from bench.estimators.moments import Moments
from bench.estimators.whitened import Whitened
from bench.priors.grbm import GRBM
from bench.protocol import Ais, Noise, Prior, UserError

QUANTILE = 2.24  # two-sided 97.5 %: with two estimates, the union covers 99.5 % or more
DISAGREEMENT = 3.0
QUADRATURE_TOLERANCE = 1e-2
_SETTLING = 20  # moves between resampling and the reverse chains
_ANCHORS = 1000


@dataclass(frozen=True)
class LogZ:
    """log Z, nats: a point estimate and its interval.

    Attributes:
        value: the point estimate.
        lower, upper: where log Z lies; both equal to `value` when it is exact.
        stderr: of the point estimate, by the delta method on linear weights.
        n: chains that it averages; 1 where nothing is sampled.
        estimator: `exact-enumeration`, `quadrature` or `ais`.
        unreliable: why it should not be trusted; empty when it may be.
        arrays: what it was made from.
    """

    value: float
    lower: float
    upper: float
    stderr: float
    n: int
    estimator: str
    unreliable: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def width(self) -> float:
        """Of the interval."""
        return self.upper - self.lower


@dataclass(frozen=True)
class Estimate:
    """One estimate of log Z: its standard error and effective sample size, from `n` chains."""

    name: str
    value: float
    stderr: float
    ess: float
    n: int

    @classmethod
    def of(cls, name: str, log_weights: Tensor, sign: int = 1) -> Estimate:
        """Return sign * log mean exp(log_weights `(n,)`), with its delta-method error; -1 for reverse chains.

        Raises:
            ArithmeticError: it is not finite.
        """
        n = len(log_weights)
        weights = torch.softmax(log_weights, 0)
        ess = 1 / float(weights.square().sum())
        value = float(torch.logsumexp(log_weights, 0)) - math.log(n)
        if not math.isfinite(value):
            raise ArithmeticError(f"log Z cannot be estimated: the mean weight of {name} chains is exp({value})")
        return cls(name, sign * value, math.sqrt(max(n / ess - 1, 0) / (n - 1)), ess, n)

    def differs(self, other: Estimate) -> bool:
        """Return whether the two are more than 3 joint standard errors apart."""
        return abs(self.value - other.value) > DISAGREEMENT * math.hypot(self.stderr, other.stderr)


def route(prior: Prior, dimension: int) -> str:
    """Return the estimator that log Z of `prior` in `dimension` dimensions calls for."""
    if isinstance(prior, GRBM) and len(prior.bias) <= exact.MAX_HIDDEN:
        return "exact-enumeration"
    if dimension <= exact.MAX_DIMENSION:
        return "quadrature"
    return "ais"


def chain_steps(settings: Ais) -> int:
    """Return how many steps of single chains a round takes: two bases, `repeats` runs forward and one in reverse."""
    return 2 * (settings.repeats + 1) * settings.chains * settings.temperatures


def log_partition(
    prior: Prior,
    train_latents: Tensor,
    settings: Ais,
    noise_for: Callable[[str], Noise],
    progress: Callable[[int], None] | None = None,
    expect: Callable[[int], None] | None = None,
) -> LogZ:
    """Return log Z of an unnormalised prior.

    Args:
        prior: gives the energy.
        train_latents: samples of q(z|x) on training data, `(M, d)`, M >= 2.
        settings: the most effort of AIS, where it is needed, and the width of interval at which less will do.
        noise_for: name of a stream -> its noise, on the prior's device.
        progress: told how many chain-steps of AIS have been done since it was last told.
        expect: told how many more chain-steps a round takes that is about to begin.

    Raises:
        UserError: the energy has no gradient, and more than two dimensions.
        ArithmeticError: parameters or latents are not finite, or the prior does not integrate.
    """
    if len(train_latents) < 2 or not bool(train_latents.isfinite().all()):
        raise ArithmeticError("log Z cannot be estimated: it needs two or more finite latents of training data")
    estimator = route(prior, train_latents.shape[-1])
    if estimator == "quadrature":
        return _quadrature(prior, train_latents, noise_for("log-z/anchors"))
    if isinstance(prior, GRBM) and estimator == "exact-enumeration":
        value = exact.enumerate_log_z(prior)
        return LogZ(value, value, value, 0.0, 1, estimator)
    if isinstance(prior, GRBM):
        return anneal(prior, train_latents, settings, noise_for, progress, expect)
    return anneal_energy(prior, train_latents, settings, noise_for, progress, expect)


def _quadrature(prior: Prior, train_latents: Tensor, noise: Noise) -> LogZ:
    anchors = torch.cat([train_latents.to(noise.device), prior.sample(_ANCHORS, noise)]).detach().double()
    value, error = exact.quadrature(_double(prior).energy, anchors)
    reason = "" if error <= QUADRATURE_TOLERANCE else f"quadrature had not converged: its last step was {error:.2g}"
    return LogZ(value, value - error, value + error, 0.0, 1, "quadrature", reason)


def _double(prior: Prior) -> Prior:
    """Return `prior` in float64, its parameters constants."""
    return copy.deepcopy(prior).double().requires_grad_(False) if isinstance(prior, nn.Module) else prior


def anneal(
    grbm: GRBM,
    train_latents: Tensor,
    settings: Ais,
    noise_for: Callable[[str], Noise],
    progress: Callable[[int], None] | None = None,
    expect: Callable[[int], None] | None = None,
) -> LogZ:
    """Return log Z of a GRBM of any size by AIS from both bases, with the checks of this module's docstring."""
    model = Whitened.of(grbm)
    bases = {
        "posterior": ais.Base.from_samples(model, train_latents.to(model.mu.device)),
        "uniform": ais.Base.uniform_hidden(model),
    }
    return _anneal(bases, modes.floor(model, noise_for("log-z/modes")), settings, noise_for, progress, expect)


def anneal_energy(
    prior: Prior,
    train_latents: Tensor,
    settings: Ais,
    noise_for: Callable[[str], Noise],
    progress: Callable[[int], None] | None = None,
    expect: Callable[[int], None] | None = None,
) -> LogZ:
    """Return log Z of any differentiable energy by AIS from both bases, with the checks of this module's docstring.

    Every temperature costs a chain one trajectory: `hmc.LEAPFROGS` evaluations of the energy and its gradient.

    Raises:
        UserError: the energy has no gradient by autograd.
        ArithmeticError: the density does not integrate, or its energy is not finite where it has to be known.
    """
    energy, noise = _double(prior).energy, noise_for("log-z/modes")
    latents = train_latents.detach().to(noise.device).double()
    with torch.enable_grad():
        if not energy(latents[:1].requires_grad_()).requires_grad:
            raise UserError(
                f"log Z of the prior {type(prior).__name__} cannot be estimated in {latents.shape[1]} dimensions: "
                "autograd cannot differentiate its energy; allowed are energies that it can, any energy in at most "
                f"{exact.MAX_DIMENSION} dimensions, or a normalised prior"
            )
    moments = Moments.of(latents)
    doubt = landscape.tails(energy, moments, noise)
    floor = landscape.floor(energy, moments, noise)
    bridges = {
        "posterior": hmc.Bridge.from_moments(energy, moments, noise_for("log-z/pilot/posterior")),
        "isotropic": hmc.Bridge.isotropic(energy, moments, noise_for("log-z/pilot/isotropic")),
    }
    return _anneal(bridges, floor, settings, noise_for, progress, expect, doubt)


def _anneal(
    paths: Mapping[str, ais.Path[ais.State]],
    floor: float,
    maximum: Ais,
    noise_for: Callable[[str], Noise],
    progress: Callable[[int], None] | None,
    expect: Callable[[int], None] | None,
    doubt: str = "",
) -> LogZ:
    """Return log Z by AIS along `paths` from each base, with as much effort as it takes and `maximum` allows."""

    def run(number: int, settings: Ais) -> LogZ:
        if expect is not None:
            expect(chain_steps(settings))
        return _round(paths, floor, settings, lambda name: noise_for(f"log-z/{number}/{name}"), progress, doubt)

    rounds = effort.adapted(maximum, run)
    result = rounds[-1][1]
    result.arrays["ais_rounds"] = np.array(
        [[each.temperatures, each.chains, each.repeats, found.width] for each, found in rounds]
    )
    return result


def _round(
    paths: Mapping[str, ais.Path[ais.State]],
    floor: float,
    settings: Ais,
    noise_for: Callable[[str], Noise],
    progress: Callable[[int], None] | None,
    doubt: str,
) -> LogZ:
    """Return log Z by AIS along `paths` from each base, forward and in reverse, with the effort of `settings`."""
    temperatures, chains = settings.temperatures, settings.chains
    weights: dict[str, Tensor] = {}
    ends: list[Tensor] = []
    for name, path in paths.items():
        runs = []
        for repeat in range(settings.repeats):
            log_weight, y = ais.forward(path, temperatures, chains, noise_for(f"forward/{name}/{repeat}"), progress)
            runs.append(log_weight)
            ends.append(y)
        weights[f"forward_{name}"] = torch.stack(runs)

    pooled = torch.cat([weights[f"forward_{name}"].flatten() for name in paths])
    for name, path in paths.items():
        noise = noise_for(f"reverse/{name}")
        y = _settle(path, _resample(pooled, torch.cat(ends), chains, noise), noise)
        weights[f"reverse_{name}"] = ais.reverse(path, temperatures, y, noise, progress)

    estimates = [
        Estimate.of(name, part.flatten(), -1 if name.startswith("reverse") else 1) for name, part in weights.items()
    ]
    arrays = {f"ais_{name}": part.cpu().numpy() for name, part in weights.items()}
    arrays |= {
        "ais_estimates": np.array([[each.value, each.stderr, each.ess, each.n] for each in estimates]),
        "ais_floor": np.array(floor),
    }
    return combine(estimates, Estimate.of("pooled", pooled), floor, arrays, doubt)


def combine(
    estimates: list[Estimate], pooled: Estimate, floor: float, arrays: dict[str, np.ndarray], doubt: str = ""
) -> LogZ:
    """Return the interval of `estimates`, forward and reverse, around `pooled`, and whether it may be trusted.

    Args:
        estimates: named `forward_BASE` or `reverse_BASE`; only the first kind spans the interval.
        pooled: the point estimate, from all forward chains.
        floor: a value that log Z is not below.
        arrays: passed on.
        doubt: a reason to call it unreliable, whatever the estimates.
    """
    forward = [each for each in estimates if each.name.startswith("forward_")]
    lower = min(each.value - QUANTILE * each.stderr for each in forward)
    upper = max(each.value + QUANTILE * each.stderr for each in forward)
    reasons = [doubt] if doubt else []
    reasons += [
        f"{each.name} has an effective sample size of {each.ess:.0f} of {each.n}"
        for each in forward
        if not each.ess >= each.n / 2
    ]
    for one, other in itertools.combinations(estimates, 2):
        same_base = one.name.split("_")[1] == other.name.split("_")[1]
        if (same_base or (one in forward and other in forward)) and one.differs(other):
            reasons.append(f"{one.name} ({one.value:.3f}) and {other.name} ({other.value:.3f}) disagree")
    reasons += [
        f"{each.name} ({each.value:.3f}) is below the floor ({floor:.3f})"
        for each in forward
        if floor > each.value + QUANTILE * each.stderr
    ]
    return LogZ(
        max(pooled.value, floor),
        max(lower, floor),
        max(upper, floor),
        pooled.stderr,
        pooled.n,
        "ais",
        "; ".join(reasons),
        arrays,
    )


def _resample(log_weights: Tensor, y: Tensor, n: int, noise: Noise) -> Tensor:
    """Return n rows of y `(m, d)`, drawn by the softmax of log_weights `(m,)`, evenly spread (systematically)."""
    cumulative = torch.softmax(log_weights, 0).cumsum(0)
    points = (torch.arange(n, device=y.device) + noise.uniform(1)) / n
    return y[torch.searchsorted(cumulative, points * cumulative[-1]).clamp(max=len(y) - 1)]


def _settle(path: ais.Path[ais.State], y: Tensor, noise: Noise) -> Tensor:
    """Return y `(n, d)` after moves that leave the model invariant."""
    state = path.at(y)
    for _ in range(_SETTLING):
        state = path.move(state, 1.0, noise)
    return path.ends(state)
