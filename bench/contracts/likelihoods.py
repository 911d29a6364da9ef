"""The contract on a data set's own likelihood: shapes, a density that integrates to 1, its draws, and its reader.

Where the numbers of an item are independent given z, log p(x|z) is a sum of one function a number, so that an integral
over each number, others standing still, gives the one over x. Where it is no such sum, its integral is not looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from bench.contracts.verdicts import Breach
from bench.estimators import quadrature
from bench.streams import stream
from bench.vae import Likelihood

DRAWS = 50  # of every parameter
ERRORS = 5.0  # standard errors
SAMPLES = 2000  # of one item
LOOKED = 64  # numbers of an item that are integrated over; where it has more, they stand for all
FEATURES = 5  # that a reader reads
POINTS = (200, 400)  # what halving the spacing changes is taken for the quadrature's error
SETTLED = 0.05  # of a log integral, by which halving the spacing changes it at most where there is one
NORMALISED = 1e-3  # of a log integral, nats
ROUNDING = 1e-6  # relative, of a sum in float32
CLOSE = 1e-4  # relative, of two ways to a sum in float32
LATTICE = 10_000  # points of a discrete number at most
WAVES = (1.0, 2.5)  # a longer wave sees a place and a width, a shorter one a shape


def check(own: Likelihood, x: Tensor) -> str:
    """Check a likelihood in evaluation mode on prepared items x `(B, D)`; return what was seen.

    Its own parameters are moved from where they start first, where a factor that it forgets may still be 1.

    Raises:
        Breach: what is wrong.
    """
    own.eval()
    noise = stream(0, "check/moves")
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.add_(0.1 + 0.1 * noise.uniform(*parameter.shape))
    _check_shapes(own, x)
    _check_reader(own, x)
    with torch.no_grad():
        seen = _check_density(own, x.shape[-1])
    return f"{type(own).__name__}: densities (..., B), means and samples (..., B, D); {seen}"


@torch.no_grad()
def _check_shapes(own: Likelihood, x: Tensor) -> None:
    parameters = stream(0, "check/parameters").normal(3, *x.shape)
    density = own.log_prob(x, parameters)
    if density.shape != parameters.shape[:-1] or not bool(density.isfinite().all()):
        right = f"it must give {tuple(parameters.shape[:-1])}, finite"
        raise Breach(f"log_prob gives {tuple(density.shape)} for parameters {tuple(parameters.shape)}; {right}")
    alone = own.log_prob(x[:1], parameters[:, :1])
    if not torch.allclose(alone, density[:, :1], rtol=CLOSE, atol=CLOSE):
        raise Breach("log_prob of an item depends on the items beside it; in evaluation mode it may not")
    expanded = parameters.expand(DRAWS, -1, -1, -1)
    mean, draws = own.mean(parameters), own.sample(expanded, stream(0, "check/draws"))
    if mean.shape != parameters.shape or draws.shape != (DRAWS, *parameters.shape):
        shapes = f"{tuple(mean.shape)} and {tuple(draws.shape)}"
        raise Breach(f"mean and sample give {shapes}; they must give the shape of the parameters")
    if not torch.equal(draws, own.sample(expanded, stream(0, "check/draws"))):
        raise Breach("sample gives other draws when it is called again; draw from the noise that is handed over")
    if torch.equal(draws, own.sample(expanded, stream(0, "check/other"))):
        raise Breach("sample gives the same draws whatever the noise; draw from the noise that is handed over")
    if own.bounds is not None and not bool(((draws >= own.bounds[0]) & (draws <= own.bounds[1])).all()):
        raise Breach(f"sample gives numbers outside of its bounds {own.bounds}")
    off = ((draws.mean(0) - mean).mean() / (draws.std(0).square().mean() / draws[0].numel() / DRAWS).sqrt()).abs()
    if not float(off) <= ERRORS:
        raise Breach(f"its mean is {float(off):.3g} standard errors from that of its samples")


def _check_reader(own: Likelihood, x: Tensor) -> None:
    """Compare the likelihood's reader, and its gradient in the features, with log_prob."""
    noise = stream(0, "check/features")
    head = nn.utils.skip_init(nn.Linear, FEATURES, x.shape[-1])
    with torch.no_grad():
        head.weight.copy_(noise.normal(*head.weight.shape) / FEATURES**0.5)
        head.bias.copy_(noise.normal(*head.bias.shape))
    features = noise.normal(3, len(x), FEATURES).requires_grad_()
    right, read = own.log_prob(x, head(features)), own.reader(x, head)(features)
    if read.shape != right.shape:
        raise Breach(f"its reader gives {tuple(read.shape)} for features {tuple(features.shape)}, log_prob another")
    slope, right_slope = (torch.autograd.grad(value.sum(), features)[0] for value in (read, right))
    for words, one, other in (("", read.detach(), right.detach()), ("the gradient of ", slope, right_slope)):
        off = float((one - other).abs().max())
        if not off <= CLOSE * (1 + float(other.abs().max())):
            raise Breach(f"its reader does not give {words}log_prob: it differs by up to {off:.3g} nats")


