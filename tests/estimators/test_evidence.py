"""log p(x) by annealing from q(z|x), and between two ends, on models whose log p(x) is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from bench.energies import GRBM, Neural
from bench.estimators import bounds, evidence
from bench.estimators.subject import Subject
from bench.priors import Density, StandardNormal
from bench.protocol import AisNll, Evaluation, Noise
from bench.streams import stream
from bench.vae import VAE, Decoder, Encoder, Gaussian

DATA, NOISE = 6, 0.5


class Normal(StandardNormal):
    """N(0, I) with draws in float64, as the networks here are."""

    def sample(self, n: int, noise: Noise) -> Tensor:
        return super().sample(n, noise).double()


@dataclass(frozen=True)
class Linear:
    """z ~ N(0, I), x|z ~ N(Az + c, s^2 I), whose exact posterior has correlated coordinates.

    q(z|x) has the exact mean, off by `shift`, and the variance of each coordinate given all others, by the factor
    `widening`. In one latent dimension (0, 1) is the exact posterior.
    """

    vae: VAE
    loadings: Tensor
    centre: Tensor

    @classmethod
    def of(cls, shift: float = 0.0, widening: float = 1.0, latent: int = 3) -> Linear:
        generator = torch.Generator().manual_seed(0)
        A = 0.5 * torch.randn(DATA, latent, generator=generator, dtype=torch.float64)
        c = torch.randn(DATA, generator=generator, dtype=torch.float64)
        precision = torch.eye(latent).double() + A.T @ A / NOISE**2
        slope = torch.linalg.solve(precision, A.T) / NOISE**2
        encoder, decoder = nn.Linear(DATA, 2 * latent), nn.Linear(latent, DATA)
        encoder.weight.data = torch.cat([slope, torch.zeros_like(slope)])
        encoder.bias.data = torch.cat([shift - slope @ c, (widening / precision.diagonal()).log()])
        decoder.weight.data, decoder.bias.data = A, c
        likelihood = Gaussian().double()
        likelihood.log_std.data = torch.tensor(math.log(NOISE), dtype=torch.float64)
        return cls(VAE(Encoder(encoder), Decoder(decoder, likelihood)), A, c)

    @property
    def prior(self) -> Normal:
        return Normal(self.loadings.shape[1])

    @torch.no_grad()
    def images(self, n: int) -> Tensor:
        """Return x ~ p(x), `(n, D)`: those that `bidirectional` draws from the same streams."""
        return self.vae.sample(self.prior.sample(n, noise_for("bdmc/latents")), noise_for("bdmc/images"))

    def nll(self, x: Tensor) -> np.ndarray:
        """Return -log p(x), exactly."""
        covariance = self.loadings @ self.loadings.T + NOISE**2 * torch.eye(DATA).double()
        density: np.ndarray = MultivariateNormal(self.centre, covariance).log_prob(x).numpy()
        return -density


def noise_for(name: str) -> Noise:
    return stream(3, name)


def subject(
    model: Linear,
    settings: AisNll,
    x: Tensor | None = None,
    noise_for: Callable[[str], Noise] = noise_for,
    prior: Density | None = None,
) -> Subject:
    evaluation = Evaluation(importance_samples=1000, ais_nll=settings)
    test = torch.zeros(0, DATA) if x is None else x
    return Subject(model.vae, prior or model.prior, test, torch.zeros(0, 3), evaluation, noise_for)


def annealed(model: Linear, x: Tensor, temperatures: int, chains: int = 4) -> evidence.Annealed:
    return evidence.annealed(subject(model, AisNll(images=len(x), temperatures=temperatures, chains=chains), x))


def bracket(model: Linear, temperatures: int, images: int = 100) -> evidence.Bracket:
    return evidence.bidirectional(subject(model, AisNll(simulated=images, temperatures=temperatures)))


POOR = (1.0, 0.2)  # off by a standard deviation, and less than half as wide


# ---------------------------------------------------------------- forward


@pytest.mark.parametrize(("shift", "widening"), [(0.0, 1.0), (0.3, 4.0), (0.5, 0.3)])
def test_it_agrees_with_the_exact_likelihood(shift: float, widening: float) -> None:
    model = Linear.of(shift, widening)
    x = model.images(200)
    found = annealed(model, x, 500)
    # what is left of the estimate's bias is half its variance
    bias = found.nll.variances.mean() / 2
    assert found.nll.mean == pytest.approx(model.nll(x).mean() + bias, abs=3 * found.nll.stderr_mc)
    assert found.nll.stderr_mc < 0.02  # so that the test can fail
    assert not found.doubt


@pytest.mark.parametrize("temperatures", [2, 20])
def test_the_mean_weight_is_unbiased_for_p_of_x_however_few_the_temperatures(temperatures: int) -> None:
    model = Linear.of(0.2, 1.5)
    x = model.images(100)
    found = annealed(model, x, temperatures, chains=100)
    ratio = np.exp(found.log_weights + model.nll(x)[:, None])
    stderr = ratio.std(ddof=1) / ratio.size**0.5
    assert abs(ratio.mean() - 1) < 3 * stderr
    assert stderr < 0.05  # so that the test can fail


def test_with_the_exact_posterior_every_weight_is_p_of_x() -> None:
    model = Linear.of(latent=1)
    x = model.images(20)
    found = annealed(model, x, 5)
    assert found.log_weights == pytest.approx(np.tile(-model.nll(x)[:, None], (1, 4)), abs=1e-9)
    assert found.nll.stderr_mc == pytest.approx(0, abs=1e-9)
    assert found.ess == pytest.approx(4)


def test_importance_weighting_falls_short_where_annealing_does_not() -> None:
    model = Linear.of(*POOR)
    x = model.images(200)
    truth = model.nll(x).mean()
    weighted = bounds.importance(subject(model, AisNll(), x))
    curve = weighted.curve.mean(1)
    assert (np.diff(curve) < 0).all()
    # with the standard error over images of the difference, which is more than that of the draws
    shortfall = weighted.curve - model.nll(x)
    assert (shortfall.mean(1) > 5 * shortfall.std(1) / len(x) ** 0.5).all()
    found = annealed(model, x, 1000)  # two evaluations and gradients of four chains a temperature: eight times as dear
    assert curve[-1] - truth > 0.5
    assert found.nll.mean - truth == pytest.approx(found.nll.variances.mean() / 2, abs=3 * found.nll.stderr_mc)
    assert found.nll.stderr_mc < 0.05


def test_it_is_too_high_where_temperatures_are_few_and_less_so_where_there_are_more() -> None:
    model = Linear.of(*POOR)
    x = model.images(200)
    errors = [annealed(model, x, temperatures).nll.mean - model.nll(x).mean() for temperatures in (2, 10, 50)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_the_delta_method_s_variance_is_that_of_repeated_estimates() -> None:
    model = Linear.of(0.1, 1.3)
    found = annealed(model, model.images(1).expand(2000, -1), 10, chains=50).nll
    # the variance of a sample variance of nearly normal values is 2 v^2/n: 4 standard errors are 13 %, plus O(1/C)
    assert found.variances.mean() == pytest.approx(found.values.var(ddof=1), rel=0.13 + 1 / 50)


def test_low_effective_sample_sizes_are_a_reason_for_doubt() -> None:
    model = Linear.of(*POOR)
    found = annealed(model, model.images(100), 2)
    low = int((found.ess < 2).sum())
    assert low > 5
    assert found.doubt == f"{low} of 100 images have an effective sample size below half of 4 chains"


@pytest.mark.parametrize("what", ["chains", "samples"])
@pytest.mark.parametrize(("draws", "tells"), [(1, False), (2, False), (3, True)])
def test_so_few_weights_that_no_effective_sample_size_is_low_tell_nothing(draws: int, tells: bool, what: str) -> None:
    """One of two weights may have all the mass and its effective sample size still be half of them."""
    reason = bounds.doubt(np.ones(100), draws, what)
    assert reason.startswith("100 of 100 images" if tells else f"fewer than 3 {what} an image, ")


@pytest.mark.parametrize(("low", "doubtful"), [(0, False), (5, False), (6, True)])
def test_it_takes_more_than_a_twentieth_of_images_to_doubt_the_mean(low: int, doubtful: bool) -> None:
    log_weights = torch.zeros(100, 4).double()
    log_weights[:low, 0] = 10
    assert bool(evidence.Annealed.of(log_weights).doubt) == doubtful


# ---------------------------------------------------------------- both ways


def test_both_ends_bracket_the_exact_likelihood_and_close_in_on_it() -> None:
    model = Linear.of(*POOR)
    truth = model.nll(model.images(100))
    gaps = []
    for temperatures in (5, 50, 500):
        found = bracket(model, temperatures)
        # images are independent, chains of one image are not: they share their start
        below, above = truth - found.lower.nll.values, found.upper.nll.values - truth
        for room in (below, above):
            assert room.mean() > -3 * room.std(ddof=1) / len(truth) ** 0.5
        gaps.append(found.gap.mean)
        assert found.gap.mean == pytest.approx((below + above).mean())
    # the variance of log weights, and the gap with it, falls as one over the temperatures
    assert gaps[0] > 1
    assert gaps[1] < gaps[0] / 3
    assert -3 * found.gap.stderr_mc < gaps[2] < gaps[1] / 3


def test_reverse_weights_are_unbiased_for_one_over_p_of_x() -> None:
    model = Linear.of(0.2, 1.5)
    found = bracket(model, 10, images=2000)
    ratio = np.exp(found.lower.log_weights - model.nll(model.images(2000))[:, None]).mean(1)
    stderr = ratio.std(ddof=1) / len(ratio) ** 0.5
    assert abs(ratio.mean() - 1) < 3 * stderr
    assert stderr < 0.05


def test_few_temperatures_make_both_ends_doubtful() -> None:
    found = bracket(Linear.of(*POOR), 2)
    assert found.upper.doubt
    assert found.lower.doubt


@pytest.mark.parametrize(
    ("prior", "exact"),
    [(StandardNormal(3), True), (GRBM(3, 20), True), (GRBM(3, 21), False), (Neural(3, 4, True), False)],
)
def test_the_ends_say_whether_latents_are_exact_draws(prior: StandardNormal | GRBM | Neural, exact: bool) -> None:
    model = Linear.of()
    model.vae.float()
    found = evidence.bidirectional(subject(model, AisNll(simulated=2, temperatures=2), prior=prior))
    assert found.exact == exact
    assert np.isfinite(found.upper.log_weights).all()
    assert np.isfinite(found.lower.log_weights).all()


def test_networks_in_single_precision_give_the_same_likelihood() -> None:
    model = Linear.of(0.3, 2.0)
    x = model.images(50)
    double = annealed(model, x, 50)
    model.vae.float()
    single = annealed(model, x.float(), 50)
    # a rounded energy may decide otherwise on a trajectory once in 1e5; the rest agrees to float32's 1e-5 nats
    assert np.median(np.abs(single.log_weights - double.log_weights)) < 1e-4
    assert single.log_weights.dtype == np.float64


# ---------------------------------------------------------------- how it is carried out


def test_images_in_chunks_keep_their_own_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Linear.of(latent=1)
    x = model.images(11)
    monkeypatch.setitem(bounds.ELEMENTS, "cpu", 256 * 12)  # twelve chains at a time: three images
    assert annealed(model, x, 5).nll.values == pytest.approx(model.nll(x), abs=1e-9)
    found = bracket(model, 5, images=11)
    assert found.upper.nll.values == pytest.approx(model.nll(x), abs=1e-9)
    assert found.lower.nll.values == pytest.approx(model.nll(x), abs=1e-9)


def test_every_step_of_a_chain_is_counted() -> None:
    model = Linear.of()
    settings = AisNll(images=6, simulated=5, temperatures=7, chains=3)
    scored = subject(model, settings, model.images(6))
    evidence.annealed(scored)
    assert (
        scored.meter.done / evidence.STEP_COST
        == evidence.chain_steps(settings.model_copy(update={"simulated": 0}), 6)
        == 6 * 7 * 3
    )
    evidence.bidirectional(scored)
    assert (
        scored.meter.done / evidence.STEP_COST
        == evidence.chain_steps(settings, 6)
        == evidence.chain_steps(settings, 1000)
    )
    assert evidence.chain_steps(settings, 2) == (2 + 2 * 5) * 7 * 3


def test_step_sizes_come_from_a_stream_of_their_own() -> None:
    model = Linear.of()
    asked: list[str] = []

    def watched(name: str) -> Noise:
        asked.append(name)
        return stream(0, name)

    settings = AisNll(simulated=5, temperatures=3)
    evidence.annealed(subject(model, settings, model.images(6), watched))
    assert sorted(asked) == ["ais-nll/forward", "ais-nll/pilot"]
    asked.clear()
    evidence.bidirectional(subject(model, settings, noise_for=watched))
    assert sorted(asked) == ["bdmc/forward", "bdmc/images", "bdmc/latents", "bdmc/pilot", "bdmc/reverse"]
