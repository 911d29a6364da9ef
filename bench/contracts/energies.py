"""The contracts of an energy, in the order in which they are looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor

from bench import objectives, samplers
from bench.contracts import densities, fields, gradients, replays, strategies
from bench.contracts.attempts import Killed, attempt, difference
from bench.contracts.attempts import Subject as Base
from bench.contracts.task import LATENT
from bench.contracts.verdicts import Breach, Contract, NotChecked
from bench.priors import Density, Restricted
from bench.protocol import HIDDEN, TILT, Energy, Noise
from bench.strategy import EnergyStrategy
from bench.streams import seed_globals, stream

if TYPE_CHECKING:
    from bench.training import Model
    from bench.vae import Posterior

OTHER = 5  # another latent dimension
SWEEPS = 20  # of block Gibbs from independent exact draws, which it must leave what they are
CLOSE = 1e-3  # relative, of energies in float32
FAR, LIMIT = 1000.0, 0.1  # there a tilt of slow growth is not below -LIMIT |z|^2, so that N(0, I) outweighs it


class Matching(EnergyStrategy):
    """Sliced score matching of an energy to the aggregate posterior."""

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"score-matching"})}

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield the prior's loss."""
        yield "score-matching", objectives.sliced(model.prior, z, noise.rademacher(*z.shape))


@dataclass(frozen=True)
class Subject(Base):
    """An energy that is checked, and a strategy that trains it."""

    @cached_property
    def energy(self) -> Energy:
        """The energy itself."""
        return cast(Energy, self.build())

    @cached_property
    def strategy(self) -> Matching:
        """A strategy with it."""
        return Matching(energy=self.energy)

    def fresh(self, seed: int = 0, latent: int = LATENT) -> Density:
        """Return a density where it starts."""
        seed_globals(seed, "check")
        return self.energy.build(latent)

    @cached_property
    def prior(self) -> Density:
        """The density, away from where it starts."""
        prior = self.fresh()
        return densities.fitted(prior, prior.parameters())

    @cached_property
    def truth(self) -> densities.Truth:
        """What quadrature says of it."""
        self.check_proper()
        z = self.prior.sample(densities.SAMPLES, stream(0, "check/samples"))
        with torch.no_grad():
            return densities.Truth.of(self.prior, z)

    def check_proper(self) -> None:
        """Raise `NotChecked` where there need not be an integral."""
        if not self.energy.proper:
            raise NotChecked("it says that exp(-E) need not have an integral (proper = False)")


def check_shapes(subject: Subject) -> str:
    """It builds a density that takes and gives the right shapes, in any dimension."""
    densities.check_shapes(subject.fresh(), "density")
    prior, z = subject.fresh(latent=OTHER), stream(0, "check/other").normal(7, OTHER)
    for words, shape, right in (
        (f"energy of z (7, {OTHER})", prior.energy(z).shape, (7,)),
        ("sample(3)", prior.sample(3, stream(0, "check/sample")).shape, (3, OTHER)),
    ):
        if shape != right:
            raise Breach(f"build({OTHER}) gives a density whose {words} has the shape {tuple(shape)}, not {right}")
    return "energies (B,) and (K, B), samples (n, d)"


def check_seed(subject: Subject) -> str:
    """It has parameters to train; the same seed of the global generators gives the same ones, another seed others."""
    first, again, other = (subject.fresh(seed).state_dict() for seed in (0, 0, 1))
    if not any(parameter.requires_grad for parameter in subject.fresh().parameters()):
        raise Breach("its density has no parameter that could be trained")
    for name, value in first.items():
        if not torch.equal(value, again[name]):
            raise Breach(f"its density starts elsewhere each time: {name} does not follow torch's global generator")
    if all(torch.equal(value, other[name]) for name, value in first.items()):
        raise Breach("its density starts at the same numbers whatever the seed")
    return "a seed gives the same numbers, another seed others"


def check_density(subject: Subject) -> str:
    """Its samples come from its density, which has an integral."""
    subject.check_proper()
    return densities.check_samples(subject.prior)


