"""What the oracles claim to know is so."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from bench.energies.densities import whitened
from bench.estimators import quadrature
from bench.streams import stream
from tests.oracles import autoencoders, energies, grbms, verdicts

SMALL = [(3, 5), (4, 6), (2, 3)]


def assert_same_moments(one: Tensor, other: Tensor) -> None:
    """Check means, squares and neighbours' products of independent draws to within 4 standard errors."""
    for a, b in ((one, other), (one.square(), other.square()), (one * one.roll(1, 1), other * other.roll(1, 1))):
        spread = ((a.var(0) + b.var(0)) / len(a)).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4 * spread).all()


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize("far", [0, 2])
@pytest.mark.parametrize("scale", [0.3, 1.2])
def test_the_log_z_of_blocks_is_that_of_all_hidden_states_together(scale: float, far: int) -> None:
    oracle = grbms.blocks(SMALL, seed=1, scale=scale, far=far)
    assert oracle.log_z == pytest.approx(whitened.log_z(oracle.grbm.whitened()), abs=1e-9)


def test_blocks_are_drawn_from_the_model() -> None:
    oracle = grbms.blocks(SMALL, seed=1, scale=1.0)
    assert_same_moments(
        oracle.sample(40_000, stream(0, "a")), whitened.sample(oracle.grbm.whitened(), 40_000, stream(0, "b"))
    )


def test_the_coupling_of_blocks_is_dense() -> None:
    weight = grbms.blocks(SMALL, seed=1, scale=1.0).grbm.weight
    assert (weight.abs() > 1e-3).double().mean() > 0.95


@pytest.mark.parametrize(("shapes", "size"), [(grbms.FOUR_OF_16, (64, 64)), (grbms.EIGHT_OF_64_16, (512, 128))])
def test_blocks_of_full_size_are_too_large_to_enumerate(shapes: list[tuple[int, int]], size: tuple[int, int]) -> None:
    oracle = grbms.blocks(shapes, seed=0, scale=0.3)
    assert tuple(oracle.grbm.weight.shape) == size
    assert math.isfinite(oracle.log_z)
    # log Z >= log of the mass of any hidden states: of those that were drawn, which are many
    model = oracle.grbm.whitened()
    drawn = torch.unique(oracle.hidden(2000, stream(0, "h")).bool(), dim=0).double()
    assert float(torch.logsumexp(model.log_mass(drawn), 0)) <= oracle.log_z + 1e-9


def test_a_far_mode_has_its_share_and_the_latents_miss_it() -> None:
    oracle = grbms.blocks(SMALL, seed=1, scale=0.3, far=1, distance=10.0, share=0.75)
    (unit,) = oracle.far
    share = oracle.hidden(20_000, stream(0, "h"))[:, unit].mean()
    assert float(share) == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 20_000) ** 0.5)
    weight = oracle.grbm.weight[:, unit] / oracle.grbm.var.sqrt()
    assert float(weight.norm()) == pytest.approx(10.0)
    model = oracle.grbm.whitened()
    along = model.whiten(oracle.latents(2000, stream(0, "q"))) @ weight / 10
    assert along.abs().max() < 5  # halfway there


def test_far_modes_in_every_block_multiply() -> None:
    oracle = grbms.blocks(SMALL, seed=1, scale=0.3, far=3)
    missed = oracle.hidden(20_000, stream(0, "h"))[:, list(oracle.far)].sum(1) == 0
    assert float(missed.double().mean()) == pytest.approx(0.25**3, abs=4 * (0.25**3 / 20_000) ** 0.5)


def test_islands_have_their_share_and_lie_where_they_should() -> None:
    oracle = grbms.enumerated(grbms.islands(8, 6, distance=10.0, share=0.75), far=(0,))
    z = oracle.sample(20_000, stream(0, "z"))
    assert float((z[:, 0] > 5).double().mean()) == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 20_000) ** 0.5)
    assert (oracle.latents(2000, stream(0, "q"))[:, 0] < 5).all()


