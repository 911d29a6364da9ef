"""The variational bound and the importance-weighted likelihood, checked on a model whose log p(x) is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from bench.estimators import bounds
from bench.estimators.subject import Subject
from bench.priors import StandardNormal
from bench.protocol import Evaluation
from bench.streams import stream
from bench.vae import VAE, Decoder, Encoder, Gaussian


@dataclass(frozen=True)
class Linear:
    """z ~ N(0, I), x|z ~ N(Az + c, s^2 I), with orthogonal columns of A, so that the exact posterior is diagonal.

    The encoder's mean is off by `shift` and its variance by the factor `widening`; (0, 1) is the exact posterior.
    """

    vae: VAE
    loadings: Tensor
    centre: Tensor
    noise: float
    shift: float
    widening: float

    @classmethod
    def of(
        cls, shift: float = 0.0, widening: float = 1.0, data: int = 7, latent: int = 3, noise: float = 0.6
    ) -> Linear:
        generator = torch.Generator().manual_seed(0)
        orthogonal, _ = torch.linalg.qr(torch.randn(data, latent, generator=generator, dtype=torch.float64))
        A = orthogonal * torch.tensor([1.5, 1.0, 0.5], dtype=torch.float64)
        c = torch.randn(data, generator=generator, dtype=torch.float64)
        variance = 1 / (1 + A.square().sum(0) / noise**2)
        slope = variance[:, None] * A.T / noise**2
        encoder, decoder = nn.Linear(data, 2 * latent), nn.Linear(latent, data)
        encoder.weight.data = torch.cat([slope, torch.zeros_like(slope)])
        encoder.bias.data = torch.cat([shift - slope @ c, (widening * variance).log()])
        decoder.weight.data, decoder.bias.data = A, c
        likelihood = Gaussian().double()
        likelihood.log_std.data = torch.tensor(math.log(noise), dtype=torch.float64)
        return cls(VAE(Encoder(encoder), Decoder(decoder, likelihood)), A, c, noise, shift, widening)

    @property
    def prior(self) -> StandardNormal:
        return StandardNormal(self.loadings.shape[1])

    def images(self, n: int, seed: int = 1) -> Tensor:
        """Return x ~ p(x), `(n, D)`."""
        noise = stream(seed, "images")
        z = noise.normal(n, self.loadings.shape[1]).double()
        return z @ self.loadings.T + self.centre + self.noise * noise.normal(n, len(self.centre))

    def log_p(self, x: Tensor) -> Tensor:
        """Return log p(x), exactly."""
        covariance = self.loadings @ self.loadings.T + self.noise**2 * torch.eye(len(self.centre)).double()
        density: Tensor = MultivariateNormal(self.centre, covariance).log_prob(x)
        return density

    @torch.no_grad()
    def negative_bound(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return -E_q log p(x|z) and KL(q || p) of every image, in closed form."""
        q = self.vae.encoder(x)
        variance = torch.exp(2 * q.log_std)
        residual = x - q.mean @ self.loadings.T - self.centre
        squares = residual.square().sum(-1) + variance @ self.loadings.square().sum(0)
        reconstruction = 0.5 * squares / self.noise**2 + x.shape[1] * math.log(self.noise * (2 * math.pi) ** 0.5)
        return reconstruction, 0.5 * (variance + q.mean.square() - 1 - variance.log()).sum(-1)


def mean_bound(model: Linear, x: Tensor) -> float:
    reconstruction, divergence = model.negative_bound(x)
    return float((reconstruction + divergence).mean())


def subject(model: Linear, x: Tensor, samples: int, seed: int = 0) -> Subject:
    settings = Evaluation(vlb_samples=samples, importance_samples=samples)
    return Subject(model.vae, model.prior, x, torch.zeros(0, 3), settings, lambda name: stream(seed, name))


def variational(model: Linear, x: Tensor, samples: int, seed: int = 0) -> bounds.Bound:
    return bounds.variational(subject(model, x, samples, seed))


def importance(model: Linear, x: Tensor, samples: int, seed: int = 0) -> bounds.Weighted:
    return bounds.importance(subject(model, x, samples, seed))


# ---------------------------------------------------------------- with the exact posterior


