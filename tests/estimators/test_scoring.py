"""The one face of scoring, on models whose likelihood is known."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from bench import estimators
from bench.energies import GRBM
from bench.energies.densities import whitened
from bench.estimators import evidence
from bench.estimators.subject import Meter, Subject
from bench.priors import Density, StandardNormal
from bench.protocol import Ais, AisNll, Evaluation, Noise, NotFinite, Score, Scores, UserError
from bench.report.statistics import Items
from bench.streams import stream
from bench.vae import VAE, Decoder, Encoder, Gaussian

LATENT, DATA, NOISE = 4, 6, 0.5


def grbm(hidden: int, latent: int = LATENT) -> GRBM:
    """Return a GRBM with random parameters."""
    generator = torch.Generator().manual_seed(hidden)
    prior = GRBM(latent, hidden).double()
    prior.weight.data = 0.5 * torch.randn(latent, hidden, generator=generator, dtype=torch.float64) / hidden**0.5
    prior.mu.data = 0.3 * torch.randn(latent, generator=generator, dtype=torch.float64)
    prior.bias.data = torch.randn(hidden, generator=generator, dtype=torch.float64)
    prior.log_var.data = 0.3 * torch.randn(latent, generator=generator, dtype=torch.float64)
    return prior


def linear_vae(latent: int = LATENT) -> VAE:
    """Return x|z ~ N(Az + c, s^2 I) with q(z|x) = N(0, 1.5^2 I): a bad posterior, for every prior here."""
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = nn.Linear(DATA, 2 * latent), nn.Linear(latent, DATA)
    encoder.weight.data = torch.zeros(2 * latent, DATA, dtype=torch.float64)
    encoder.bias.data = torch.cat([torch.zeros(latent), torch.full((latent,), 2 * math.log(1.5))]).double()
    decoder.weight.data = 0.4 * torch.randn(DATA, latent, generator=generator, dtype=torch.float64)
    decoder.bias.data = torch.randn(DATA, generator=generator, dtype=torch.float64)
    likelihood = Gaussian().double()
    likelihood.log_std.data = torch.tensor(math.log(NOISE), dtype=torch.float64)
    return VAE(Encoder(encoder), Decoder(decoder, likelihood))


@torch.no_grad()
def log_p(vae: VAE, prior: GRBM, x: Tensor) -> Tensor:
    """Return log p(x) exactly: given h, x is Gaussian, and h has 2^H states."""
    (layer,) = (module for module in vae.decoder.modules() if isinstance(module, nn.Linear))
    states = whitened.states(torch.arange(2 ** len(prior.bias)), len(prior.bias))
    log_mass = torch.log_softmax(whitened.log_masses(prior.whitened()), 0)
    A = layer.weight
    covariance = A @ torch.diag(prior.var) @ A.T + NOISE**2 * torch.eye(DATA).double()
    means = (prior.mu + states @ prior.weight.T) @ A.T + layer.bias
    return torch.logsumexp(log_mass + MultivariateNormal(means, covariance).log_prob(x[:, None]), 1)


@torch.no_grad()
def images(vae: VAE, n: int, seed: int = 0) -> Tensor:
    centre: Tensor = vae.decoder(torch.zeros(n, LATENT).double())
    return centre + stream(seed, "images").normal(n, DATA)


def noise_for(name: str) -> Noise:
    return stream(5, name)


def score(prior: Density, x: Tensor, settings: Evaluation, progress: Callable[..., None] | None = None) -> Scores:
    latent = prior.latent if isinstance(prior, StandardNormal) else LATENT
    latents = stream(0, "latents").normal(500, latent)
    return estimators.score(Subject(linear_vae(latent), prior, x, latents, settings, noise_for), progress)


def by_name(scores: Scores) -> dict[str, Score]:
    return {each.metric.name: each for each in scores.scores}


NOTHING = AisNll(images=0, simulated=0)
QUICK = Evaluation(vlb_samples=10, importance_samples=200, ais_nll=NOTHING)
ANNEALED = QUICK.model_copy(update={"ais": Ais(temperatures=100, chains=100)})
BOTH_WAYS = ANNEALED.model_copy(update={"ais_nll": AisNll(images=30, simulated=20, temperatures=200)})


@functools.cache
def both_ways(hidden: int) -> tuple[Scores, list[tuple[str, int, int]]]:
    """Return the scores of a GRBM by annealing both ways, and what was told of the progress; nobody changes them."""
    calls: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        calls.append((stage, done, total))

    return score(grbm(hidden), images(linear_vae(), 50), BOTH_WAYS, progress), calls


def test_the_nll_under_a_grbm_prior_is_the_exact_one() -> None:
    vae, prior = linear_vae(), grbm(6)
    x = images(vae, 400)
    scores = score(prior, x, Evaluation(vlb_samples=2, importance_samples=5000, ais_nll=NOTHING))
    nll = by_name(scores)["nll"]
    # what is left of the estimator's bias is half its variance, which stderr_mc knows: v/2 = N stderr_mc^2/2
    bias = len(x) * nll.stderr_mc**2 / 2
    assert nll.value == pytest.approx(-float(log_p(vae, prior, x).mean()) + bias, abs=3 * nll.stderr_mc)
    assert nll.stderr_mc < 0.01


def test_the_bound_is_the_sum_of_its_parts() -> None:
    found = by_name(score(grbm(6), images(linear_vae(), 50), QUICK))
    assert found["vlb"].value == pytest.approx(found["reconstruction"].value + found["kl"].value)
    assert found["nll"].value < found["vlb"].value


@pytest.mark.parametrize("hidden", [6, 24])
def test_the_kl_of_an_unnormalised_prior_is_complete(hidden: int) -> None:
    prior = grbm(hidden)
    prior.weight.data.zero_()  # a Gaussian, whose divergence has a closed form
    found = by_name(score(prior, images(linear_vae(), 50), ANNEALED))["kl"]
    ratio = 1.5**2 / prior.var
    truth = 0.5 * (ratio + prior.mu.square() / prior.var - 1 - ratio.log()).sum().item()
    assert found.value == pytest.approx(truth, abs=3 * found.stderr)


def test_a_normalised_prior_has_no_log_z() -> None:
    found = by_name(score(StandardNormal(LATENT), images(linear_vae(), 50), QUICK))
    assert set(found) == {"log_z_check", "vlb", "nll", "kl", "reconstruction"}
    for each in found.values():
        assert each.sys_lower == each.sys_upper == each.value


def test_every_score_says_how_it_was_had() -> None:
    found = by_name(score(grbm(24), images(linear_vae(), 50), ANNEALED))
    assert {name: each.estimator for name, each in found.items()} == {
        "vlb": "monte-carlo",
        "nll": "importance-weighted",
        "kl": "monte-carlo",
        "reconstruction": "monte-carlo",
        "log_z": "ais",
    }
    assert {name: each.n for name, each in found.items()} == {
        "vlb": 50,
        "nll": 50,
        "kl": 50,
        "reconstruction": 50,
        "log_z": 200,
    }
    assert {each.metric.unit for each in found.values()} == {"nats"}
    assert {name: each.metric.better for name, each in found.items()} == {
        "vlb": "lower",
        "nll": "lower",
        "kl": "neither",
        "reconstruction": "neither",
        "log_z": "neither",
    }
    assert by_name(score(grbm(6), images(linear_vae(), 50), QUICK))["log_z"].estimator == "exact-enumeration"


def test_the_interval_of_log_z_is_carried_into_every_score_that_it_enters() -> None:
    found = by_name(score(grbm(24), images(linear_vae(), 50), ANNEALED))
    log_z = found.pop("log_z")
    assert log_z.sys_lower < log_z.value < log_z.sys_upper
    reconstruction = found.pop("reconstruction")
    assert reconstruction.sys_lower == reconstruction.sys_upper == reconstruction.value
    for each in found.values():
        assert each.value - each.sys_lower == pytest.approx(log_z.value - log_z.sys_lower)
        assert each.sys_upper - each.value == pytest.approx(log_z.sys_upper - log_z.value)


def test_an_exact_log_z_leaves_no_interval() -> None:
    for each in score(grbm(6), images(linear_vae(), 50), QUICK).scores:
        assert each.sys_lower == each.sys_upper == each.value
        assert "log Z" not in each.unreliable


def test_an_unreliable_log_z_makes_unreliable_what_it_enters() -> None:
    prior = grbm(24)
    prior.weight.data *= 20
    found = by_name(score(prior, images(linear_vae(), 50), ANNEALED))
    reason = found["log_z"].unreliable
    assert "effective sample size" in reason
    assert {name: each.unreliable for name, each in found.items() if name != "log_z"} == {
        "vlb": f"log Z: {reason}",
        "nll": f"50 of 50 images have an effective sample size below half of 200 samples; log Z: {reason}",
        "kl": f"log Z: {reason}",
        "reconstruction": "",
    }


def test_arrays_hold_every_image_s_score_and_the_curve() -> None:
    scores = score(grbm(24), images(linear_vae(), 50), ANNEALED)
    found, arrays = by_name(scores), scores.arrays
    assert arrays["vlb"].dtype == arrays["nll"].dtype == np.float32
    for name in ("vlb", "nll"):
        assert arrays[name].mean(dtype=np.float64) == pytest.approx(found[name].value, abs=1e-5)
    assert arrays["nll_curve_samples"].tolist() == [1, 10, 100, 200]
    assert arrays["nll_curve_values"][-1] == pytest.approx(found["nll"].value)
    assert arrays["nll_curve_stderr"][-1] == pytest.approx(found["nll"].stderr)
    assert (np.diff(arrays["nll_curve_values"]) < 0).all()
    assert ((arrays["nll_ess"] >= 1) & (arrays["nll_ess"] <= 200)).all()
    assert arrays["ais_forward_posterior"].shape == arrays["ais_forward_uniform"].shape == (1, 100)


def test_annealed_scores_agree_with_the_exact_likelihood() -> None:
    vae, prior = linear_vae(), grbm(6)
    x = images(vae, 50)
    settings = AisNll(images=50, simulated=20, temperatures=1000)
    scores = score(prior, x, QUICK.model_copy(update={"ais_nll": settings}))
    found = by_name(scores)
    nll, truth = found["nll_ais"], -float(log_p(vae, prior, x).mean())
    bias = nll.n * nll.stderr_mc**2 / 2  # half the estimates' variance
    assert nll.value == pytest.approx(truth + bias, abs=3 * nll.stderr_mc)
    assert nll.stderr_mc < 0.05
    z = whitened.sample(prior.whitened(), 20, noise_for("bdmc/latents"))
    simulated = vae.sample(z, noise_for("bdmc/images")).detach()
    lower, upper = (scores.arrays[name].astype(np.float64) for name in ("bdmc_lower", "bdmc_upper"))
    for room in (upper + log_p(vae, prior, simulated).numpy(), -log_p(vae, prior, simulated).numpy() - lower):
        assert abs(room.mean()) < 0.1
        assert room.mean() > -3 * room.std(ddof=1) / 20**0.5
    assert found["bdmc_gap"].value == pytest.approx(found["bdmc_upper"].value - found["bdmc_lower"].value)


def test_annealed_scores_say_how_they_were_had() -> None:
    for hidden, draws in ((6, "bidirectional"), (24, "bidirectional-long-run")):
        found = {each.metric: each for each in both_ways(hidden)[0].scores}
        ours = {evidence.NLL_AIS: ("ais-control-variate", 50, "lower")}
        ours |= dict.fromkeys((evidence.BDMC_GAP, evidence.BDMC_LOWER, evidence.BDMC_UPPER), (draws, 20, "neither"))
        for metric, (estimator, n, better) in ours.items():
            assert (found[metric].estimator, found[metric].n, metric.better) == (estimator, n, better)
            assert metric.unit == "nats"


def test_log_z_enters_annealed_scores_but_not_their_gap() -> None:
    found = by_name(both_ways(24)[0])
    log_z, gap = found["log_z"], found["bdmc_gap"]
    assert gap.sys_lower == gap.sys_upper == gap.value
    for name in ("nll_ais", "bdmc_lower", "bdmc_upper"):
        assert found[name].value - found[name].sys_lower == pytest.approx(log_z.value - log_z.sys_lower)
        assert found[name].sys_upper - found[name].value == pytest.approx(log_z.sys_upper - log_z.value)


def test_arrays_hold_every_image_s_annealed_score_and_log_weights() -> None:
    scores, _ = both_ways(24)
    found, arrays = by_name(scores), scores.arrays
    for name, n, sign in (("nll_ais", 30, 1), ("bdmc_upper", 20, 1), ("bdmc_lower", 20, -1)):
        assert arrays[name].dtype == np.float32
        whole = Items(arrays["nll"], arrays[name], arrays["nll_ais_items"]) if sign * n == 30 else Items(arrays[name])
        assert whole.mean == pytest.approx(found[name].value, abs=1e-5)
        assert whole.spread.stderr == pytest.approx(max(found[name].stderr, found[name].stderr_mc), rel=1e-4)
        log_weights = arrays[f"{name}_log_weights"]
        assert log_weights.shape == (n, 4)
        mean = np.log(np.exp(log_weights).mean(1))
        assert found["log_z"].value - sign * mean == pytest.approx(arrays[name], abs=1e-5)
        assert ((arrays[f"{name}_ess"] >= 1) & (arrays[f"{name}_ess"] <= 4.001)).all()


def test_low_effective_sample_sizes_make_annealed_scores_unreliable() -> None:
    settings = QUICK.model_copy(update={"ais_nll": AisNll(images=50, simulated=20, temperatures=2)})
    prior = grbm(24)
    prior.weight.data *= 20
    found = by_name(score(prior, images(linear_vae(), 50), settings.model_copy(update={"ais": ANNEALED.ais})))
    low, log_z = "of 50 images have an effective sample size below half of 4 chains", found["log_z"].unreliable
    assert log_z
    assert found["nll_ais"].unreliable.endswith(f"{low}; log Z: {log_z}")
    assert "of 20 images have an effective sample size below half" in found["bdmc_gap"].unreliable
    assert "log Z" not in found["bdmc_gap"].unreliable


def test_annealing_is_left_out_where_no_images_are_asked_for() -> None:
    x = images(linear_vae(), 50)
    for images_, simulated, names in ((30, 0, {"nll_ais"}), (0, 20, {"bdmc_gap", "bdmc_lower", "bdmc_upper"})):
        settings = AisNll(images=images_, simulated=simulated, temperatures=2)
        found = by_name(score(grbm(6), x, QUICK.model_copy(update={"ais_nll": settings})))
        assert set(found) - {"vlb", "nll", "kl", "reconstruction", "log_z"} == names


def test_more_images_than_there_are_means_all_of_them() -> None:
    settings = AisNll(images=1000, simulated=0, temperatures=2)
    scores = score(grbm(6), images(linear_vae(), 50), QUICK.model_copy(update={"ais_nll": settings}))
    assert by_name(scores)["nll_ais"].n == 50


@pytest.mark.parametrize("key", ["images", "simulated"])
def test_one_image_is_too_few_to_anneal(key: str) -> None:
    with pytest.raises(ValidationError, match="1 is too few for a mean with an error; 0, 2 or more are allowed"):
        AisNll.model_validate({key: 1})


def test_the_same_streams_give_the_same_scores() -> None:
    first, second = both_ways(24)[0], score(grbm(24), images(linear_vae(), 50), BOTH_WAYS)
    assert first.scores == second.scores
    assert all(np.array_equal(first.arrays[name], second.arrays[name]) for name in first.arrays)


def test_two_priors_are_scored_on_the_same_draws() -> None:
    x = images(linear_vae(), 50)
    one, other = (by_name(score(prior, x, ANNEALED)) for prior in (grbm(24), StandardNormal(LATENT)))
    assert one["reconstruction"] == other["reconstruction"]


def test_only_the_first_so_many_images_are_scored() -> None:
    x = images(linear_vae(), 50)
    settings = QUICK.model_copy(update={"images": 20})
    assert score(grbm(6), x, settings).scores == score(grbm(6), x[:20], QUICK).scores


@pytest.mark.parametrize("hidden", [6, 24])
def test_progress_rises_to_its_total(hidden: int) -> None:
    _, calls = both_ways(hidden)
    stages, done, totals = zip(*calls, strict=True)
    assert set(stages) == {"evaluate"}
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}


def test_fewer_than_two_images_are_a_user_s_mistake() -> None:
    with pytest.raises(UserError, match="scoring needs 2 or more test images, not 1"):
        score(grbm(6), images(linear_vae(), 1), QUICK)


class Quartic(Density):
    """exp(-|z|^4): an energy unlike a GRBM."""

    def energy(self, z: Tensor) -> Tensor:
        return z.pow(4).sum(-1)

    def sample(self, n: int, noise: Noise) -> Tensor:
        return 0.5 * noise.normal(n, 2)


class Rigid(Quartic):
    """An energy that autograd cannot differentiate."""

    @torch.no_grad()
    def energy(self, z: Tensor) -> Tensor:
        return super().energy(z)


def test_an_energy_without_a_gradient_is_a_user_s_mistake() -> None:
    with pytest.raises(UserError, match="log Z of the prior Rigid cannot be estimated in 4 dimensions"):
        score(Rigid(), images(linear_vae(), 50), QUICK)


def test_any_differentiable_energy_is_scored_in_more_dimensions() -> None:
    calls: list[tuple[int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        calls.append((done, total))

    scores = score(Quartic(), images(linear_vae(), 50), ANNEALED, progress)
    log_z = by_name(scores)["log_z"]
    assert log_z.estimator == "ais"
    assert not log_z.unreliable
    assert log_z.stderr == 0  # the chains' error is in the interval, and nowhere else
    assert log_z.sys_lower < 4 * math.log(2 * math.gamma(1.25)) < log_z.sys_upper
    assert scores.arrays["ais_forward_isotropic"].shape == (1, 100)
    assert calls[-1][0] == calls[-1][1]


def test_any_energy_is_scored_in_two_dimensions() -> None:
    x = images(linear_vae(), 50)
    found = by_name(estimators.score(Subject(linear_vae(2), Quartic(), x, torch.randn(50, 2), QUICK, noise_for)))
    assert found["log_z"].estimator == "quadrature"
    assert found["log_z"].value == pytest.approx(2 * math.log(2 * math.gamma(1.25)), abs=1e-8)


def test_a_score_that_is_not_finite_is_an_error_and_not_a_number() -> None:
    x = images(linear_vae(), 50)
    x[3, 2] = math.nan
    with pytest.raises(NotFinite, match="the score vlb is not finite: nan"):
        score(grbm(6), x, QUICK)


def test_progress_is_told_at_most_a_hundred_times() -> None:
    calls: list[int] = []
    meter = Meter(lambda stage, done, total: calls.append(done), 100_000)
    for _ in range(100_000):
        meter.advance(1)
    assert len(calls) == 101
    assert calls[-1] == 100_000


def test_the_package_does_not_import_torch_until_asked() -> None:
    code = "import sys; from bench import estimators; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
