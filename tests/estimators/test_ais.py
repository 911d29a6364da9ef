"""AIS of a GRBM's log Z, checked against enumeration: unbiased, covered by its interval, and never silently wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.energies.densities import annealing, whitened
from bench.estimators import ais, partition
from bench.estimators.subject import Meter
from bench.priors import Density
from bench.protocol import Ais, Noise, NotFinite, UserError
from bench.streams import Stream, stream
from tests.oracles.grbms import coupled, islands
from tests.oracles.verdicts import contains, noises


def bases(grbm: GRBM, z: Tensor) -> dict[str, annealing.Base]:
    model = grbm.whitened()
    return {"posterior": annealing.Base.from_samples(model, z), "uniform": annealing.Base.uniform_hidden(model)}


def mean_ratio(log_weights: Tensor, log_z: float) -> tuple[float, float]:
    """Return the mean of exp(log_weights - log_z) and its standard error."""
    ratio = torch.exp(log_weights - log_z)
    return float(ratio.mean()), float(ratio.std() / len(ratio) ** 0.5)


def standard_errors_from(expected: float, found: tuple[float, float]) -> float:
    return abs(found[0] - expected) / found[1]


# ---------------------------------------------------------------- the chains


@pytest.mark.parametrize("name", ["posterior", "uniform"])
@pytest.mark.parametrize("temperatures", [1, 2, 10])
def test_forward_weights_are_unbiased_for_z_however_few_the_temperatures(name: str, temperatures: int) -> None:
    grbm = coupled(6, 5, seed=1, scale=0.4)
    base = bases(grbm, whitened.sample(grbm.whitened(), 500, stream(0, "latents")))[name]
    log_weights, _ = ais.forward(base, temperatures, 20_000, stream(0, "forward"))
    assert standard_errors_from(1, mean_ratio(log_weights, whitened.log_z(grbm.whitened()))) < 3


@pytest.mark.parametrize("name", ["posterior", "uniform"])
@pytest.mark.parametrize("temperatures", [2, 10])
def test_reverse_weights_from_exact_starts_are_unbiased_for_one_over_z(name: str, temperatures: int) -> None:
    grbm = coupled(6, 5, seed=1, scale=0.4)
    base = bases(grbm, whitened.sample(grbm.whitened(), 500, stream(0, "latents")))[name]
    y = grbm.whitened().whiten(whitened.sample(grbm.whitened(), 20_000, stream(0, "starts")))
    log_weights = ais.reverse(base, temperatures, y, stream(0, "reverse"))
    assert standard_errors_from(1, mean_ratio(log_weights, -whitened.log_z(grbm.whitened()))) < 3


@pytest.mark.parametrize("hidden", [1, 64, 3000])
@pytest.mark.parametrize(("old", "new"), [(0.0, 0.001), (0.7, 0.701), (0.0, 1.0), (1.0, 0.999), (0.5, 0.0)])
def test_the_gain_of_softplus_is_that_of_its_terms_however_large_and_many(hidden: int, old: float, new: float) -> None:
    logits = stream(0, "logits").normal(7, hidden).double() * 10.0 ** torch.arange(-3, 4).double()[:, None]
    zero = torch.zeros(()).double()  # torch has softplus(x) = x from 20 on, which is off by 2e-9
    expected = (torch.logaddexp(zero, new * logits) - torch.logaddexp(zero, old * logits)).sum(-1)
    torch.testing.assert_close(annealing.softplus_gain(logits, old, new), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["posterior", "uniform"])
@pytest.mark.parametrize(("old", "new"), [(0.0, 0.001), (0.4, 0.401), (0.999, 1.0), (0.5, 0.0)])
def test_a_step_s_weight_is_the_ratio_of_the_densities(name: str, old: float, new: float) -> None:
    base = bases(coupled(6, 5, seed=1, scale=2.0), 5 + 3 * stream(0, "latents").normal(500, 6))[name]
    state = base.state(20 * stream(0, "u").normal(200, 6).double())

    def log_density(t: float) -> Tensor:
        gaussian = ((state.u - base.mean).square() * base.precision).sum(-1)
        hidden = torch.logaddexp(torch.zeros(()).double(), t * (state.u @ base.coupling + base.offset)).sum(-1)
        return -0.5 * (1 - t) * gaussian - 0.5 * t * state.u.square().sum(-1) + hidden

    # sums of some ten terms below 1e5, each of whose roundings is 1e-16 of it
    torch.testing.assert_close(
        base.log_ratio(state, old, new), log_density(new) - log_density(old), rtol=1e-12, atol=1e-10
    )


def test_a_sweep_draws_units_as_often_as_they_are_likely() -> None:
    n, t = 40_000, 0.7
    logits = torch.tensor([-60.0, -4.0, -1.0, 0.0, 0.5, 4.0, 60.0]).double().expand(n, 7)
    share, p = annealing.switched(logits, t, stream(0, "units")).mean(0), torch.sigmoid(t * logits[0])
    assert ((share - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all()


@pytest.mark.parametrize(("uniform", "logit", "on"), [(0.0, -46.0, 0.0), (1 - 2.0**-24, 46.0, 1.0), (0.0, 0.0, 1.0)])
def test_a_unit_that_is_certain_is_never_otherwise(uniform: float, logit: float, on: float) -> None:
    class Extreme(Stream):
        def uniform(self, *shape: int) -> Tensor:
            return torch.full(shape, uniform)

    assert annealing.switched(torch.tensor([[logit]]).double(), 1.0, Extreme(0, "")).item() == on


def test_chains_end_in_the_model() -> None:
    grbm = coupled(6, 5, seed=1, scale=0.4)
    truth = grbm.whitened().whiten(whitened.sample(grbm.whitened(), 20_000, stream(0, "truth")))
    _, y = ais.forward(bases(grbm, torch.randn(500, 6))["uniform"], 200, 20_000, stream(0, "forward"))
    spread = (y.std(0) ** 2 / len(y) + truth.std(0) ** 2 / len(truth)).sqrt()
    assert ((y.mean(0) - truth.mean(0)).abs() < 4 * spread).all()


def test_a_gaussian_model_is_its_own_base_and_every_weight_is_z() -> None:
    grbm = GRBM(5, 4)
    grbm.weight.data.zero_()
    grbm.log_var.data = torch.linspace(-1, 1, 5)
    log_weights, _ = ais.forward(bases(grbm, torch.randn(9, 5))["uniform"], 7, 50, stream(0, "forward"))
    assert log_weights == pytest.approx(whitened.log_z(grbm.whitened()), abs=1e-10)


def test_the_uniform_base_has_the_moments_of_the_model_under_uniform_hidden_units() -> None:
    grbm = coupled(3, 4, seed=2, scale=1.0)
    model = grbm.whitened()
    h = whitened.states(torch.arange(16), 4)
    z = model.colour(model.draw_visible(h.repeat(5000, 1), stream(0, "given h")))
    base = annealing.Base.uniform_hidden(model)
    drawn = model.colour(base.ends(base.begin(80_000, stream(0, "base"))))
    for one, other in ((drawn, z), (drawn.square(), z.square()), (drawn * drawn.roll(1, 1), z * z.roll(1, 1))):
        spread = ((one.var(0) + other.var(0)) / len(z)).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() < 4 * spread).all()


@pytest.mark.parametrize("samples", ["equal", "fewer than dimensions"])
def test_degenerate_samples_still_make_a_base(samples: str) -> None:
    grbm = coupled(6, 5, seed=1, scale=0.4)
    z = torch.zeros(9, 6) if samples == "equal" else torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    log_weights, _ = ais.forward(bases(grbm, z)["posterior"], 100, 2000, stream(0, "forward"))
    assert standard_errors_from(1, mean_ratio(log_weights, whitened.log_z(grbm.whitened()))) < 3


# ---------------------------------------------------------------- the floor


@pytest.mark.parametrize("seed", range(5))
def test_the_floor_is_never_above_log_z(seed: int) -> None:
    grbm = coupled(20, 14, seed, scale=(0.1, 0.5, 1.0)[seed % 3])
    assert annealing.floor(grbm.whitened(), stream(seed, "modes")) <= whitened.log_z(grbm.whitened()) + 1e-9


def test_the_floor_is_log_z_where_every_hidden_state_is_visited() -> None:
    grbm = coupled(6, 4, seed=1, scale=0.4)
    assert annealing.floor(grbm.whitened(), stream(0, "modes")) == pytest.approx(
        whitened.log_z(grbm.whitened()), abs=1e-9
    )


def test_the_floor_counts_islands_between_which_gibbs_does_not_move() -> None:
    grbm = islands(16, 8, distance=30.0, share=0.75)
    log_z = whitened.log_z(grbm.whitened())
    assert log_z - 0.01 < annealing.floor(grbm.whitened(), stream(0, "modes")) <= log_z + 1e-9


def test_the_climb_ends_where_no_single_flip_gains() -> None:
    model = coupled(20, 10, seed=3, scale=1.0).whitened()
    peaks = annealing.ascend(model, annealing.starts(model, stream(0, "modes")))
    flipped = (peaks[:, None] - torch.eye(10).double()).abs().flatten(0, 1)
    assert (model.log_mass(flipped).reshape(-1, 10) <= model.log_mass(peaks)[:, None] + 1e-6).all()


# ---------------------------------------------------------------- the interval


def estimate(name: str, value: float, stderr: float = 0.01, ess: float = 190) -> partition.Estimate:
    direction, base = name.split("_")
    return partition.Estimate(base, direction == "reverse", value, stderr, ess, 200)


def combined(*changed: partition.Estimate, floor: float = 0.0) -> ais.LogZ:
    """Return the combination of four estimates of 10, some of them changed."""
    names = ("forward_posterior", "forward_uniform", "reverse_posterior", "reverse_uniform")
    estimates = {name: estimate(name, 10.0) for name in names} | {each.name: each for each in changed}
    return partition.combine(
        list(estimates.values()), partition.Estimate("pooled", False, 10.0, 0.007, 380, 400), floor, {}
    )


def test_an_estimate_is_the_log_mean_weight_with_the_delta_method_s_error() -> None:
    log_weights = torch.tensor([0.3, 1.2, -0.4, 0.9, 0.1], dtype=torch.float64) + 500
    weights = np.exp(log_weights.numpy() - 500)
    found = partition.Estimate.of("uniform", log_weights)
    assert found.value == pytest.approx(500 + math.log(weights.mean()), abs=1e-12)
    assert found.stderr == pytest.approx(weights.std(ddof=1) / weights.mean() / 5**0.5, rel=1e-9)
    assert found.ess == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_the_interval_is_the_union_over_both_bases_and_not_over_reverse_chains() -> None:
    result = combined(estimate("forward_uniform", 10.03, 0.02), estimate("reverse_uniform", 10.08, 0.02))
    assert not result.unreliable
    assert (result.lower, result.upper) == pytest.approx((10 - 2.24 * 0.01, 10.03 + 2.24 * 0.02))


@pytest.mark.parametrize("name", ["forward_posterior", "forward_uniform"])
def test_a_small_effective_sample_size_is_unreliable(name: str) -> None:
    assert combined(estimate(name, 10.0, ess=99)).unreliable == f"{name} has an effective sample size of 99 of 200"
    assert not combined(estimate(name, 10.0, ess=100)).unreliable


def test_bases_that_disagree_are_unreliable() -> None:
    # both directions of the second base agree with each other
    changed = estimate("forward_uniform", 10.05), estimate("reverse_uniform", 10.05)
    assert (
        combined(*changed).unreliable == "forward_posterior (10.000) and forward_uniform (10.050) disagree"
    )  # 3 joint standard errors: .042


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("changed", [("forward_uniform", "reverse_uniform"), ("reverse_uniform",)])
def test_estimates_may_differ_by_three_joint_standard_errors(changed: tuple[str, ...], sign: int) -> None:
    """Two bases, each of whose directions agree, and the two directions of one base: 3 sqrt 2 * .01 = .04243."""
    near, far = (combined(*(estimate(name, 10 + sign * apart) for name in changed)) for apart in (0.042, 0.043))
    assert near.unreliable == ""
    assert far.unreliable.endswith(" disagree")


def test_the_joint_standard_error_is_the_root_of_the_sum_of_squares() -> None:
    """3 * sqrt(.03^2 + .04^2) = .15."""
    near, far = (estimate("forward_uniform", 10 + apart, 0.04) for apart in (0.1499, 0.1501))
    assert not near.differs(estimate("forward_posterior", 10, 0.03))
    assert far.differs(estimate("forward_posterior", 10, 0.03))


@pytest.mark.parametrize("value", [9.95, 10.05])
def test_directions_that_disagree_are_unreliable(value: float) -> None:
    reason = combined(estimate("reverse_uniform", value)).unreliable
    assert reason == f"forward_uniform (10.000) and reverse_uniform ({value:.3f}) disagree"


def test_an_estimate_below_the_floor_is_unreliable_and_no_part_of_the_interval_stays_there() -> None:
    result = combined(floor=10.5)
    assert "forward_posterior (10.000) is below the floor (10.500)" in result.unreliable
    assert (result.value, result.lower, result.upper) == (10.5, 10.5, 10.5)


def test_a_floor_within_the_error_only_cuts_the_interval() -> None:
    result = combined(floor=9.99)
    assert not result.unreliable
    assert (result.lower, result.upper) == pytest.approx((9.99, 10 + 2.24 * 0.01))


def test_a_floor_may_be_above_an_estimate_by_the_error_that_its_interval_allows() -> None:
    """2.24 * .01 = .0224."""
    within, above = combined(floor=10.022), combined(floor=10.023)
    assert within.unreliable == ""
    assert (within.value, within.lower, within.upper) == (10.022, 10.022, 10 + 2.24 * 0.01)
    assert above.unreliable == (
        "forward_posterior (10.000) is below the floor (10.023); forward_uniform (10.000) is below the floor (10.023)"
    )


# ---------------------------------------------------------------- log Z as a whole


def test_more_repeats_pool_into_one_estimate() -> None:
    grbm = coupled(64, 16, seed=1, scale=0.2)
    latents = whitened.sample(grbm.whitened(), 500, stream(0, "latents"))
    result = partition.anneal(grbm, latents, Ais(temperatures=20, chains=50, repeats=3), noises(0))
    assert result.n == 300
    assert result.arrays["ais_forward_uniform"].shape == (3, 50)
    weights = np.concatenate([result.arrays[f"ais_forward_{base}"].ravel() for base in ("posterior", "uniform")])
    assert result.value == pytest.approx(np.log(np.exp(weights - 60).mean()) + 60, abs=1e-9)
    runs = result.arrays["ais_forward_uniform"]
    assert len(np.unique(runs)) == runs.size  # independent runs, not the same one thrice


def test_the_same_streams_give_the_same_interval() -> None:
    grbm = coupled(6, 5, seed=1, scale=0.4)
    latents = whitened.sample(grbm.whitened(), 500, stream(0, "latents"))
    settings = Ais(temperatures=20, chains=50)
    first, second, other = (partition.anneal(grbm, latents, settings, noises(seed)) for seed in (0, 0, 1))
    assert (first.value, first.lower, first.upper) == (second.value, second.lower, second.upper)
    assert first.value != other.value


def test_progress_counts_every_step_of_every_chain() -> None:
    grbm = coupled(6, 5, seed=1, scale=0.4)
    settings = Ais(temperatures=7, chains=11, repeats=2)
    meter = Meter()
    partition.anneal(grbm, torch.randn(50, 6), settings, noises(0), meter)
    assert meter.done == pytest.approx(grbm.step_cost * partition.chain_steps(settings))


def test_mass_that_the_latents_never_touch_is_found_all_the_same() -> None:
    grbm = islands(16, 8, distance=10.0, share=0.75)
    z = whitened.sample(grbm.whitened(), 5000, stream(0, "latents"))
    latents = z[z[:, 0] < 5]  # the posterior covers one island
    truth = whitened.log_z(grbm.whitened())
    result = partition.anneal(grbm, latents, Ais(temperatures=1000, chains=200), noises(0))
    posterior, uniform = result.arrays["ais_estimates"][:2, 0]
    assert posterior < truth - 1  # ln .25 = -1.39, with nothing in this base's own weights to show for it
    assert abs(uniform - truth) < 0.2
    assert result.unreliable
    assert contains(result, truth)


# ---------------------------------------------------------------- which route


def test_a_small_grbm_is_enumerated_and_a_large_one_annealed() -> None:
    for hidden, estimator in ((20, "exact-enumeration"), (21, "ais")):
        grbm = GRBM(64, hidden).requires_grad_(False)
        result = partition.log_partition(grbm, torch.randn(50, 64), Ais(temperatures=2, chains=2), noises(0))
        assert result.estimator == estimator


def test_a_large_grbm_in_two_dimensions_is_integrated() -> None:
    grbm = coupled(2, 24, seed=0, scale=0.3)
    result = partition.log_partition(grbm, torch.randn(50, 2), Ais(), noises(0))
    assert result.estimator == "quadrature"
    assert not result.unreliable
    annealed = partition.anneal(grbm, torch.randn(50, 2), Ais(), noises(0))
    assert not annealed.unreliable
    assert annealed.lower < result.value < annealed.upper


def test_enumeration_has_no_interval() -> None:
    grbm = coupled(6, 5, seed=1, scale=0.4)
    result = partition.log_partition(grbm, torch.randn(50, 6), Ais(), noises(0))
    assert result.lower == result.value == result.upper == whitened.log_z(grbm.whitened())
    assert (result.estimator, result.stderr) == ("exact-enumeration", 0)


class Ridge(Density):
    """exp(-|z|): an energy with a kink, unlike a GRBM."""

    def energy(self, z: Tensor) -> Tensor:
        return z.abs().sum(-1)

    def sample(self, n: int, noise: Noise) -> Tensor:
        return noise.normal(n, 2)


def test_any_energy_in_two_dimensions_is_integrated() -> None:
    result = partition.log_partition(Ridge(), torch.randn(50, 2), Ais(), noises(0))
    assert result.estimator == "quadrature"
    assert result.lower < math.log(4) < result.upper
    assert not result.unreliable


class Rigid(Ridge):
    """An energy that autograd cannot differentiate."""

    @torch.no_grad()
    def energy(self, z: Tensor) -> Tensor:
        return super().energy(z)


def test_an_energy_without_a_gradient_is_a_user_s_mistake_in_more_than_two_dimensions() -> None:
    assert partition.log_partition(Rigid(), torch.randn(50, 2), Ais(), noises(0)).estimator == "quadrature"
    with pytest.raises(
        UserError, match="log Z of the prior Rigid cannot be estimated in 3 dimensions: autograd cannot differentiate"
    ):
        partition.log_partition(Rigid(), torch.randn(50, 3), Ais(), noises(0))


@pytest.mark.parametrize("latents", [torch.zeros(1, 6), torch.full((5, 6), math.nan)])
def test_latents_must_be_finite_and_more_than_one(latents: Tensor) -> None:
    with pytest.raises(NotFinite, match="two or more finite latents"):
        partition.log_partition(coupled(6, 5, seed=1, scale=0.4), latents, Ais(), noises(0))
