"""Bits per dimension, by exact cases and by ways to them that share nothing with the formula."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, SigmoidTransform, TransformedDistribution, Uniform

from bench import estimators
from bench.data import Binarised
from bench.data.dequantised import Dequantised
from bench.energies import GRBM
from bench.estimators.bits import bits, exact_bits, score_bits
from bench.estimators.shown import pictures
from bench.estimators.subject import Subject
from bench.priors import StandardNormal
from bench.protocol import Ais, AisNll, Evaluation, Noise, Scores, Splits
from bench.report.statistics import Items
from bench.streams import stream
from bench.vae import VAE, Decoder, Encoder, Laplace


class Grey(Dequantised):
    """Images of any size."""

    name = "grey"
    version = "1"

    def load(self, folder: Path) -> Splits:
        raise NotImplementedError


def images(n: int, pixels: int, seed: int = 0) -> Tensor:
    """Return prepared images `(n, pixels)`."""
    stored = stream(seed, "images").integers(256, n, pixels).to(torch.uint8)
    return Grey().prepare(stored, stream(seed, "noise"))


def by_name(scores: Scores) -> dict[str, Any]:
    return {score.metric.name: score for score in scores.scores}


# ---------------------------------------------------------------- exact cases


def test_a_uniform_density_has_8_bits() -> None:
    """Its density in logit space is torch's, by torch's own transforms."""
    x = images(50, 12).double()
    to_unit = [AffineTransform(0.05, 0.9 / 256), SigmoidTransform().inv]
    uniform = TransformedDistribution(Uniform(torch.tensor(0.0).double(), torch.tensor(256.0).double()), to_unit)
    found = bits(Grey(), x, uniform.log_prob(x).sum(1).numpy())
    np.testing.assert_allclose(found, 8.0, atol=1e-9)


def test_a_gaussian_model_has_its_closed_form() -> None:
    """E[-log N(y; m, S)] = 1/2 log det(2 pi e S) under itself, and the rest of the formula is written out."""
    random, pixels, n = np.random.default_rng(0), 4, 20_000
    factor = 0.3 * random.normal(size=(pixels, pixels)) + 0.5 * np.eye(pixels)
    covariance = factor @ factor.T
    y = random.multivariate_normal(np.zeros(pixels), covariance, size=n)
    found = bits(Grey(), torch.from_numpy(y), scipy.stats.multivariate_normal(cov=covariance).logpdf(y))
    s = 1 / (1 + np.exp(-y))
    rest = pixels * math.log(0.9) - np.log(s * (1 - s)).sum(1).mean()
    entropy = 0.5 * np.linalg.slogdet(2 * math.pi * math.e * covariance)[1]
    expected = 8 - (rest - entropy) / (pixels * math.log(2))
    # each image's log density deviates from minus the entropy by half a chi-squared of `pixels` degrees, less its mean
    stderr = math.sqrt(pixels / 2 / n) / (pixels * math.log(2))
    assert found.mean() == pytest.approx(expected, abs=4 * stderr)


# ---------------------------------------------------------------- one pixel, by quadrature in pixel space


SLOPE, OFFSET, SCALE = 1.2, -0.4, 0.35  # x|z ~ Laplace(SLOPE z + OFFSET, SCALE), z ~ N(0, 1)


def one_pixel() -> VAE:
    """Return that model, with q(z|x) = N(0, 1.3^2): a bad posterior."""
    encoder, decoder = nn.Linear(1, 2), nn.Linear(1, 1)
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.bias.copy_(torch.tensor([0.0, 2 * math.log(1.3)]))
        decoder.weight.fill_(SLOPE)
        decoder.bias.fill_(OFFSET)
    likelihood = Laplace()
    likelihood.freeze(torch.tensor(SCALE - math.exp(-6)))
    vae = VAE(Encoder(encoder), Decoder(decoder, likelihood))
    return vae.eval()


def share_below(v: float) -> float:
    """Return P(pixel < v) of that model, from the distribution function of a Laplace, by quadrature over z."""
    y = scipy.special.logit(0.05 + 0.9 * v / 256)

    def integrand(z: float) -> float:
        return float(scipy.stats.norm.pdf(z) * scipy.stats.laplace.cdf(y, SLOPE * z + OFFSET, SCALE))

    kink = (y - OFFSET) / SLOPE
    return float(scipy.integrate.quad(integrand, -9, 9, points=[kink], limit=200)[0])


def test_the_density_of_a_pixel_integrates_to_the_model_s_probability_of_a_level() -> None:
    """The sum of 2^-bits over v in [k, k + 1) is P(k), which no density and no Jacobian enters on the other side."""
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    likelihood = one_pixel().double()

    def density(v: np.ndarray) -> np.ndarray:
        y = torch.logit(torch.from_numpy(0.05 + 0.9 * v / 256))[:, None]
        joint = likelihood.log_likelihood(y, z[:, None, None]) - StandardNormal(1).energy(z[:, None, None])
        log_prob = torch.logsumexp(joint, 0) + math.log(float(z[1] - z[0]))
        values: np.ndarray = np.exp2(-bits(Grey(), y, log_prob.detach().numpy()))
        return values

    nodes, weights = np.polynomial.legendre.leggauss(8)
    for k in (0, 77, 128, 255):
        mass = float(weights @ density(k + 0.5 + nodes / 2)) / 2
        # the trapezoid rule over z is off by the kink of a Laplace density at its median
        assert mass == pytest.approx(share_below(k + 1) - share_below(k), rel=1e-5)


def test_the_score_of_an_image_is_its_density_in_pixel_space() -> None:
    """The importance-weighted score of images of one pixel, against the slope of the model's distribution function."""
    x = images(12, 1)
    settings = Evaluation(vlb_samples=10, importance_samples=20_000, ais_nll=AisNll(images=0, simulated=0))
    found = estimators.score(
        Subject(one_pixel(), StandardNormal(1), x, torch.zeros(10, 1), settings, noise_for, Grey())
    )
    v, h = 256 * Grey().brightness(x.double())[:, 0].numpy(), 1e-3
    exact = [-math.log2((share_below(at + h) - share_below(at - h)) / (2 * h)) for at in v]
    nll = by_name(found)["nll_bits"]
    assert nll.value == pytest.approx(np.mean(exact), abs=4 * nll.stderr_mc + 1e-5)
    # one image's Monte Carlo error is about sqrt(N) times that of the mean, and 12 of them have a largest
    np.testing.assert_allclose(found.arrays["nll_bits"], exact, atol=5 * 12**0.5 * nll.stderr_mc)
    assert nll.value < by_name(found)["vlb_bits"].value