def test_an_enumerated_oracle_draws_what_enumeration_does() -> None:
    oracle = grbms.enumerated(grbms.coupled(3, 6, seed=2, scale=1.0))
    assert oracle.log_z == whitened.log_z(oracle.grbm.whitened())
    assert_same_moments(
        oracle.sample(40_000, stream(0, "a")), whitened.sample(oracle.grbm.whitened(), 40_000, stream(0, "b"))
    )


# ---------------------------------------------------------------- exact starts


@pytest.mark.parametrize("far", [0, 1])
def test_reverse_chains_with_exact_starts_bound_log_z_from_above(far: int) -> None:
    oracle = grbms.blocks(SMALL, seed=1, scale=0.5, far=far)
    noise_for = verdicts.noises(0)
    draws, latents = oracle.sample(2000, noise_for("draws")), oracle.latents(500, noise_for("latents"))
    for estimate in verdicts.upper_estimates(oracle.grbm, latents, draws, 100, noise_for).values():
        assert estimate.value > oracle.log_z - 3 * estimate.stderr


# ---------------------------------------------------------------- other energies


def test_the_log_z_of_a_mixture_of_normal_distributions_is_its_masses() -> None:
    mixture = energies.Mixture(torch.tensor([[0.0, 0.0], [6.0, 1.0], [-3.0, 2.0]]), 0.7, torch.tensor([0.3, 1.2, -0.5]))
    z = mixture.sample(1000, stream(0, "z"))
    assert mixture.log_z == pytest.approx(quadrature.log_z(mixture.energy, z)[0], abs=1e-9)
    assert float((z[:, 0] > 3).double().mean()) == pytest.approx(
        math.exp(1.2 - mixture.log_z), abs=4 * (0.25 / 1000) ** 0.5
    )


@pytest.mark.parametrize("oracle", [energies.Normal(2), energies.Cone(2, 1.5)])
def test_the_log_z_of_an_energy_is_its_integral(oracle: energies.Normal | energies.Cone) -> None:
    value, error = quadrature.log_z(oracle.energy, stream(0, "near").normal(100, 2).double())
    assert oracle.log_z == pytest.approx(value, abs=1e-9 + error)


def test_an_opaque_grbm_has_the_energy_of_the_grbm() -> None:
    grbm = grbms.coupled(3, 4, seed=0, scale=1.0)
    z = stream(0, "z").normal(9, 3)
    assert torch.equal(energies.Opaque(grbm).energy(z), grbm.energy(z))


# ---------------------------------------------------------------- autoencoders


@pytest.mark.parametrize("widened", [1.0, 1.5])
def test_every_weight_is_the_likelihood_where_the_posterior_is_exact(widened: float) -> None:
    oracle = autoencoders.linear_gaussian(data=6, latent=3, widened=widened)
    x = oracle.images(20, stream(0, "x"))
    with torch.no_grad():
        q = oracle.vae.encoder(x)
        z = q.sample(stream(0, "z").normal(50_000, 20, 3).double())
        log_prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()).log_prob(z)
        log_ratio = oracle.vae.log_likelihood(x, z) + log_prior - q.log_prob(z) - oracle.log_prob(x)
    if widened == 1.0:
        assert log_ratio.abs().max() < 1e-9
    else:
        ratio = log_ratio.exp()
        assert ((ratio.mean(0) - 1).abs() < 4 * ratio.std(0) / len(ratio) ** 0.5).all()
        assert ratio.std() > 0.1


def test_images_are_drawn_from_the_model() -> None:
    oracle = autoencoders.linear_gaussian(data=5, latent=2)
    x = oracle.images(40_000, stream(0, "x"))
    covariance = oracle.weight @ oracle.weight.T + oracle.std**2 * torch.eye(5).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other = MultivariateNormal(oracle.bias, covariance).sample((40_000,))
    assert_same_moments(x, other)
