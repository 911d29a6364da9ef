"""What an estimate of log Z is worth, once the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from bench.energies import GRBM
from bench.energies.densities import annealing
from bench.estimators import ais
from bench.estimators.ais import LogZ
from bench.estimators.partition import Estimate
from bench.protocol import Noise
from bench.streams import stream

ROUNDING = 1e-9  # a floor that has seen every state that matters equals log Z


def noises(seed: int) -> Callable[[str], Noise]:
    """Return streams of `seed` by name."""
    return lambda name: stream(seed, name)


def contains(result: LogZ, truth: float) -> bool:
    """Return whether the interval holds the truth."""
    return result.lower - ROUNDING <= truth <= result.upper + ROUNDING


def silently_wrong(result: LogZ, truth: float) -> bool:
    """Return whether the interval misses the truth and nothing says so."""
    return not contains(result, truth) and not result.unreliable


@dataclass
class Tally:
    """Counts over estimates."""

    count: int = 0
    covered: int = 0
    unreliable: int = 0
    silent: int = 0

    def add(self, result: LogZ, truth: float) -> None:
        self.count += 1
        self.covered += contains(result, truth)
        self.unreliable += bool(result.unreliable)
        self.silent += silently_wrong(result, truth)


def tallied(pairs: Iterable[tuple[LogZ, float]], title: str) -> Tally:
    """Count, and print it with the title."""
    tally = Tally()
    for result, truth in pairs:
        tally.add(result, truth)
    print(f"{title}: {tally}")
    return tally


def upper_estimates(
    grbm: GRBM, latents: Tensor, draws: Tensor, temperatures: int, noise_for: Callable[[str], Noise]
) -> dict[str, Estimate]:
    """Return estimates of log Z from reverse chains with exact starts: above log Z in expectation, by base.

    A detector of errors never sees them: there is no exact draw of a model whose log Z is wanted.

    Args:
        grbm: the model.
        latents: what the posterior base has the moments of, `(M, d)`.
        draws: exact draws of the model, `(n, d)`.
        temperatures: steps of a chain.
        noise_for: name of a stream -> its noise.
    """
    model = grbm.whitened()
    bases = {"posterior": annealing.Base.from_samples(model, latents), "uniform": annealing.Base.uniform_hidden(model)}
    y = model.whiten(draws)
    return {
        name: Estimate.of(name, ais.reverse(base, temperatures, y, noise_for(f"exact/{name}")), backward=True)
        for name, base in bases.items()
    }