def check_exact(subject: Subject) -> str:
    """What it calls exact is: log Z, and draws."""
    prior, noise = subject.prior, stream(0, "check/exact")
    log_z, z = prior.exact_log_z(), prior.exact_sample(densities.SAMPLES, noise)
    if log_z is None and z is None:
        raise NotChecked("it gives neither an exact log Z nor exact draws")
    seen, truth = [], subject.truth
    if log_z is not None:
        densities.check_number(log_z)
        seen.append(truth.agrees(log_z))
    if z is not None:
        if z.shape != (densities.SAMPLES, LATENT):
            raise Breach(f"exact_sample({densities.SAMPLES}) gives draws of shape {tuple(z.shape)}")
        densities.check_draws("exact_sample(5)", lambda noise: _drawn(prior.exact_sample(5, noise)), 5)
        seen.append(truth.compare(z, "exact_sample does not draw from its density"))
    return "; ".join(seen)


def _drawn(z: Tensor | None) -> Tensor:
    if z is None:
        raise Breach("exact_sample gives draws, or None, and not always the same of both")
    return z


@torch.no_grad()
def check_offers(subject: Subject) -> str:
    """What it offers, it has: hidden units whose block Gibbs leaves the density as it is, a tilt of slow growth."""
    offers, prior = subject.energy.offers, subject.prior
    if unknown := sorted(offers - {HIDDEN, TILT}):
        raise Breach(f"it offers {unknown[0]!r}; what can be offered is {HIDDEN!r} and {TILT!r} of bench.protocol")
    if HIDDEN in offers:
        if not isinstance(prior, Restricted):
            raise Breach("it offers hidden units, and its density does not extend bench.priors.Restricted")
        truth, noise = subject.truth, stream(0, "check/gibbs")
        weights = truth.fine.weights.cumsum(0)
        draws = (1 - noise.uniform(densities.SAMPLES).double()) * weights[-1]  # above 0: no point without weight
        z = truth.fine.points[torch.searchsorted(weights, draws)].float()
        truth.compare(samplers.gibbs(prior, z, SWEEPS, noise), "block Gibbs does not leave its density as it is")
    if TILT in offers:
        z = stream(0, "check/points").normal(64, LATENT)
        own, right = prior.tilt(z), Density.tilt(prior, z)
        if own.shape != right.shape or not torch.allclose(own, right, rtol=CLOSE, atol=CLOSE):
            raise Breach("its tilt is not its energy plus log N(z; 0, I)")
        rays = FAR * z / z.norm(dim=-1, keepdim=True)
        steepest = -float((prior.tilt(rays) / FAR**2).min())
        if not steepest <= LIMIT:
            raise Breach(f"its tilt grows too fast: at |z| = {FAR:g} it is {-steepest:.3g} |z|^2, and -z^2/2 must win")
    return f"it has what it offers: {', '.join(sorted(offers)) or 'nothing beyond a density'}"


def check_gradients(subject: Subject) -> str:
    """Score matching moves it."""
    return gradients.check(subject.strategy, subject.task, subject.folder / "gradients")


def check_training(subject: Subject) -> str:
    """A strategy trains with it and is scored; killed and resumed, it ends with the same bits."""
    seen, folder = strategies.check_budget(subject), subject.folder / "resumed"
    with contextlib.suppress(Killed):
        attempt(subject, folder, max(1, round(0.67 * subject.reference.questions)))
    if differs := difference(subject.reference, attempt(subject, folder)):
        raise Breach(f"{differs} differs after a kill from a run that nothing disturbed")
    return f"sliced score matching trains it: {seen}; the same bits after a kill (kill -9)"


def check_capture(subject: Subject) -> str:
    """Steps with it that are captured once and replayed give the bits of eager ones, where it says that they can be."""
    return replays.check(subject.energy, subject.strategy, subject.task, subject.folder / "capture")


CONTRACTS = (
    Contract[Subject]("fields", fields.check),
    Contract("shapes", check_shapes),
    Contract("seed", check_seed, ("shapes",)),
    Contract[Subject]("derivatives", lambda subject: densities.check_derivatives(subject.prior), ("shapes",)),
    Contract("density", check_density, ("shapes",)),
    Contract("exact", check_exact, ("shapes",)),
    Contract("offers", check_offers, ("shapes",)),
    Contract("gradients", check_gradients, ("shapes", "seed")),
    Contract("training", check_training, ("shapes", "seed")),
    Contract("capture", check_capture, ("training",)),
)
