"""Paths to energies by Hamiltonian Monte Carlo: invariant, unbiased, and tuned before any weight counts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.energies.densities import whitened
from bench.estimators import ais, hmc
from bench.estimators.hmc import Moments
from bench.streams import stream

FREE = torch.full((2,), math.log(0.5)).double()


def grbm(visible: int = 6, hidden: int = 5) -> GRBM:
    """Return a GRBM with several modes, in float64."""
    generator = torch.Generator().manual_seed(1)
    model = GRBM(visible, hidden).double()
    weight = 0.8 * torch.randn(visible, hidden, generator=generator, dtype=torch.float64)
    model.weight.data = weight
    model.mu.data = torch.randn(visible, generator=generator, dtype=torch.float64)
    model.log_var.data = 0.3 * torch.randn(visible, generator=generator, dtype=torch.float64)
    precision = 1 / model.var.detach()
    model.bias.data = -weight.T @ (precision * model.mu.data) - 0.5 * precision @ weight.square()
    return model.requires_grad_(False)


def bridge_to(model: GRBM, base: str) -> hmc.Bridge:
    moments = Moments.of(whitened.sample(model.whitened(), 1000, stream(0, "latents")))
    make = {"posterior": hmc.Bridge.from_moments, "isotropic": hmc.Bridge.isotropic}[base]
    return make(model.energy, moments, stream(0, "pilot"))


def to_normal(precision: Tensor, guess: Tensor) -> hmc.Bridge:
    """Return the untuned path from N(0, I) to a centred normal distribution, both diagonal."""
    d = len(precision)
    return hmc.Bridge(
        torch.eye(d).double(),
        torch.zeros(d).double(),
        torch.ones(d).double(),
        guess,
        lambda z: 0.5 * z.square() @ precision,
        FREE,
    )


def assert_same_moments(before: Tensor, after: Tensor) -> None:
    """Check means of x, its squares and its neighbours' products to within 4 standard errors of independent draws."""
    pairs = (before, after), (before.square(), after.square()), (before * before.roll(1, 1), after * after.roll(1, 1))
    for one, other in pairs:
        spread = ((one.var(0) + other.var(0)) / len(one)).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() < 4 * spread).all()


def acceptance(bridge: hmc.Bridge, state: hmc.State, t: float, step: float) -> float:
    return float(bridge.trajectory(state, t, torch.tensor(step).double(), stream(0, "move"))[1].mean())


# ---------------------------------------------------------------- transitions


@pytest.mark.parametrize("step", [0.1, 0.6, 1.2])
def test_a_trajectory_leaves_the_model_invariant(step: float) -> None:
    model = grbm()
    bridge = bridge_to(model, "posterior")
    state, noise = bridge.at(whitened.sample(model.whitened(), 20_000, stream(0, "start"))), stream(0, "move")
    for _ in range(5):
        state, _ = bridge.trajectory(state, 1.0, torch.tensor(step).double(), noise)
    assert_same_moments(whitened.sample(model.whitened(), 20_000, stream(2, "fresh")), bridge.ends(state))


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_a_trajectory_leaves_every_density_between_invariant(t: float) -> None:
    precision = torch.tensor([0.2, 1.0, 9.0]).double()
    bridge = to_normal(precision, guess=torch.tensor([1.0, 1.0, 2.0]).double())
    spread = (1 - t + t * precision).rsqrt()
    state, noise = bridge.at(spread * stream(0, "start").normal(20_000, 3)), stream(0, "move")
    for _ in range(5):
        state, accepted = bridge.trajectory(state, t, torch.tensor(0.7).double(), noise)
    assert accepted.mean() < 0.99
    assert_same_moments(spread * stream(2, "fresh").normal(20_000, 3), bridge.ends(state))


def test_a_state_keeps_the_energy_and_gradient_of_where_it_is() -> None:
    model = grbm()
    bridge = bridge_to(model, "isotropic")
    state = bridge.move(bridge.begin(50, stream(0, "start")), 0.7, stream(0, "move"))
    z = bridge.ends(state)
    torch.testing.assert_close(state.energy, model.energy(z))
    torch.testing.assert_close(state.gradient @ bridge.rotation.T, model.gradient(z))


def test_chains_do_not_go_where_the_density_is_zero() -> None:
    half = replace(
        to_normal(torch.ones(3).double(), torch.ones(3).double()),
        energy=lambda z: torch.where(z[:, 0] > 0, 0.5 * z.square().sum(-1), math.inf),
    )
    log_weights, y = ais.forward(half, 20, 4000, stream(0, "forward"))
    alive = log_weights > -math.inf
    assert 1500 < alive.sum() < 2500  # half of the base is outside from the first step on
    assert (y[alive, 0] > 0).all()
    ratio = torch.exp(log_weights - 1.5 * math.log(2 * math.pi))
    assert float(ratio.mean()) == pytest.approx(0.5, abs=3 * float(ratio.std()) / len(ratio) ** 0.5)


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("mean", "variance", "square"),
    [
        ((3.0, 0.0), (1.0, 1.0), 5.5),  # 1 + 9/2
        ((3.0, 1.0), (0.5, 3.5), 7.0),  # 2 + 10/2
        ((0.5, 0.0), (0.25, 0.5), 1.0),  # .375 + .125 is less than 1
    ],
)
def test_the_isotropic_base_has_the_latents_mean_square_if_that_is_above_one(
    mean: tuple[float, ...], variance: tuple[float, ...], square: float
) -> None:
    moments = Moments(torch.tensor(mean).double(), torch.eye(2).double(), torch.tensor(variance).double())
    bridge = hmc.Bridge.isotropic(lambda z: 0.5 * z.square().sum(-1), moments, stream(0, "pilot"))
    assert bridge.mean.tolist() == [0, 0]
    assert bridge.precision.tolist() == [1 / square] * 2
    assert bridge.stiffness.tolist() == [1 / each for each in variance]


