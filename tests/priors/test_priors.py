"""Statements about the densities over z."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bench.energies import GRBM
from bench.networks import perceptron
from bench.priors import Density, StandardNormal, VampPrior
from bench.streams import stream
from bench.vae import Encoder, Posterior


def a_grbm(visible: int, hidden: int, scale: float = 1.0) -> GRBM:
    """A GRBM with every parameter away from its initial value."""
    torch.manual_seed(0)
    grbm = GRBM(visible, hidden).double()
    with torch.no_grad():
        grbm.weight.normal_(0, scale)
        grbm.mu.normal_(0, 0.5)
        grbm.bias.normal_(0, 0.5)
        grbm.log_var.uniform_(-1, 1)
    return grbm


def a_vampprior(latent: int, components: int, dtype: torch.dtype = torch.float32) -> VampPrior:
    torch.manual_seed(1)
    encoder = Encoder(perceptron(5, [8], 2 * latent, "elu")).to(dtype)
    return VampPrior(encoder, torch.rand(components, 5, dtype=dtype), (0.0, 1.0))


def a_posterior(prior: VampPrior) -> Posterior:
    with torch.no_grad():
        return prior.components()


def states(hidden: int) -> Tensor:
    """All 2^H states of the hidden units, `(2^H, H)`."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=hidden)), dtype=torch.float64)


def moments(grbm: GRBM) -> tuple[Tensor, Tensor]:
    """Exact mean and covariance, as those of a mixture of 2^H Gaussians."""
    with torch.no_grad():
        h = states(len(grbm.bias))
        shift = h @ grbm.weight.T
        exponent = h @ grbm.bias + (shift * grbm.mu / grbm.var).sum(-1) + 0.5 * (shift.square() / grbm.var).sum(-1)
        probability = torch.softmax(exponent, 0)
        centres = grbm.mu + shift
        mean = probability @ centres
        centred = centres - mean
        return mean, torch.diag(grbm.var) + centred.T @ (probability[:, None] * centred)


@pytest.mark.parametrize("prior", [StandardNormal(2), a_vampprior(2, 3, torch.float64)], ids=lambda p: type(p).__name__)
def test_a_normalised_density_integrates_to_one(prior: Density) -> None:
    points = torch.linspace(-12, 12, 801, dtype=torch.float64)
    z = torch.cartesian_prod(points, points)
    with torch.no_grad():
        mass = torch.exp(-prior.energy(z)).sum() * (points[1] - points[0]) ** 2
    # the trapezoid rule on a smooth, vanishing integrand converges faster than any power of the spacing
    assert float(mass) == pytest.approx(1, abs=1e-9)


def test_a_grbm_is_a_mixture_of_gaussians_over_its_hidden_units() -> None:
    grbm = a_grbm(3, 4)
    z = torch.randn(7, 3, dtype=torch.float64)
    with torch.no_grad():
        h = states(4)
        joint = (
            -0.5 * ((z - grbm.mu).square() / grbm.var).sum(-1)[:, None]
            + (z / grbm.var) @ grbm.weight @ h.T
            + h @ grbm.bias
        )
        torch.testing.assert_close(grbm.energy(z), -torch.logsumexp(joint, 1), rtol=1e-12, atol=1e-12)


def test_a_grbms_closed_forms_are_what_autograd_gives() -> None:
    grbm = a_grbm(5, 3)
    z, v = torch.randn(2, 6, 5, dtype=torch.float64)
    for closed, general in [
        (grbm.gradient(z), Density.gradient(grbm, z)),
        (grbm.curvature(z, v), Density.curvature(grbm, z, v)),
        (grbm.laplacian(z), Density.laplacian(grbm, z)),
    ]:
        torch.testing.assert_close(closed, general, rtol=1e-10, atol=1e-10)


def plain_energy(grbm: GRBM, z: Tensor) -> Tensor:
    """Return E(z) as paper Eq. 12 has it, from operations that autograd differentiates."""
    return 0.5 * ((z - grbm.mu).square() / grbm.var).sum(-1) - functional.softplus(grbm.hidden(z)).sum(-1)


