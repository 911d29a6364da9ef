"""log Z of energies of which nothing is known but the energy, checked against exact answers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.energies import GRBM, Neural
from bench.energies.densities import whitened
from bench.estimators import partition
from bench.estimators.ais import LogZ
from bench.estimators.subject import Meter
from bench.priors import Density
from bench.protocol import Ais, NotFinite
from bench.streams import stream
from tests.oracles.energies import Cone, Mixture, Normal, Opaque
from tests.oracles.grbms import coupled, islands
from tests.oracles.verdicts import contains, noises

QUICK = Ais(temperatures=200, chains=100)


def hidden_from(grbm: GRBM, seed: int = 0, settings: Ais = QUICK) -> LogZ:
    latents = whitened.sample(grbm.whitened(), 1000, stream(seed, "latents"))
    return partition.log_partition(Opaque(grbm), latents, settings, noises(seed))


# ---------------------------------------------------------------- exact answers


@pytest.mark.parametrize(("visible", "hidden", "scale"), [(8, 8, 0.3), (8, 16, 0.2), (16, 16, 0.2), (16, 8, 0.3)])
def test_the_log_z_of_a_grbm_is_found_from_its_energy_alone(visible: int, hidden: int, scale: float) -> None:
    grbm = coupled(visible, hidden, 1, scale)
    result = hidden_from(grbm)
    assert result.estimator == "ais"
    assert not result.unreliable
    assert contains(result, whitened.log_z(grbm.whitened()))
    assert result.upper - result.lower < 0.5


def test_the_log_z_of_a_normal_distribution_in_64_dimensions_is_found() -> None:
    normal = Normal(64)
    latents = normal.sample(2000, stream(0, "latents"))
    result = partition.log_partition(normal, latents, Ais(temperatures=500, chains=100), noises(0))
    assert not result.unreliable
    assert contains(result, normal.log_z)
    assert result.upper - result.lower < 0.5


@pytest.mark.parametrize("distance", [2.0, 4.0])
def test_the_log_z_of_a_mixture_of_normal_distributions_is_found(distance: float) -> None:
    centres = distance * stream(0, "centres").normal(5, 8) / 8**0.5
    mixture = Mixture(centres, 0.8, torch.tensor([0.0, 1.0, 0.5, -1.0, 0.3]))
    latents = mixture.sample(1000, stream(0, "latents"))
    result = partition.log_partition(mixture, latents, QUICK, noises(0))
    assert not result.unreliable
    assert contains(result, mixture.log_z)


@pytest.mark.parametrize("seed", range(2))
def test_annealing_and_quadrature_agree_on_a_tilted_perceptron(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        prior = Neural(2, 20, tilted=True)
    for parameter in prior.parameters():
        parameter.data *= 3  # a tilt that matters
    latents = prior.sample(1000, stream(seed, "latents"))
    integrated = partition.log_partition(prior, latents, QUICK, noises(seed))
    annealed = partition.anneal(prior, latents, QUICK, noises(seed))
    assert integrated.estimator == "quadrature"
    assert abs(integrated.value) > 0.5  # log Z without a tilt is 0
    assert not annealed.unreliable
    assert contains(annealed, integrated.value)


def test_a_prior_keeps_its_precision_and_gradients() -> None:
    prior = Neural(4, 20, tilted=True)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    partition.log_partition(prior, torch.randn(50, 4), Ais(temperatures=2, chains=2), noises(0))
    assert all(torch.equal(before[name], value) for name, value in prior.state_dict().items())
    assert all(parameter.requires_grad for parameter in prior.parameters())


def test_where_every_weight_is_the_same_rounding_is_no_disagreement() -> None:
    def estimate(base: str, backward: bool, value: float) -> partition.Estimate:
        return partition.Estimate(base, backward, value, 0.0, 100.0, 100)

    exact = [estimate("posterior", False, 3.0), estimate("isotropic", False, 3.0 + 1e-8)]
    reverse = [estimate("posterior", True, 3.0 - 1e-8), estimate("isotropic", True, 3.0)]
    pooled = estimate("pooled", False, 3.0)
    assert not partition.combine([*exact, *reverse], pooled, 3.0 + 1e-8, {}).unreliable
    apart = partition.combine([*exact, estimate("posterior", True, 3.00001)], pooled, 3.0, {})
    assert apart.unreliable == "forward_posterior (3.000) and reverse_posterior (3.000) disagree"


# ---------------------------------------------------------------- never silently wrong


@pytest.mark.parametrize("distance", [10.0, 20.0])
def test_an_island_that_neither_base_reaches_makes_the_estimate_unreliable(distance: float) -> None:
    grbm = islands(16, 8, distance, share=0.75)
    z = whitened.sample(grbm.whitened(), 5000, stream(0, "latents"))
    result = partition.log_partition(Opaque(grbm), z[z[:, 0] < distance / 2], QUICK, noises(0))
    truth = whitened.log_z(grbm.whitened())
    posterior, isotropic = result.arrays["ais_estimates"][:2, 0]
    assert abs(posterior - isotropic) < 0.1  # both bases have missed it,
    assert max(posterior, isotropic) < truth - 1  # so that ln .25 = -1.39 is missing,
    assert "is below the floor" in result.unreliable  # but descent has not
    assert truth - 0.1 < result.value <= truth


@pytest.mark.parametrize("seed", range(2))
def test_islands_that_the_latents_cover_are_inside_or_unreliable(seed: int) -> None:
    grbm = islands(16, 8, 6.0, share=0.5)
    result = hidden_from(grbm, seed)
    assert contains(result, whitened.log_z(grbm.whitened())) or result.unreliable


@pytest.mark.parametrize("scale", [0.6, 1.2])
def test_strongly_coupled_models_are_not_silently_wrong(scale: float) -> None:
    grbm = coupled(16, 12, 1, scale)
    result = hidden_from(grbm)
    assert contains(result, whitened.log_z(grbm.whitened())) or result.unreliable


@pytest.mark.parametrize("slope", [0.1, 1.0])
def test_mass_far_outside_both_bases_makes_the_estimate_unreliable(slope: float) -> None:
    cone = Cone(16, slope)  # its mass is 16/slope from the origin
    result = partition.log_partition(cone, stream(0, "latents").normal(1000, 16), QUICK, noises(0))
    assert result.unreliable


def test_heavy_tails_make_the_estimate_unreliable() -> None:
    class Cauchy(Density):
        def energy(self, z: Tensor) -> Tensor:
            return 0.5 * (1 + z.shape[-1]) * torch.log1p(z.square().sum(-1))

    result = partition.log_partition(Cauchy(), stream(0, "latents").normal(1000, 4), QUICK, noises(0))
    assert "the tails are those of Student's t with 1.0 degrees of freedom" in result.unreliable


@pytest.mark.parametrize("latent", [3, 16])
def test_an_untilted_perceptron_that_does_not_integrate_is_an_error_and_not_a_number(latent: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = Neural(latent, 50, tilted=False)
    with pytest.raises(NotFinite, match="log Z cannot be estimated: the density does not fall off"):
        partition.log_partition(prior, torch.randn(50, latent), QUICK, noises(0))


def test_an_energy_that_is_not_a_number_where_chains_start_is_an_error() -> None:
    class Torn(Density):
        def energy(self, z: Tensor) -> Tensor:
            hole = (z - 2).square().sum(-1) < 8
            return torch.where(hole, math.nan, 0.5 * z.square().sum(-1))

    with pytest.raises(NotFinite, match=r"the mean weight of forward_\w+ chains is exp\(nan\)"):
        partition.log_partition(Torn(), torch.randn(50, 4), QUICK, noises(0))


# ---------------------------------------------------------------- as everywhere


def test_the_same_streams_give_the_same_interval() -> None:
    grbm = coupled(6, 5, seed=1, scale=0.4)
    settings = Ais(temperatures=20, chains=50)
    first, second, other = (hidden_from(grbm, seed, settings) for seed in (0, 0, 1))
    assert (first.value, first.lower, first.upper) == (second.value, second.lower, second.upper)
    assert first.value != other.value


def test_progress_counts_every_step_of_every_chain() -> None:
    settings = Ais(temperatures=7, chains=11, repeats=2)
    meter = Meter()
    prior = Opaque(coupled(6, 5, seed=1, scale=0.4))
    result = partition.log_partition(prior, torch.randn(50, 6), settings, noises(0), meter)
    assert meter.done == pytest.approx(prior.step_cost * partition.chain_steps(settings))
    assert result.n == 44
    assert result.arrays["ais_forward_isotropic"].shape == (2, 11)


# ---------------------------------------------------------------- coverage


def coverage(prior: Density, truth: float, latents: Callable[[int], Tensor], repeats: int) -> tuple[int, int]:
    """Return how many of so many intervals contain the truth, and how many are unreliable."""
    results = [partition.log_partition(prior, latents(seed), QUICK, noises(seed)) for seed in range(repeats)]
    covered, unreliable = sum(contains(each, truth) for each in results), sum(bool(each.unreliable) for each in results)
    widths = np.array([each.upper - each.lower for each in results])
    print(f"covered {covered} of {repeats}, unreliable {unreliable}, median width {np.median(widths):.3f}")
    return covered, unreliable


def test_intervals_contain_log_z() -> None:
    grbm = coupled(8, 8, seed=2, scale=0.3)
    latents = whitened.sample(grbm.whitened(), 1000, stream(0, "latents"))
    covered, _ = coverage(Opaque(grbm), whitened.log_z(grbm.whitened()), lambda seed: latents, 4)
    assert covered == 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("visible", "hidden", "scale"), [(8, 8, 0.3), (16, 16, 0.2)])
def test_95_of_100_intervals_contain_the_log_z_of_a_grbm(visible: int, hidden: int, scale: float) -> None:
    grbm = coupled(visible, hidden, 1, scale)
    covered, unreliable = coverage(
        Opaque(grbm),
        whitened.log_z(grbm.whitened()),
        lambda seed: whitened.sample(grbm.whitened(), 1000, stream(seed, "latents")),
        100,
    )
    assert covered >= 95
    assert unreliable <= 5  # an alarm that rings for good models is no alarm


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_95_of_100_intervals_contain_the_log_z_of_a_normal_distribution_in_64_dimensions() -> None:
    normal = Normal(64)
    covered, _ = coverage(normal, normal.log_z, lambda seed: normal.sample(2000, stream(seed, "latents")), 100)
    assert covered >= 95


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_none_of_sixty_models_is_silently_wrong() -> None:
    silent = unreliable = 0
    for seed in range(60):
        grbm = coupled((8, 16, 32)[seed % 3], 12, seed, (0.3, 0.6, 0.9, 1.2)[seed % 4])
        result = hidden_from(grbm, seed)
        unreliable += bool(result.unreliable)
        silent += not result.unreliable and not contains(result, whitened.log_z(grbm.whitened()))
    print(f"unreliable: {unreliable}, silent: {silent}")
    assert silent == 0
