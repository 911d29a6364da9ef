"""log Z without sampling, checked by closed forms and by each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.energies.densities import whitened
from bench.estimators import partition, quadrature
from bench.priors import Density
from bench.protocol import NotFinite
from bench.streams import stream


def random_grbm(visible: int, hidden: int, seed: int, scale: float = 1.0) -> GRBM:
    """Return a GRBM, float64, all of whose parameters are random."""
    generator = torch.Generator().manual_seed(seed)
    grbm = GRBM(visible, hidden).double()
    for parameter, spread in ((grbm.weight, scale), (grbm.mu, 1.0), (grbm.bias, 1.0), (grbm.log_var, 0.5)):
        parameter.data = spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return grbm


def by_the_book(grbm: GRBM) -> tuple[Tensor, Tensor, Tensor]:
    """Return all h, their probabilities, and log Z from the formula term by term, one h at a time."""
    precision = 1 / grbm.var
    terms, states = [], []
    for bits in itertools.product((0.0, 1.0), repeat=len(grbm.bias)):
        h = torch.tensor(bits, dtype=torch.float64)
        mean = grbm.weight @ h
        terms.append(grbm.bias @ h + (mean * precision * grbm.mu).sum() + 0.5 * (mean * precision * mean).sum())
        states.append(h)
    log_mass = torch.stack(terms) + 0.5 * len(grbm.mu) * math.log(2 * math.pi) + grbm.var.sqrt().log().sum()
    return torch.stack(states), torch.softmax(log_mass, 0).detach(), torch.logsumexp(log_mass, 0).detach()


def near(grbm: GRBM) -> Tensor:
    return whitened.sample(grbm.whitened(), 1000, stream(0, "near"))


@pytest.mark.parametrize("seed", range(4))
def test_enumeration_follows_the_formula(seed: int) -> None:
    grbm = random_grbm(5, 6, seed)
    assert whitened.log_z(grbm.whitened()) == pytest.approx(float(by_the_book(grbm)[2]), abs=1e-11)


@pytest.mark.parametrize(("visible", "hidden"), [(1, 3), (1, 12), (2, 1), (2, 8), (2, 16)])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_enumeration_and_quadrature_agree_to_1e_8(visible: int, hidden: int, scale: float) -> None:
    grbm = random_grbm(visible, hidden, seed=hidden, scale=scale)
    value, error = quadrature.log_z(grbm.energy, near(grbm))
    assert error < 1e-9
    assert value == pytest.approx(whitened.log_z(grbm.whitened()), abs=1e-8)


def test_enumeration_adds_up_over_independent_blocks_of_units() -> None:
    parts = [random_grbm(3, hidden, seed=hidden) for hidden in (6, 9)]  # 2^15 states together: two blocks of them
    whole = GRBM(6, 15).double()
    whole.weight.data = torch.block_diag(*[part.weight.data for part in parts])
    for name in ("mu", "bias", "log_var"):
        getattr(whole, name).data = torch.cat([getattr(part, name).data for part in parts])
    assert whitened.log_z(whole.whitened()) == pytest.approx(
        sum(whitened.log_z(part.whitened()) for part in parts), abs=1e-11
    )


def test_a_grbm_without_coupling_has_the_log_z_of_a_gaussian() -> None:
    grbm = GRBM(4, 3).double()
    grbm.weight.data.zero_()
    grbm.log_var.data.fill_(0.7)
    assert whitened.log_z(grbm.whitened()) == pytest.approx(
        2 * math.log(2 * math.pi) + 1.4 + 3 * math.log(2), abs=1e-12
    )


def test_float32_parameters_are_enumerated_in_float64() -> None:
    grbm = random_grbm(5, 6, 0).float()
    assert whitened.log_z(grbm.whitened()) == pytest.approx(whitened.log_z(grbm.double().whitened()), abs=1e-5)


def test_exact_samples_have_the_mixture_s_moments() -> None:
    grbm = random_grbm(3, 5, seed=1)
    states, probability, _ = by_the_book(grbm)
    n = 40_000
    z = whitened.sample(grbm.whitened(), n, stream(0, "sample"))
    centres = (grbm.mu + states @ grbm.weight.T).detach()
    mean = probability @ centres
    covariance = torch.diag(grbm.var.detach()) + (centres - mean).T @ torch.diag(probability) @ (centres - mean)
    assert ((z.mean(0) - mean).abs() < 4 * (covariance.diagonal() / n).sqrt()).all()
    products = torch.einsum("ni,nj->nij", z - mean, z - mean)
    assert ((products.mean(0) - covariance).abs() < 4 * products.std(0) / n**0.5).all()


def test_exact_samples_are_the_same_for_the_same_stream() -> None:
    grbm = random_grbm(3, 5, seed=1)
    assert torch.equal(
        whitened.sample(grbm.whitened(), 9, stream(3, "sample")),
        whitened.sample(grbm.whitened(), 9, stream(3, "sample")),
    )


@pytest.mark.parametrize("d", [1, 2])
def test_quadrature_integrates_a_quartic_density(d: int) -> None:
    # the integral of exp(-x^4) over R is 2 Gamma(5/4)
    value, error = quadrature.log_z(lambda z: z.pow(4).sum(-1), torch.tensor([[0.1] * d, [-0.2] * d]).double())
    assert value == pytest.approx(d * math.log(2 * math.gamma(1.25)), abs=1e-9)
    assert error < 1e-9


def test_quadrature_widens_its_box_until_the_density_has_died_out() -> None:
    value, _ = quadrature.log_z(
        lambda z: 0.5 * (z / 50).square().sum(-1), torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double()
    )
    assert value == pytest.approx(math.log(2 * math.pi * 50**2), abs=1e-9)


def test_quadrature_refines_its_grid_until_it_sees_a_narrow_mode() -> None:
    def energy(z: Tensor) -> Tensor:  # half the mass is within .003 of 7.001, between the points of the first grids
        narrow = -0.5 * ((z - 7.001) / 0.001).square() - math.log(0.001)
        return -torch.logaddexp(-0.5 * z.square(), narrow).sum(-1)

    value, error = quadrature.log_z(energy, torch.tensor([[-3.0], [3.0], [7.001]]).double())
    assert value == pytest.approx(math.log(2) + 0.5 * math.log(2 * math.pi), abs=1e-9)
    assert error < 1e-9


def test_quadrature_reports_the_error_of_an_energy_with_kinks() -> None:
    value, error = quadrature.log_z(lambda z: z.abs().sum(-1), torch.tensor([[-0.93, -1.1], [1.4, 1.2]]).double())
    assert 0 < error < 1e-2
    assert abs(value - math.log(4)) < error


@pytest.mark.parametrize("shift", [0.0, 0.13, 0.31, 0.5])
def test_with_kinks_the_error_holds_wherever_the_grid_lies(shift: float) -> None:
    anchors = torch.tensor([[-0.93, -1.1], [1.4, 1.2]]).double() + shift
    value, error = quadrature.log_z(lambda z: z.abs().sum(-1), anchors)
    assert abs(value - math.log(4)) < error < 1e-2


def test_a_mode_that_no_grid_sees_leaves_a_finite_error_that_says_so() -> None:
    class Spike(Density):
        """Half the mass is within 1e-9 of .37 in each direction."""

        def energy(self, z: Tensor) -> Tensor:
            narrow = (-0.5 * ((z - 0.37) / 1e-9).square() - math.log(1e-9)).sum(-1)
            return -torch.logaddexp(-0.5 * z.square().sum(-1), narrow)

    anchors = torch.tensor([[-3.0, 2.0], [3.0, -2.0], [0.37, 0.37]], dtype=torch.float64)
    _, error = quadrature.log_z(Spike().energy, anchors)
    assert 40 < error < 90, "the anchor is likelier by 2 log 1e9 = 41 nats"
    result = partition.by_quadrature(Spike(), anchors)
    assert "quadrature had not converged" in result.unreliable
    assert all(map(math.isfinite, (result.value, result.lower, result.upper)))


def test_quadrature_refuses_a_density_that_does_not_fall_off() -> None:
    with pytest.raises(NotFinite, match="does not fall off"):
        quadrature.log_z(lambda z: 0 * z.sum(-1), torch.zeros(2, 2).double())


def test_quadrature_refuses_an_energy_that_is_not_finite() -> None:
    with pytest.raises(NotFinite, match="not finite everywhere"):
        quadrature.log_z(lambda z: z.sum(-1) * math.nan, torch.zeros(2, 2).double())


def test_quadrature_is_for_two_dimensions_at_most() -> None:
    with pytest.raises(ValueError, match="at most 2 dimensions, not 3"):
        quadrature.log_z(lambda z: z.square().sum(-1), torch.zeros(2, 3).double())


@pytest.mark.parametrize("use", [lambda grbm: whitened.log_z(grbm.whitened()), near])
def test_more_than_twenty_hidden_units_are_not_enumerated(use: Callable[[GRBM], object]) -> None:
    with pytest.raises(ValueError, match="21 hidden units cannot be enumerated; at most 20 can"):
        use(GRBM(2, 21))


def test_a_grbm_says_that_more_than_twenty_hidden_units_have_no_exact_value() -> None:
    grbm = GRBM(2, 21)
    assert (grbm.exact_log_z(), grbm.exact_sample(3, stream(0, "draws"))) == (None, None)
    assert random_grbm(3, 5, seed=1).exact_log_z() == whitened.log_z(random_grbm(3, 5, seed=1).whitened())


@pytest.mark.parametrize("name", ["weight", "mu", "bias", "log_var"])
def test_parameters_that_are_not_finite_have_no_log_z(name: str) -> None:
    grbm = GRBM(2, 3)
    getattr(grbm, name).data[0] = math.nan
    with pytest.raises(NotFinite, match="parameters that are not finite"):
        whitened.log_z(grbm.whitened())