# ---------------------------------------------------------------- the density


@dataclass(frozen=True)
class Item:
    """The density of one item x `(D,)` under parameters `(D,)`, around the median of draws of it, `(SAMPLES, D)`."""

    own: Likelihood
    parameters: Tensor
    draws: Tensor

    @cached_property
    def base(self) -> Tensor:
        """The median of each number, one of those that were drawn."""
        return self.draws.median(0).values

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x|z), `(n,)` float64, for x `(n, D)`."""
        return self.own.log_prob(x, self.parameters.expand_as(x)).double()

    def varied(self, start: Tensor, at: Tensor, values: Tensor) -> Tensor:
        """Return log p(x|z), `(n,)`, of `start` whose number `at[k]` is `values[k]` in row k."""
        x = start.repeat(len(at), 1)
        x[torch.arange(len(at)), at] = values.to(x.dtype)
        return self.log_prob(x)

    def factorises(self, chosen: Tensor, rounding: float) -> bool:
        """Tell whether what changing one number does to log p(x|z) does not depend on the others."""
        base, other = self.base, self.draws[0]
        there = self.varied(base, chosen, other[chosen]) - self.log_prob(base[None])
        back = self.log_prob(other[None]) - self.varied(other, chosen, base[chosen])
        return bool(((there - back).abs() <= 4 * rounding).all())  # each is a difference of two sums


def _check_density(own: Likelihood, size: int) -> str:
    """Check that exp(log_prob) integrates to 1 over items of `size` numbers, and that draws come from it."""
    noise = stream(0, "check/density")
    chosen = noise.permutation(size)[:LOOKED]
    # numbers that stand for all have the same parameters as all
    parameters = noise.normal(size if size <= LOOKED else 1).expand(size)
    draws = own.sample(parameters.expand(SAMPLES, 1, size), noise).squeeze(1)
    item = Item(own, parameters, draws)
    if not bool(item.log_prob(draws[:DRAWS]).isfinite().all()):
        raise Breach("log_prob is not finite for what sample draws")
    start = float(item.log_prob(item.base[None]))
    rounding = ROUNDING * (1 + abs(start))
    if not item.factorises(chosen, rounding):
        return "its integral is not looked at, for its numbers depend on each other"
    logs, off = [], 0.0
    for at in chosen.tolist():
        nodes = [_nodes(own, draws[:, at].double(), points) for points in POINTS]
        if any(node is None for node in nodes):
            return "its integral is not looked at, for its draws repeat and lie on no even grid"
        coarse, fine = (_Number.of(item, at, *node, start) for node in nodes if node is not None)
        error = abs(fine.log_integral - coarse.log_integral)
        if own.bounds is not None and not error <= NORMALISED:  # a density may go to infinity at an end
            return f"its integral is not looked at, for quadrature within {own.bounds} does not settle"
        if not error <= SETTLED:
            raise Breach(f"its density has no integral by quadrature over number {at} of x: does it fall off?")
        off = max(off, _compare(at, draws[:, at].double(), coarse, fine))
        logs.append((fine.log_integral, error))
    integrals, errors = torch.tensor(logs).double().T
    total = start + size * float(integrals.mean())
    allowed = NORMALISED + size * (float(errors.mean()) + rounding)
    if size > LOOKED:
        allowed += ERRORS * size * float(integrals.std()) / LOOKED**0.5
    if not abs(total) <= allowed:
        wrong = f"the log of the integral of exp(log_prob) over x is {total:.4g} nats"
        raise Breach(f"log_prob is not the log of a density: {wrong}, and it must be 0")
    return f"it integrates to 1, and its samples lie within {off:.1f} standard errors of it"


@dataclass(frozen=True)
class _Number:
    """One number of x: values that it takes, weights that add up to 1, and the log of the integral over it.

    The integral is relative to the density at the start.
    """

    nodes: Tensor
    weights: Tensor
    log_integral: float

    @classmethod
    def of(cls, item: Item, at: int, nodes: Tensor, volume: Tensor, start: float) -> _Number:
        values = item.varied(item.base, torch.full((len(nodes),), at), nodes) - start
        if not bool((values < math.inf).all()):  # false for NaN as well
            where = float(nodes[~(values < math.inf)][0])
            rule = "a likelihood of a smaller range says so by its bounds"
            raise Breach(f"log_prob is NaN or infinite where number {at} of x is {where:.4g}; {rule}")
        log_weights = values + volume
        return cls(nodes, torch.softmax(log_weights, 0), float(torch.logsumexp(log_weights, 0)))

    def mean(self, values: Tensor) -> tuple[float, float]:
        """Return mean and standard deviation of values `(n,)` at the nodes."""
        mean = float(self.weights @ values)
        return mean, max(float(self.weights @ values.square()) - mean**2, 0.0) ** 0.5


def _nodes(own: Likelihood, draws: Tensor, points: int) -> tuple[Tensor, Tensor] | None:
    """Return values of a number, `(n,)`, and the log of the volume each stands for; None where there are none.

    Args:
        own: says its bounds.
        draws: of the number, `(SAMPLES,)`; where they repeat, it is discrete.
        points: where it is not.
    """
    low, high = own.bounds or (-math.inf, math.inf)
    values = draws.unique()
    if own.binary:
        return torch.tensor([low, high]).double(), torch.zeros(2).double()
    if len(values) <= SAMPLES // 2:
        return _lattice(values, low, high)
    centre = draws.median()[None]
    if math.isinf(low) and math.isinf(high):
        nodes, volume = quadrature.everywhere(centre, _scale(draws)[None], points)
        return nodes.squeeze(1), volume
    u = (torch.arange(points).double() + 0.5) / points
    if math.isfinite(low) and math.isfinite(high):
        # thicker at both ends, where a density may go to infinity
        return low + (high - low) * u.square() * (3 - 2 * u), ((high - low) * 6 * u * (1 - u) / points).log()
    end, sign = (low, 1) if math.isfinite(low) else (high, -1)
    reach = (centre - end).abs()
    return end + sign * reach * u / (1 - u), (reach / (1 - u).square() / points).log()


def _lattice(values: Tensor, low: float, high: float) -> tuple[Tensor, Tensor] | None:
    """Return the evenly spaced values within bounds that these distinct ones are some of, and zeros; None: uneven."""
    if len(values) < 2:
        return None
    step, first = values.diff().min(), values[0]
    places = (values - first) / step
    more = float(3 * places[-1] + 10)  # beyond those that were drawn, where no bound is near
    below = min(more, float((first - low) / step) + 0.01) // 1
    above = min(float(places[-1]) + more, float((high - first) / step) + 0.01) // 1
    if below + above > LATTICE or not bool(((places - places.round()).abs() < 0.01).all()):
        return None
    nodes = first + step * torch.arange(-below, above + 1).double()
    return nodes, torch.zeros_like(nodes)


def _scale(draws: Tensor) -> Tensor:
    """Return half the range of nine tenths of the draws; 1 where that is 0."""
    low, high = draws.quantile(torch.tensor([0.05, 0.95]).double())
    return (high - low) / 2 if high > low else torch.ones(()).double()


def _compare(at: int, draws: Tensor, coarse: _Number, fine: _Number) -> float:
    """Return by how many standard errors the means of waves over draws of a number differ from its density's at most.

    Raises:
        Breach: it is more than chance explains.
    """
    worst, scale = 0.0, _scale(draws)
    for length in WAVES:
        for wave in (torch.cos, torch.sin):
            expected, spread = fine.mean(wave(length * fine.nodes / scale))
            error = max(spread, ROUNDING) / len(draws) ** 0.5
            away = abs(float(wave(length * draws / scale).mean()) - expected)
            if not away <= ERRORS * error + abs(expected - coarse.mean(wave(length * coarse.nodes / scale))[0]):
                words = f"{wave.__name__}({float(length / scale):.2g} x)"
                apart = f"the mean of {words} of number {at} is {away / error:.3g} standard errors off"
                raise Breach(f"its samples do not come from its density: {apart}")
            worst = max(worst, away / error)
    return worst