def test_with_the_exact_posterior_every_weight_is_p_of_x() -> None:
    model = Linear.of()
    x = model.images(50)
    weighted, bound = importance(model, x, 30), variational(model, x, 5)
    truth = -model.log_p(x).numpy()
    assert weighted.nll.values == pytest.approx(truth, abs=1e-9)
    assert weighted.curve == pytest.approx(np.tile(truth, (3, 1)), abs=1e-9)
    assert weighted.nll.variances == pytest.approx(0, abs=1e-12)
    assert weighted.ess == pytest.approx(30)
    assert bound.total.values == pytest.approx(truth, abs=1e-9)
    assert bound.total.stderr_mc == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------- importance weighting with a wrong posterior


@pytest.mark.parametrize("samples", [1, 10, 100])
def test_the_mean_weight_is_unbiased_for_p_of_x(samples: int) -> None:
    model = Linear.of(shift=0.1, widening=1.3)
    x = model.images(1).expand(4000, -1)
    ratio = np.exp(-importance(model, x, samples).nll.values + -float(model.log_p(x[0]).item()))
    stderr = ratio.std(ddof=1) / len(ratio) ** 0.5
    assert abs(ratio.mean() - 1) < 3 * stderr
    assert stderr < 0.02  # so that the test can fail


def test_the_estimate_falls_towards_the_truth_as_samples_grow() -> None:
    model = Linear.of(shift=0.2, widening=1.5)
    x = model.images(200)
    weighted = importance(model, x, 1000)
    means = weighted.curve.mean(1)
    assert weighted.samples.tolist() == [1, 10, 100, 1000]
    assert (np.diff(means) < 0).all()
    assert means[-1] == pytest.approx(weighted.nll.mean)
    assert means[-1] - float(-model.log_p(x).mean()) < 0.01


def test_the_curve_at_one_sample_is_the_variational_bound() -> None:
    model = Linear.of(shift=0.2, widening=1.5)
    x = model.images(200)
    truth = mean_bound(model, x)
    bound = variational(model, x, 100)
    assert importance(model, x, 100).curve[0].mean() == pytest.approx(truth, abs=4 * bound.total.stderr_mc)


@pytest.mark.parametrize(("samples", "sizes"), [(1, [1]), (7, [1, 7]), (10, [1, 10]), (250, [1, 10, 100, 250])])
def test_the_curve_ends_at_the_number_of_samples(samples: int, sizes: list[int]) -> None:
    assert bounds.curve_sizes(samples) == sizes
    model = Linear.of(shift=0.2)
    assert importance(model, model.images(3), samples).curve.shape == (len(sizes), 3)


def test_a_point_of_the_curve_averages_disjoint_groups() -> None:
    model = Linear.of(shift=0.2, widening=1.5)
    x = model.images(4)
    log_weights = torch.stack([-torch.from_numpy(importance(model, x, 1, seed).nll.values) for seed in range(25)])
    tens = [torch.logsumexp(log_weights[start : start + 10], 0) - math.log(10) for start in (0, 10)]
    assert torch.allclose(bounds._groups(log_weights, 10), (tens[0] + tens[1]) / 2)


def test_the_delta_method_s_variance_is_that_of_repeated_estimates() -> None:
    model = Linear.of(shift=0.1, widening=1.3)
    estimates = importance(model, model.images(1).expand(4000, -1), 50).nll
    # the variance of a sample variance of nearly normal values is 2 v^2/n: 4 standard errors are 9 %, plus O(1/S)
    assert estimates.variances.mean() == pytest.approx(estimates.values.var(ddof=1), rel=0.09 + 1 / 50)


# ---------------------------------------------------------------- the variational bound


@pytest.mark.parametrize(("shift", "widening"), [(0.0, 1.0), (0.3, 0.5), (-0.2, 2.0)])
def test_the_bound_and_its_parts_agree_with_their_closed_forms(shift: float, widening: float) -> None:
    model = Linear.of(shift, widening)
    x = model.images(300)
    bound = variational(model, x, 20)
    reconstruction, divergence = model.negative_bound(x)
    for part, truth in (
        (bound.reconstruction, reconstruction),
        (bound.divergence, divergence),
        (bound.total, reconstruction + divergence),
    ):
        assert abs(part.mean - float(truth.mean())) < 3 * part.stderr_mc + 1e-9
    assert bound.total.values == pytest.approx(bound.reconstruction.values + bound.divergence.values)