@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 6, 5)])
def test_a_grbms_energy_and_its_first_and_second_derivatives_are_those_of_its_formula(shape: tuple[int, ...]) -> None:
    grbm, weight = a_grbm(5, 3), torch.randn(shape[:-1], dtype=torch.float64)
    with torch.no_grad():
        grbm.log_var[0] = 7.0  # beyond its clamp: the derivative is 0 there
    seen = []
    for energy in (grbm.energy, lambda z: plain_energy(grbm, z)):
        torch.manual_seed(1)
        z = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        inputs = [z, *grbm.parameters()]
        value = energy(z)
        first = torch.autograd.grad((weight * value).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(
            torch.cat([part.flatten() for part in first]).square().sum(), inputs, materialize_grads=True
        )
        seen.append([value, *first, *second])
    for closed, plain in zip(*seen, strict=True):
        torch.testing.assert_close(closed, plain, rtol=1e-10, atol=1e-10)


def test_what_a_grbms_gradient_and_curvature_share_gives_the_parameters_the_same_derivatives() -> None:
    grbm = a_grbm(5, 3)
    with torch.no_grad():
        grbm.log_var[0] = 7.0
    z, v, of_gradient = torch.randn(3, 6, 5, dtype=torch.float64)
    of_curvature = torch.randn(6, dtype=torch.float64)
    seen = []
    for gradient, curvature in (
        grbm.gradient_and_curvature(z, v),
        (grbm.gradient(z, create_graph=True), grbm.curvature(z, v)),
        Density.gradient_and_curvature(grbm, z, v),
    ):
        total = (of_gradient * gradient).sum() + gradient.square().sum() + (of_curvature * curvature).sum()
        seen.append([gradient, curvature, *torch.autograd.grad(total, list(grbm.parameters()))])
    for shared, apart, general in zip(*seen, strict=True):
        torch.testing.assert_close(shared, apart, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(general, apart, rtol=1e-10, atol=1e-10)


def test_a_grbms_gradient_and_curvature_follow_points_that_move_and_take_any_number_of_directions() -> None:
    grbm, v = a_grbm(5, 3), torch.randn(2, 6, 5, dtype=torch.float64)
    z = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    gradient, curvature = grbm.gradient_and_curvature(z, v)
    torch.testing.assert_close(curvature, grbm.curvature(z.detach(), v), rtol=1e-10, atol=1e-10)
    (moved,) = torch.autograd.grad(gradient.sum() + grbm.gradient_and_curvature(z, v[0])[1].sum(), z)
    with torch.enable_grad():
        (plain,) = torch.autograd.grad(grbm.gradient(z, create_graph=True).sum() + grbm.curvature(z, v[0]).sum(), z)
    torch.testing.assert_close(moved, plain, rtol=1e-10, atol=1e-10)


def test_a_grbms_weights_start_with_variance_one_over_all_units() -> None:
    torch.manual_seed(0)
    weight = GRBM(64, 64).weight.detach()
    # the sample variance of n normal draws has relative standard error sqrt(2/n)
    assert float(weight.var()) * 128 == pytest.approx(1, abs=4 * math.sqrt(2 / weight.numel()))


def test_a_grbms_samples_have_its_exact_moments() -> None:
    grbm = a_grbm(3, 4, scale=0.7).float()
    n = 4000
    z = grbm.sample(n, stream(0, "prior")).double()
    mean, covariance = moments(grbm.double())
    stderr = (covariance.diagonal() / n).sqrt()
    assert bool(((z.mean(0) - mean).abs() < 4 * stderr).all())
    products = (z - mean)[:, :, None] * (z - mean)[:, None, :]
    assert bool(((products.mean(0) - covariance).abs() < 4 * products.std(0) / n**0.5).all())


def test_sigma_is_clamped() -> None:
    grbm = GRBM(2, 2)
    with torch.no_grad():
        grbm.log_var.copy_(torch.tensor([-50.0, 50.0]))
    assert grbm.var.tolist() == pytest.approx([math.exp(-6), math.exp(6)])


def test_a_grbms_figures_are_those_of_its_formulas() -> None:
    """A unit is always on, or always off, where its mean activation over z is above .99 or below .01: logit +-4.6."""
    biases = [0.0, 40.0, 40.0, 4.7, 4.5, 0.0, -4.5, -4.7, -40.0]
    grbm = GRBM(2, len(biases)).double()
    with torch.no_grad():
        grbm.log_var.copy_(torch.tensor([4.0, 0.25]).log())
        # scaled by 1/sigma^2 it is 3 and 4 on the diagonal; the first unit is on for half of z and off for half
        grbm.weight.zero_()
        grbm.weight[0, 0], grbm.weight[1, 1] = 12.0, 1.0
        grbm.bias.copy_(torch.tensor(biases))
    figures = grbm.figures(torch.tensor([[10.0, 0.0], [-10.0, 0.0]]).double())
    assert {name: float(figure.value) for name, figure in figures.items()} == pytest.approx(
        {"sigma_min": 0.5, "sigma_max": 2.0, "coupling_norm": 4.0, "hidden_saturated": 3, "hidden_dead": 2}, rel=1e-6
    )
    assert {name: figure.keep(3.0, 1.0) for name, figure in figures.items()} == {
        "sigma_min": 1.0,
        "sigma_max": 3.0,
        "coupling_norm": 1.0,
        "hidden_saturated": 1.0,
        "hidden_dead": 1.0,
    }, "the least, the greatest, and the later of two"


def test_a_vampprior_is_the_mixture_of_its_posteriors() -> None:
    prior = a_vampprior(3, 4)
    components = a_posterior(prior)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(4)),
        torch.distributions.Independent(torch.distributions.Normal(components.mean, components.log_std.exp()), 1),
    )
    z = torch.randn(2, 5, 3)
    with torch.no_grad():
        torch.testing.assert_close(prior.energy(z), -mixture.log_prob(z), rtol=1e-5, atol=1e-5)