def noise_for(name: str) -> Noise:
    return stream(5, name)


# ---------------------------------------------------------------- the parts of an error


def laplace_vae(pixels: int, latent: int) -> VAE:
    torch.manual_seed(0)
    likelihood = Laplace()
    likelihood.freeze(torch.tensor(0.5))
    vae = VAE(Encoder(nn.Linear(pixels, 2 * latent)), Decoder(nn.Linear(latent, pixels), likelihood))
    return vae.eval()


@pytest.fixture(scope="module")
def scored() -> Subject:
    """Images, their scores under a prior whose log Z is an interval, in nats and in bits, and what was scored."""
    x, vae = images(40, 6), laplace_vae(6, 5)
    torch.manual_seed(1)
    prior = GRBM(5, 24)
    first = AisNll(images=25, simulated=0, temperatures=10)
    settings = Evaluation(vlb_samples=4, importance_samples=30, ais=Ais(temperatures=20, chains=20), ais_nll=first)
    with torch.no_grad():
        subject = Subject(vae, prior, x, stream(0, "z").normal(200, 5), settings, noise_for, Grey())
        return subject.plus(estimators.score(subject))


@pytest.mark.parametrize("name", ["vlb", "nll", "nll_ais"])
def test_every_part_of_an_error_becomes_bits(scored: Subject, name: str) -> None:
    scores = scored.scores
    nats, own = by_name(scores)[name], by_name(scores)[f"{name}_bits"]
    scale = 1 / (6 * math.log(2))
    which = scores.arrays.get(f"{name}_items", np.arange(40))
    each = (scores.arrays[name].astype(float) - Grey().log_jacobian(scored.test[which]).numpy()) * scale
    whole = Items(each) if len(which) == 40 else Items(scores.arrays["nll_bits"].astype(float), each, which)
    assert (own.metric.unit, own.metric.better, own.n) == ("bits/dim", "lower", 40)
    assert own.value == pytest.approx(whole.mean, abs=1e-6)
    assert own.stderr_mc == pytest.approx(nats.stderr_mc * scale)
    # of each image's own bits, which deviate by less than its nats do: the Jacobian goes along with the likelihood
    assert own.stderr_images == pytest.approx(math.sqrt(whole.spread.stderr**2 - own.stderr_mc**2), rel=1e-4)
    assert nats.sys_lower < nats.value < nats.sys_upper
    assert own.sys_lower - own.value == pytest.approx((nats.sys_lower - nats.value) * scale, abs=1e-9)
    assert own.sys_upper - own.value == pytest.approx((nats.sys_upper - nats.value) * scale, abs=1e-9)
    assert (own.estimator, own.unreliable) == (nats.estimator, nats.unreliable)
    np.testing.assert_allclose(scores.arrays[f"{name}_bits"], each, rtol=1e-6)


def test_a_known_density_has_no_error_but_that_of_the_images() -> None:
    x = images(30, 3)
    found = by_name(exact_bits(Grey(), x, torch.zeros(30)))
    assert found.keys() == {"vlb_bits", "nll_bits"}
    for score in found.values():
        assert score.stderr_mc == 0
        assert score.sys_lower == score.value == score.sys_upper
        assert score.estimator == "exact"


class Binary(Binarised):
    """Images of black and white pixels."""

    name = "binary"
    version = "1"

    def load(self, folder: Path) -> Splits:
        raise NotImplementedError


def test_other_data_have_no_bits(scored: Subject) -> None:
    assert score_bits(replace(scored, dataset=Binary())) == Scores([])


def test_pictures_are_of_the_stored_shape_and_bright() -> None:
    stored = torch.tensor([[[0, 255], [128, 20]]], dtype=torch.uint8)
    x = Grey().prepare(stored, stream(0, "noise"))
    shown = pictures(Grey(), x, (2, 2))
    assert shown.shape == (1, 2, 2)
    np.testing.assert_array_equal(np.floor(256 * shown), stored.numpy())
    assert pictures(Grey(), torch.tensor([[-50.0, 50.0]]), (2,)).tolist() == [[0.0, 1.0]]
    assert pictures(Binary(), torch.tensor([[0.25, 1.0]]), (1, 2)).tolist() == [[[0.25, 1.0]]]