def test_the_gap_of_the_bound_is_the_divergence_from_the_exact_posterior() -> None:
    model, exact = Linear.of(shift=0.3, widening=0.5), Linear.of()
    x = model.images(300)
    q, p = model.vae.encoder(x).detach(), exact.vae.encoder(x).detach()
    ratio = torch.exp(2 * (q.log_std - p.log_std))
    gap = 0.5 * (ratio - 1 - ratio.log() + ((q.mean - p.mean) * torch.exp(-p.log_std)).square()).sum(-1)
    bound = variational(model, x, 20)
    assert abs(bound.total.mean - float((gap - model.log_p(x)).mean())) < 3 * bound.total.stderr_mc


@pytest.mark.parametrize("samples", [2, 10])
def test_both_standard_errors_are_those_of_repeated_scoring(samples: int) -> None:
    model = Linear.of(shift=0.3, widening=0.5)
    truth = mean_bound(model, model.images(20_000, seed=99))
    fixed = model.images(100)
    fixed_truth = mean_bound(model, fixed)
    repeats = 400
    draws, everything = [], []
    for seed in range(repeats):
        again = variational(model, fixed, samples, seed).total  # the same images, other draws
        draws.append((again.mean - fixed_truth) / again.stderr_mc)
        fresh = variational(model, model.images(100, seed=1000 + seed), samples, seed).total
        everything.append((fresh.mean - truth) / math.hypot(fresh.stderr_mc, fresh.stderr_images))
    # mean squares of standard normal values: 1 with standard error (2/400)^.5 = .07
    assert np.mean(np.square(draws)) == pytest.approx(1, abs=4 * (2 / repeats) ** 0.5)
    assert np.mean(np.square(everything)) == pytest.approx(1, abs=4 * (2 / repeats) ** 0.5)


def test_the_spread_between_images_does_not_depend_on_the_number_of_draws() -> None:
    model = Linear.of(shift=0.3, widening=0.5)
    x = model.images(2000)
    reconstruction, divergence = model.negative_bound(x)
    exact = float((reconstruction + divergence).std()) / 2000**0.5
    for samples in (2, 50):
        assert variational(model, x, samples).total.stderr_images == pytest.approx(exact, rel=0.1)


def test_with_one_draw_all_error_counts_as_the_images() -> None:
    model = Linear.of(shift=0.3, widening=0.5)
    total = variational(model, model.images(100), 1).total
    assert total.stderr_mc == 0
    assert total.stderr_images == pytest.approx(total.values.std(ddof=1) / 10)


# ---------------------------------------------------------------- chunks


@pytest.mark.parametrize("samples", [3, 40])
def test_images_and_samples_are_taken_in_blocks(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Linear.of()
    x = model.images(11)
    shapes: list[tuple[int, ...]] = []
    inner = model.vae.decoder.reader

    def watched(x: Tensor) -> Callable[[Tensor], Tensor]:
        def read(z: Tensor) -> Tensor:
            shapes.append(z.shape)
            return inner(x)(z)

        return read

    monkeypatch.setattr(model.vae.decoder, "reader", watched)
    monkeypatch.setitem(bounds.ELEMENTS, "cpu", 256 * 12)  # twelve samples at a time
    scored = subject(model, x, samples)
    weighted = bounds.importance(scored)
    assert max(math.prod(shape[:-1]) for shape in shapes) == {3: 12, 40: 10}[samples]  # in even parts
    assert sum(math.prod(shape[:-1]) for shape in shapes) == scored.meter.done == 11 * samples
    assert weighted.nll.values == pytest.approx(-model.log_p(x).numpy(), abs=1e-9)  # each image with its own samples
    assert weighted.ess == pytest.approx(samples)


def test_no_gradient_is_kept() -> None:
    model = Linear.of(shift=0.3)
    for likelihood, ratio in bounds._log_weights(subject(model, model.images(5), 3), 3, stream(0, "x")):
        assert not likelihood.requires_grad
        assert not ratio.requires_grad