def test_a_vampprior_with_narrow_components_far_out_is_exact_to_single_precision() -> None:
    """||(z - m)/s||^2, expanded, cancels to a part in ten million at m = 3 and s = .001."""
    prior = a_vampprior(3, 4)
    mean, log_std = 3 + torch.rand(4, 3), torch.full((4, 3), math.log(1e-3))
    prior._encoder = (lambda _: Posterior(mean, log_std),)
    z = mean + 1e-3 * torch.randn(4, 3)
    squares = (((z[:, None] - mean).double() / log_std.double().exp()).square()).sum(-1)
    constant = math.log(4) + 1.5 * math.log(2 * math.pi) + 3 * math.log(1e-3)
    expected = constant - torch.logsumexp(-0.5 * squares, 1)
    # log s is a float32, whose rounding at ln .001 enters every term: 6 terms of at most 4e-7 x 20
    torch.testing.assert_close(prior.energy(z).double(), expected, rtol=0, atol=1e-4)


def test_a_vampprior_samples_its_mixture() -> None:
    prior = a_vampprior(3, 4)
    components, n = a_posterior(prior), 5000
    with torch.no_grad():
        z = prior.sample(n, stream(0, "prior"))
    mean = components.mean.mean(0)
    variance = (components.mean.square() + (2 * components.log_std).exp()).mean(0) - mean.square()
    assert bool(((z.mean(0) - mean).abs() < 4 * (variance / n).sqrt()).all())


def test_a_vampprior_owns_its_pseudo_inputs_and_not_the_encoder() -> None:
    assert [name for name, _ in a_vampprior(3, 4).named_parameters()] == ["inputs"]


def test_clamped_pseudo_inputs_have_the_derivative_of_torchs_clamp() -> None:
    """1 from bound to bound, the bounds themselves among it, and 0 beyond."""
    encoder = Encoder(torch.nn.Linear(4, 4))
    for dtype in (torch.float32, torch.float64):
        for low, high in ((0.0, 1.0), (-0.3, 0.7)):
            inputs = torch.tensor(
                [[low, high, low - 1e-6, high + 1e-6], [low + 1e-6, high - 1e-6, -9.0, 9.0]], dtype=dtype
            )
            prior = VampPrior(encoder.to(dtype), inputs, (low, high))
            plain = inputs.clone().requires_grad_()
            (of_plain,) = torch.autograd.grad(encoder(plain.clamp(low, high)).mean.sum(), plain)
            (own,) = torch.autograd.grad(prior.components().mean.sum(), prior.inputs)
            assert torch.equal(own, of_plain)
            assert (of_plain == 0).tolist() == [[False, False, True, True], [False, False, True, True]]


def test_pseudo_inputs_are_clamped_to_the_data_in_use() -> None:
    prior = a_vampprior(3, 2)
    means = []
    for value in (7.0, 1.0, 0.5):
        with torch.no_grad():
            prior.inputs.fill_(value)
        means.append(a_posterior(prior).mean)
    torch.testing.assert_close(means[0], means[1])
    assert not torch.allclose(means[1], means[2])