@pytest.mark.parametrize("base", ["posterior", "isotropic"])
@pytest.mark.parametrize("temperatures", [1, 2, 10])
def test_forward_weights_are_unbiased_for_z_however_few_the_temperatures(base: str, temperatures: int) -> None:
    model = grbm(4, 3)
    log_weights, _ = ais.forward(bridge_to(model, base), temperatures, 20_000, stream(0, "forward"))
    ratio = torch.exp(log_weights - whitened.log_z(model.whitened()))
    assert float(ratio.mean()) == pytest.approx(1, abs=3 * float(ratio.std()) / len(ratio) ** 0.5)


@pytest.mark.parametrize("base", ["posterior", "isotropic"])
def test_reverse_weights_from_exact_starts_are_unbiased_for_one_over_z(base: str) -> None:
    model = grbm(4, 3)
    z = whitened.sample(model.whitened(), 20_000, stream(0, "starts"))
    log_weights = ais.reverse(bridge_to(model, base), 20, z, stream(0, "reverse"))
    ratio = torch.exp(log_weights + whitened.log_z(model.whitened()))
    assert float(ratio.mean()) == pytest.approx(1, abs=3 * float(ratio.std()) / len(ratio) ** 0.5)


@pytest.mark.parametrize("base", ["posterior", "isotropic"])
def test_chains_end_in_the_model(base: str) -> None:
    model = grbm()
    _, y = ais.forward(bridge_to(model, base), 300, 5000, stream(0, "forward"))
    assert_same_moments(whitened.sample(model.whitened(), 5000, stream(0, "truth")), y)


def test_an_energy_that_is_its_own_base_has_weights_without_variance() -> None:
    bridge = to_normal(torch.ones(5).double(), torch.ones(5).double())
    log_weights, _ = ais.forward(bridge, 7, 50, stream(0, "forward"))
    assert log_weights == pytest.approx(2.5 * math.log(2 * math.pi), abs=1e-10)


def test_chains_may_have_bases_and_energies_of_their_own() -> None:
    # chain i goes from N(a_i, s_i^2) to the product of N(z; 0, I) and N(x_i; z, I): its log Z is log N(x_i; 0, 2 I)
    d, items, chains = 4, 3, 200
    x = stream(0, "x").normal(items, d).double().repeat_interleave(chains, 0)
    base = stream(0, "base").normal(items, d).double().repeat_interleave(chains, 0)
    precision = torch.tensor([0.5, 1.0, 3.0]).double().repeat_interleave(chains)[:, None].expand_as(x)

    def energy(z: Tensor) -> Tensor:
        return 0.5 * (z.square() + (x - z).square()).sum(-1) + d * math.log(2 * math.pi)

    bridge = hmc.Bridge(torch.eye(d).double(), base, precision, precision, energy, FREE)
    bridge = hmc.tuned(bridge, stream(0, "pilot"), len(x))
    log_weights, _ = ais.forward(bridge, 200, len(x), stream(0, "forward"))
    ratio = torch.exp(log_weights + 0.25 * x.square().sum(-1) + 0.5 * d * math.log(4 * math.pi)).reshape(items, chains)
    assert ((ratio.mean(1) - 1).abs() < 3 * ratio.std(1) / chains**0.5).all()
    assert (ratio.std(1) < 0.5).all()


# ---------------------------------------------------------------- the pilot


@pytest.mark.parametrize("scale", [0.1, 0.3])
def test_the_step_is_accepted_as_often_as_aimed_at_where_the_guess_is_too_wide(scale: float) -> None:
    d = 16
    bridge = hmc.tuned(to_normal(torch.full((d,), scale**-2).double(), torch.ones(d).double()), stream(0, "pilot"))
    steps = bridge.log_steps.exp()
    for t in (0.5, 1.0):
        spread = (1 - t + t * scale**-2) ** -0.5
        state = bridge.at(spread * stream(0, "start").normal(2000, d).double())
        step = float(steps[round(t * (len(steps) - 1))])
        assert 0.65 < acceptance(bridge, state, t, step) < 0.85
    assert steps[-1] < steps[0]


def test_no_trajectory_is_so_long_that_it_comes_back_to_its_energy() -> None:
    d = 8
    bridge = hmc.tuned(to_normal(torch.ones(d).double(), torch.ones(d).double()), stream(0, "pilot"))
    z = stream(0, "start").normal(5000, d).double()
    state = bridge.at(z)
    after = bridge.move(state, 1.0, stream(0, "move"))
    correlation = torch.corrcoef(torch.stack([state.energy, after.energy]))[0, 1]
    assert correlation < 0.4  # .8 with the step that three quarters accept


def test_the_step_size_is_interpolated_between_temperatures() -> None:
    bridge = replace(bridge_to(grbm(), "isotropic"), log_steps=torch.tensor([0.0, -2.0, -3.0]).double())
    state = bridge.begin(10, stream(0, "start"))
    for t, log_step in ((0.25, -1.0), (0.5, -2.0), (0.75, -2.5), (1.0, -3.0)):
        expected, _ = bridge.trajectory(state, t, torch.tensor(log_step).double().exp(), stream(0, "move"))
        torch.testing.assert_close(bridge.move(state, t, stream(0, "move")).u, expected.u)


def test_the_pilot_depends_on_its_stream_alone() -> None:
    bridge = to_normal(torch.full((16,), 100.0).double(), torch.ones(16).double())
    one, same, other = (hmc.tuned(bridge, stream(seed, "pilot")).log_steps for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
