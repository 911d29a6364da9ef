"""Annealed importance sampling of any path between a density of known log Z and one of unknown, and its effort.

Effort is found out by rounds, the last of which alone counts. To go on until an interval looks narrow, and to publish
the weights that looked so, favours runs that are narrow by chance: those whose chains have missed what makes weights
vary. So no weight decides about its own use alone. A round counts if an earlier one, whose weights are thrown away, had
foreseen that this effort would do; and its own effort was fixed before it began. It is then an estimate of fixed
effort, unbiased for Z as any other. Nothing is pooled over rounds, whose number depends on their weights.

The first round is a pilot, if the maximum is more than two of it. Where it shows that less effort will do, the second
has less, but some; from there on effort only grows. A foreseen round can still turn out too wide, or unreliable, and is
then no more than another pilot. Of rounds that could be published there are few, each with more effort than the last,
and one is silently wrong no more often than all of them, taken for themselves, would be. The round with the greatest
effort allowed counts whatever it says.

References:
    Neal (2001), Annealed importance sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.priors.density import Path, State
from bench.protocol import Ais, Noise

PILOT = Ais(temperatures=500, chains=200, repeats=1)  # the first round, where the maximum is no less
LEAST = 100  # temperatures of a round that a pilot makes shorter than itself

_SIZES = ("temperatures", "chains", "repeats")
_MARGIN = 1.5  # times the effort that an interval calls for: its width is itself uncertain
_GROWTH = 4.0  # times the effort of a round that was unreliable, where nothing tells how much will do


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
    def exact(self) -> bool:
        """Whether nothing is sampled, and nothing is in doubt."""
        return self.n == 1 and not self.unreliable

    @property
    def width(self) -> float:
        """Of the interval."""
        return self.upper - self.lower


def _ignored(chains: int) -> None:
    """Tell nobody."""


@torch.no_grad()
def forward(
    path: Path[State], temperatures: int, chains: int, noise: Noise, progress: Callable[[int], None] = _ignored
) -> tuple[Tensor, Tensor]:
    """Anneal from the base to the model: first the weight, then the move.

    Args:
        path: from where chains start to where they end.
        temperatures: steps of t from 0 to 1.
        chains: independent chains.
        noise: where draws come from.
        progress: told after every step how many chains took it.

    Returns:
        log weights `(chains,)`, the mean of whose exponentials is Z in expectation; and where the chains end,
        y `(chains, d)`.
    """
    state = path.begin(chains, noise)
    log_weight = torch.zeros(chains, dtype=torch.float64, device=noise.device) + path.log_z
    for step in range(1, temperatures + 1):
        log_weight += path.log_ratio(state, (step - 1) / temperatures, step / temperatures)
        state = path.move(state, step / temperatures, noise)
        progress(chains)
    return log_weight, path.ends(state)


@torch.no_grad()
def reverse(
    path: Path[State], temperatures: int, y: Tensor, noise: Noise, progress: Callable[[int], None] = _ignored
) -> Tensor:
    """Anneal from the model to the base: first the move, then the weight.

    Args:
        path: from where chains end to where they start.
        temperatures: steps of t from 1 to 0.
        y: where chains start, `(chains, d)`. Only with exact draws of the model does it bound log Z from above in
            expectation; if they miss a mode, the result agrees with a forward run that missed it too.
        noise: where draws come from.
        progress: told after every step how many chains took it.

    Returns:
        log weights `(chains,)`, the mean of whose exponentials is 1/Z in expectation.
    """
    state = path.at(y)
    log_weight = torch.zeros(len(y), dtype=torch.float64, device=noise.device) - path.log_z
    for step in range(temperatures, 0, -1):
        state = path.move(state, step / temperatures, noise)
        log_weight += path.log_ratio(state, step / temperatures, (step - 1) / temperatures)
        progress(len(y))
    return log_weight


# ---------------------------------------------------------------- effort


def adapted(maximum: Ais, run: Callable[[int, Ais], LogZ]) -> list[tuple[Ais, LogZ]]:
    """Return rounds with what they came to, of growing effort from the second on; the last is the estimate.

    Args:
        maximum: the most effort a round may take, and the width at which to stop.
        run: number of a round and its effort -> what it comes to, from draws that no other round has.
    """
    effort, foreseen = first(maximum), False
    rounds: list[tuple[Ais, LogZ]] = []
    while True:
        result = run(len(rounds), effort)
        rounds.append((effort, result))
        good = not result.unreliable and result.width <= maximum.width
        if effort == maximum or (foreseen and good):
            return rounds
        foreseen = not result.unreliable
        # the width falls with the square root of temperatures x chains
        called_for = _MARGIN * (result.width / maximum.width) ** 2 if foreseen else _GROWTH
        if called_for < 1 and len(rounds) == 1:
            effort = shortened(effort, called_for)
        else:
            effort = grown(effort, max(called_for, 1.0), maximum)


def first(maximum: Ais) -> Ais:
    """Return the effort of the first round."""
    pilot = {name: min(getattr(PILOT, name), getattr(maximum, name)) for name in _SIZES}
    return grown(maximum.model_copy(update=pilot), 1.0, maximum)


def grown(effort: Ais, factor: float, maximum: Ais) -> Ais:
    """Return `effort` times `factor`, in temperatures first, then in chains, then in repeats.

    Temperatures narrow each weight, not only the mean of weights. Where that comes to half the maximum, it is the
    maximum: less would hardly be cheaper, and could fall short.
    """
    if 2 * factor * _size(effort) >= _size(maximum):
        return maximum
    changes = {}
    for name in _SIZES:
        before = getattr(effort, name)
        changes[name] = min(math.ceil(factor * before), getattr(maximum, name))
        factor = max(factor * before / changes[name], 1.0)
    return effort.model_copy(update=changes)


def shortened(effort: Ais, factor: float) -> Ais:
    """Return `effort` with `factor` of its temperatures, but no fewer than `LEAST`.

    Fewer chains would leave the error of their mean, and what they say of each other, to chance.
    """
    temperatures = max(math.ceil(factor * effort.temperatures), min(LEAST, effort.temperatures))
    return effort.model_copy(update={"temperatures": temperatures})


def _size(settings: Ais) -> int:
    return math.prod(getattr(settings, name) for name in _SIZES)
