"""log Z of an unnormalised prior by the best route there is, with the interval in which it lies.

1. A density that can be enumerated: its own exact value.
2. Any energy in at most two dimensions: quadrature.
3. Annealed importance sampling (`ais.py`) from two bases. One has the full-covariance moments of the posterior
   samples: it is close where the prior fits. The other is blind to the data, so that mass the data never touch is found
   as well. A density may bring its own paths, as a GRBM does. For another energy the second base is N(0, s^2 I) with
   s = 1, or the latents' scale if that is greater, and chains move by Hamiltonian Monte Carlo (`hmc.py`).

AIS is unbiased for Z, not for log Z, and a chain that misses a mode says nothing about it. So an estimate comes as
the interval from the least of (estimate - 2.24 se) to the greatest of (estimate + 2.24 se) over both bases, no end of
it below a floor that the density brings with its paths, or that of `landscape.py`; and it is called unreliable if

- a forward effective sample size is below half the number of chains,
- the two bases, or a base's forward and reverse chains, differ by more than 3 joint standard errors,
- the floor is above an estimate by more than 2.24 standard errors, or
- the density itself is in doubt: it has heavy tails (`landscape.tails`).

Reverse chains start from forward chains' ends, resampled by weight. They only test consistency: if all forward chains
missed a mode, so do they.

The point estimate is the log of the mean of all weights, of both bases alike. That is a mean of unbiased estimates of
Z with fixed weights, hence unbiased for Z itself, and where the bases disagree it follows the one that found more
mass, to within log 2. To weight them by precision or by effective sample size would favour the base that missed a
mode: there the weights vary less.

How many chains and temperatures this takes is found out by rounds (`ais.adapted`), the last of which alone is the
estimate.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.estimators import ais, hmc, landscape, quadrature
from bench.estimators.ais import LogZ
from bench.estimators.subject import LOG_Z, Meter, Subject
from bench.priors.density import Annealing, Density, Path, State
from bench.protocol import Ais, Noise, NotFinite, Score, Scores, UserError

QUANTILE = 2.24  # two-sided 97.5 %: with two estimates, the union covers 99.5 % or more
DISAGREEMENT = 3.0
ROUNDING = 1e-6  # nats: where AIS is exact, as along a path of equal densities, its standard error is 0
QUADRATURE_TOLERANCE = 1e-2
_SETTLING = 20  # moves between resampling and the reverse chains
_ANCHORS = 1000


@dataclass(frozen=True)
class Estimate:
    """One estimate of log Z: its standard error and effective sample size, from `n` chains.

    Attributes:
        base: where its chains start or end, or `pooled` for those of all bases.
        backward: whether they lead from the model to the base.
    """

    base: str
    backward: bool
    value: float
    stderr: float
    ess: float
    n: int

    @property
    def name(self) -> str:
        """`forward_BASE` or `reverse_BASE`."""
        return f"{'reverse' if self.backward else 'forward'}_{self.base}"

    @classmethod
    def of(cls, base: str, log_weights: Tensor, backward: bool = False) -> Estimate:
        """Return log mean exp(log_weights `(n,)`), or minus that if `backward`, with its delta-method error.

        Raises:
            NotFinite: it is not finite.
        """
        n = len(log_weights)
        weights = torch.softmax(log_weights, 0)
        ess = 1 / float(weights.square().sum())
        value = float(torch.logsumexp(log_weights, 0)) - math.log(n)
        stderr = math.sqrt(max(n / ess - 1, 0) / (n - 1))
        estimate = cls(base, backward, -value if backward else value, stderr, ess, n)
        if not math.isfinite(value):
            raise NotFinite(f"log Z cannot be estimated: the mean weight of {estimate.name} chains is exp({value})")
        return estimate

    def differs(self, other: Estimate) -> bool:
        """Return whether the two are more than 3 joint standard errors apart, and than rounding explains."""
        apart = DISAGREEMENT * math.hypot(self.stderr, other.stderr)
        return abs(self.value - other.value) > max(apart, ROUNDING)


def chain_steps(settings: Ais) -> int:
    """Return how many steps of single chains a round takes: two bases, `repeats` runs forward and one in reverse."""
    return 2 * (settings.repeats + 1) * settings.chains * settings.temperatures


def log_partition(
    prior: Density,
    train_latents: Tensor,
    settings: Ais,
    noise_for: Callable[[str], Noise],
    meter: Meter | None = None,
) -> LogZ:
    """Return log Z of an unnormalised prior.

    Args:
        prior: gives the energy, and says what it can.
        train_latents: samples of q(z|x) on training data, `(M, d)`, M >= 2.
        settings: the most effort of AIS, where it is needed, and the width of interval at which less will do.
        noise_for: name of a stream -> its noise, on the prior's device.
        meter: told what a round of AIS takes that is about to begin, and what has been done.

    Raises:
        UserError: the energy has no gradient, and more than two dimensions.
        NotFinite: parameters or latents are not finite, or the prior does not integrate.
    """
    if len(train_latents) < 2 or not bool(train_latents.isfinite().all()):
        raise NotFinite("log Z cannot be estimated: it needs two or more finite latents of training data")
    exact = prior.exact_log_z()
    if exact is not None:
        exact = float(exact)  # a plugin may give a tensor
        return LogZ(exact, exact, exact, 0.0, 1, "exact-enumeration")
    if train_latents.shape[-1] > quadrature.MAX_DIMENSION:
        return anneal(prior, train_latents, settings, noise_for, meter)
    noise = noise_for("log-z/anchors")
    anchors = torch.cat([train_latents.to(noise.device), prior.sample(_ANCHORS, noise)]).detach()
    return by_quadrature(prior, anchors)


def by_quadrature(prior: Density, anchors: Tensor, tolerance: float = quadrature.TOLERANCE) -> LogZ:
    """Return log Z in at most two dimensions; `anchors` and `tolerance` are those of `quadrature.log_z`.

    Raises:
        NotFinite: the density is not finite, or does not fall off.
    """
    value, error = quadrature.log_z(_double(prior).energy, anchors.double(), tolerance)
    reason = "" if error <= QUADRATURE_TOLERANCE else f"quadrature had not converged: its last step was {error:.2g}"
    return LogZ(value, value - error, value + error, 0.0, 1, "quadrature", reason)


def _double(prior: Density) -> Density:
    """Return `prior` in float64, its parameters constants."""
    return copy.deepcopy(prior).double().requires_grad_(False)


def anneal(
    prior: Density,
    train_latents: Tensor,
    maximum: Ais,
    noise_for: Callable[[str], Noise],
    meter: Meter | None = None,
) -> LogZ:
    """Return log Z by AIS from each base, with as much effort as it takes and `maximum` allows.

    Arguments and errors are those of `log_partition`; the checks are those of this module's docstring.
    """
    annealing = prior.annealing(train_latents, noise_for) or hamiltonian(prior, train_latents, noise_for)
    counter = meter or Meter()

    def run(number: int, settings: Ais) -> LogZ:
        counter.expect(prior.step_cost * chain_steps(settings))
        return _round(
            annealing,
            settings,
            lambda name: noise_for(f"log-z/{number}/{name}"),
            lambda chains: counter.advance(prior.step_cost * chains),
        )

    rounds = ais.adapted(maximum, run)
    rows = [[effort.temperatures, effort.chains, effort.repeats, result.width] for effort, result in rounds]
    result = rounds[-1][1]
    result.arrays["ais_rounds"] = np.array(rows)
    return result


def hamiltonian(prior: Density, train_latents: Tensor, noise_for: Callable[[str], Noise]) -> Annealing:
    """Return paths to any differentiable energy, along which Hamiltonian Monte Carlo moves chains.

    Every temperature costs a chain one trajectory: `hmc.LEAPFROGS` evaluations of the energy and its gradient.

    Raises:
        UserError: the energy has no gradient by autograd.
        NotFinite: the density does not integrate, or its energy is not finite where it has to be known.
    """
    energy, noise = _double(prior).energy, noise_for("log-z/modes")
    latents = train_latents.detach().to(noise.device).double()
    with torch.enable_grad():
        if not energy(latents[:1].requires_grad_()).requires_grad:
            raise UserError(
                f"log Z of the prior {type(prior).__name__} cannot be estimated in {latents.shape[1]} dimensions: "
                "autograd cannot differentiate its energy; allowed are energies that it can, any energy in at most "
                f"{quadrature.MAX_DIMENSION} dimensions, or a normalised prior"
            )
    moments = hmc.Moments.of(latents)
    doubt = landscape.tails(energy, moments, noise)
    floor = landscape.floor(energy, moments, noise)
    bridges = {
        "posterior": hmc.Bridge.from_moments(energy, moments, noise_for("log-z/pilot/posterior")),
        "isotropic": hmc.Bridge.isotropic(energy, moments, noise_for("log-z/pilot/isotropic")),
    }
    return Annealing(bridges, floor, doubt)


def _round(
    annealing: Annealing, settings: Ais, noise_for: Callable[[str], Noise], progress: Callable[[int], None]
) -> LogZ:
    """Return log Z by AIS from each base, forward and in reverse, with the effort of `settings`."""
    temperatures, chains = settings.temperatures, settings.chains
    weights: dict[str, Tensor] = {}
    ends: list[Tensor] = []
    for base, path in annealing.paths.items():
        runs = []
        for repeat in range(settings.repeats):
            log_weight, y = ais.forward(path, temperatures, chains, noise_for(f"forward/{base}/{repeat}"), progress)
            runs.append(log_weight)
            ends.append(y)
        weights[base] = torch.stack(runs)
    pooled = torch.cat([part.flatten() for part in weights.values()])
    estimates = [Estimate.of(base, part.flatten()) for base, part in weights.items()]
    arrays = {f"ais_forward_{base}": part.cpu().numpy() for base, part in weights.items()}
    for base, path in annealing.paths.items():
        noise = noise_for(f"reverse/{base}")
        y = _settle(path, _resample(pooled, torch.cat(ends), chains, noise), noise)
        log_weight = ais.reverse(path, temperatures, y, noise, progress)
        estimates.append(Estimate.of(base, log_weight, backward=True))
        arrays[f"ais_reverse_{base}"] = log_weight.cpu().numpy()

    rows = [[estimate.value, estimate.stderr, estimate.ess, estimate.n] for estimate in estimates]
    arrays |= {"ais_estimates": np.array(rows), "ais_floor": np.array(annealing.floor)}
    return combine(estimates, Estimate.of("pooled", pooled), annealing.floor, arrays, annealing.doubt)


def combine(
    estimates: list[Estimate], pooled: Estimate, floor: float, arrays: dict[str, np.ndarray], doubt: str = ""
) -> LogZ:
    """Return the interval of `estimates`, forward and reverse, around `pooled`, and whether it may be trusted.

    Args:
        estimates: forward and backward, of each base; only the first kind spans the interval.
        pooled: the point estimate, from all forward chains.
        floor: a value that log Z is not below.
        arrays: passed on.
        doubt: a reason to call it unreliable, whatever the estimates.
    """
    forward = [estimate for estimate in estimates if not estimate.backward]
    lower = min(estimate.value - QUANTILE * estimate.stderr for estimate in forward)
    upper = max(estimate.value + QUANTILE * estimate.stderr for estimate in forward)
    reasons = [doubt] if doubt else []
    reasons += [
        f"{estimate.name} has an effective sample size of {estimate.ess:.0f} of {estimate.n}"
        for estimate in forward
        if not estimate.ess >= estimate.n / 2
    ]
    reasons += [
        f"{one.name} ({one.value:.3f}) and {other.name} ({other.value:.3f}) disagree"
        for one, other in itertools.combinations(estimates, 2)
        if (one.base == other.base or not (one.backward or other.backward)) and one.differs(other)
    ]
    reasons += [
        f"{estimate.name} ({estimate.value:.3f}) is below the floor ({floor:.3f})"
        for estimate in forward
        if floor > estimate.value + max(QUANTILE * estimate.stderr, ROUNDING)
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
    # above 0 and up to 1, so that no row is drawn whose weight is 0, be it the first or the last
    points = (torch.arange(1, n + 1, device=y.device) - noise.uniform(1).double()) / n
    return y[torch.searchsorted(cumulative, points * cumulative[-1])]


def _settle(path: Path[State], y: Tensor, noise: Noise) -> Tensor:
    """Return y `(n, d)` after moves that leave the model invariant."""
    state = path.at(y)
    for _ in range(_SETTLING):
        state = path.move(state, 1.0, noise)
    return path.ends(state)


def score_log_z(subject: Subject) -> Scores:
    """Score log Z: nothing where the prior is normalised or has no density.

    Arrays, where it is estimated by AIS: `ais_forward_BASE` `(repeats, chains)` and `ais_reverse_BASE` `(chains,)`, log
    weights with BASE `posterior` and either `uniform` (of a GRBM) or `isotropic`; `ais_estimates` `(4, 4)`, in that
    order (forward first) the value, standard error, effective sample size and number of chains; `ais_floor`;
    `ais_rounds` `(rounds, 4)`, temperatures, chains, repeats and width of the interval of every round, the last of
    which alone is the estimate.
    """
    if subject.prior.normalised or not subject.prior.has_density:
        return Scores([])
    log_z = log_partition(subject.prior, subject.latents, subject.evaluation.ais, subject.noise_for, subject.meter)
    ends = (log_z.lower, log_z.upper)
    # its error from the chains is what its interval is made of, and is counted there alone
    score = Score(LOG_Z, log_z.value, log_z.n, log_z.estimator, 0.0, 0.0, *ends, log_z.unreliable)
    return Scores([score], log_z.arrays)
