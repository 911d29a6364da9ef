"""What is told of an energy without annealing is true of energies whose log Z and tails are known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.energies import Neural
from bench.energies.densities import whitened
from bench.estimators import landscape
from bench.estimators.hmc import Moments
from bench.protocol import NotFinite
from bench.streams import stream
from tests.oracles.grbms import coupled

WHITE = Moments.of(stream(0, "latents").normal(2000, 8))
Energy = Callable[[Tensor], Tensor]


def perceptron(d: int, seed: int, tilted: bool) -> Neural:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Neural(d, 50, tilted).double().requires_grad_(False)


# ---------------------------------------------------------------- tails


def radius(z: Tensor) -> Tensor:
    return z.square().sum(-1).sqrt()


def student(freedom: float) -> Energy:
    return lambda z: 0.5 * (freedom + z.shape[-1]) * torch.log1p(z.square().sum(-1) / freedom)


IMPROPER: dict[str, Energy] = {
    "constant": lambda z: 0 * z.sum(-1),
    "a dip in a plain": lambda z: -9 * torch.exp(-0.5 * z.square().sum(-1)),
    "saturated": lambda z: 5 * torch.tanh(0.1 * z.square().sum(-1)),
    "downhill": lambda z: 0.5 * z[..., 1:].square().sum(-1) - z[..., 0],
    "a gutter": lambda z: 0.5 * z[..., 1:].square().sum(-1) + 0 * z[..., 0],
    "too slow": lambda z: 7.9 * torch.log1p(radius(z)),
    "a perceptron": perceptron(8, 0, tilted=False).energy,
}


@pytest.mark.parametrize("name", IMPROPER)
def test_a_density_that_does_not_integrate_is_found_out(name: str) -> None:
    with pytest.raises(NotFinite, match="log Z cannot be estimated: the density does not fall off away from its"):
        landscape.tails(IMPROPER[name], WHITE, stream(0, "tails"))


@pytest.mark.parametrize("d", [4, 64])
@pytest.mark.parametrize("seed", range(3))
def test_perceptrons_at_random_do_not_integrate_unless_tilted(d: int, seed: int) -> None:
    moments = Moments.of(stream(0, "latents").normal(1000, d))
    assert landscape.tails(perceptron(d, seed, tilted=True).energy, moments, stream(0, "tails")) == ""
    with pytest.raises(NotFinite, match="does not fall off"):
        landscape.tails(perceptron(d, seed, tilted=False).energy, moments, stream(0, "tails"))


def test_a_density_that_integrates_is_not_suspected() -> None:
    proper: list[Energy] = [
        coupled(8, 6, seed=0, scale=1.0).double().energy,
        lambda z: z.abs().sum(-1),
        lambda z: 0.01 * radius(z),
        lambda z: radius(z).sqrt(),
        lambda z: torch.exp(radius(z)),  # infinite far out
        student(10),
    ]
    for energy in proper:
        assert landscape.tails(energy, WHITE, stream(0, "tails")) == ""


@pytest.mark.parametrize("freedom", [0.5, 3.0])
def test_heavy_tails_are_named(freedom: float) -> None:
    reason = landscape.tails(student(freedom), WHITE, stream(0, "tails"))
    assert reason == f"the tails are those of Student's t with {freedom} degrees of freedom"


def test_an_energy_that_is_not_a_number_far_out_is_an_error() -> None:
    with pytest.raises(NotFinite, match="the energy is not a number far away from the samples"):
        landscape.tails(lambda z: torch.exp(radius(z)) - torch.exp(radius(z)), WHITE, stream(0, "tails"))


# ---------------------------------------------------------------- the floor


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [0.3, 0.6, 1.2])
def test_the_floor_is_never_above_log_z(scale: float, seed: int) -> None:
    grbm = coupled(8, 8, seed, scale).double()
    moments = Moments.of(whitened.sample(grbm.whitened(), 1000, stream(seed, "latents")))
    log_z = whitened.log_z(grbm.whitened())
    assert log_z - 1 < landscape.floor(grbm.energy, moments, stream(seed, "floor")) <= log_z


@pytest.mark.parametrize("distance", [10.0, 50.0])
def test_the_floor_counts_islands_that_the_moments_know_nothing_of(distance: float) -> None:
    centres = torch.zeros(3, 8).double()
    centres[1, 0], centres[2, 1] = distance, -distance
    log_masses = torch.tensor([0.0, 2.0, 1.0]).double()

    def energy(z: Tensor) -> Tensor:
        return -torch.logsumexp(log_masses - 0.5 * (z[..., None, :] - centres).square().sum(-1), -1)

    log_z = float(torch.logsumexp(log_masses, 0)) + 4 * math.log(2 * math.pi)
    assert log_z - 0.05 < landscape.floor(energy, WHITE, stream(0, "floor")) <= log_z + 1e-9


def test_the_floor_of_a_normal_distribution_is_its_log_z() -> None:
    precision = torch.logspace(-1, 2, 8).double()
    log_z = 4 * math.log(2 * math.pi) - 0.5 * float(precision.log().sum())
    floor = landscape.floor(lambda z: 0.5 * (z - 3).square() @ precision, WHITE, stream(0, "floor"))
    assert log_z - 0.01 < floor <= log_z


def test_there_is_no_floor_where_there_is_no_mode() -> None:
    assert landscape.floor(lambda z: z.sum(-1) * math.nan, WHITE, stream(0, "floor")) == -math.inf


def test_descent_ends_where_the_energy_is_flat() -> None:
    grbm = coupled(8, 6, seed=0, scale=0.6).double()
    x = landscape.descend(grbm.energy, 10 * stream(0, "starts").normal(100, 8).double())
    assert grbm.gradient(x).norm(dim=1).max() < 1e-4


def test_only_so_many_modes_are_kept_and_the_lowest_first() -> None:
    x = torch.arange(100).double()[:, None].repeat_interleave(2, 0) + 0.01 * stream(0, "x").uniform(200, 1)
    kept = landscape.distinct(lambda z: z.sum(-1), x)
    assert kept.flatten().round().tolist() == list(range(32))


# ---------------------------------------------------------------- mixtures


def test_a_mixture_s_density_is_that_of_its_draws() -> None:
    axes = torch.linalg.qr(stream(0, "axes").normal(2, 3, 3).double()).Q
    mixture = landscape.Mixture(
        torch.tensor([0.3, 0.7]).double().log(),
        stream(0, "centres").normal(2, 3).double(),
        torch.tensor([[0.5, 1.0, 4.0], [1.0, 2.0, 3.0]]).double(),
        axes,
    )
    precisions = axes @ torch.diag_embed(mixture.precisions) @ axes.mT
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=mixture.log_shares),
        torch.distributions.MultivariateNormal(mixture.centres, precision_matrix=precisions),
    )
    x = mixture.sample(50_000, stream(0, "draws"))
    torch.testing.assert_close(mixture.log_prob(x), expected.log_prob(x))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        truth = expected.sample(torch.Size([50_000]))
    for one, other in ((x, truth), (x.square(), truth.square()), (x * x.roll(1, 1), truth * truth.roll(1, 1))):
        spread = ((one.var(0) + other.var(0)) / len(one)).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() < 4 * spread).all()


# ---------------------------------------------------------------- moments


def test_moments_are_those_of_the_samples() -> None:
    z = stream(0, "z").normal(50_000, 3).double() @ torch.tensor([[2.0, 1, 0], [0, 1, 0], [0, 0, 0.1]]).double() + 5
    moments = Moments.of(z)
    covariance = moments.rotation @ torch.diag(moments.variance) @ moments.rotation.T
    torch.testing.assert_close(moments.mean, z.mean(0))
    torch.testing.assert_close(covariance, torch.cov(z.T), rtol=0, atol=1e-3)
    x = stream(0, "x").normal(50_000, 3).double()
    torch.testing.assert_close(torch.cov(moments.colour(x).T), covariance, rtol=0, atol=0.1)
    assert moments.log_scale == pytest.approx(0.5 * float(torch.logdet(covariance)))


def test_degenerate_samples_still_have_usable_moments() -> None:
    moments = Moments.of(torch.ones(6, 3))
    assert moments.variance.tolist() == pytest.approx([1 / 3] * 3)
