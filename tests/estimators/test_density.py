"""Scores on a known density, on models whose distance from it is known."""

from __future__ import annotations

import math
from typing import ClassVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from bench.estimators import density, distances
from bench.estimators.marginal import Marginal
from bench.estimators.subject import LOG_Z, Subject
from bench.priors import Density, StandardNormal
from bench.protocol import Dataset, Evaluation, Noise, NotFinite, Score, Scores
from bench.streams import stream
from bench.vae import VAE, Decoder, Encoder, Gaussian

NOISE = 0.5


class Plane:
    """A Gaussian data set."""

    window: ClassVar[float] = 4.0

    def __init__(self, covariance: Tensor) -> None:
        self.normal = MultivariateNormal(torch.zeros(2).double(), covariance.double())

    def log_density(self, x: Tensor) -> Tensor:
        log_density: Tensor = self.normal.log_prob(x.double())
        return log_density

    def draw(self, n: int, seed: int) -> Tensor:
        noise = stream(seed, "plane").normal(n, 2).double()
        points: Tensor = (noise @ self.normal.scale_tril.T).float()
        return points


def linear_vae(weight: Tensor) -> VAE:
    """Return x|z ~ N(weight z, NOISE^2 I)."""
    layer = nn.Linear(weight.shape[1], 2)
    layer.weight.data, layer.bias.data = weight.clone(), torch.zeros(2)
    likelihood = Gaussian()
    likelihood.log_std.data.fill_(math.log(NOISE))
    return VAE(Encoder(nn.Linear(2, 2 * weight.shape[1])), Decoder(layer, likelihood))


def noise_for(name: str) -> Noise:
    return stream(3, name)


def scored(
    dataset: object,
    vae: VAE,
    prior: Density | None = None,
    scores: tuple[Score, ...] = (),
    n: int = 2000,
    compared: bool = False,
) -> Scores:
    latent = 2 if not isinstance(vae.decoder.net, nn.Linear) else vae.decoder.net.in_features
    prior = prior or StandardNormal(latent)
    source = dataset if isinstance(dataset, Plane) else Plane(torch.eye(2))
    with torch.no_grad():
        subject = Subject(
            vae,
            prior,
            source.draw(n, 0),
            stream(0, "latents").normal(1000, latent),
            Evaluation(),
            noise_for,
            cast("Dataset", dataset),
            source.draw(n, 1),
            lambda n: {"prior": prior.sample(n, noise_for("draws")), "shifted": torch.full((n, latent), 9.0)},
            scores=Scores(scores),
        )
        own = density.score_density(subject)
        subject = subject.plus(own)
        return subject.plus(distances.score_samples(subject)).scores if compared else own


def by_name(scores: Scores) -> dict[str, Score]:
    return {each.metric.name: each for each in scores.scores}


FINE = density.PIXELS


@pytest.fixture(autouse=True)
def _coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time would go into them."""
    monkeypatch.setattr(density, "PIXELS", 10)


WEIGHT = torch.tensor([[1.0, 0.4], [-0.3, 0.8]])
TRUE = Plane(WEIGHT @ WEIGHT.T + NOISE**2 * torch.eye(2))


def test_the_true_model_is_at_no_distance_from_the_data() -> None:
    found = by_name(scored(TRUE, linear_vae(WEIGHT)))
    # log densities agree to 1e-5 item by item, so that even the standard error is next to nothing
    assert found["kl_data"].value == pytest.approx(0, abs=1e-5)
    assert found["kl_data"].stderr_images < 1e-5


def test_a_model_is_compared_to_data_by_its_exact_draws() -> None:
    """The prior's own are all wrong here."""

    class Stuck(StandardNormal):
        def sample(self, n: int, noise: Noise) -> Tensor:
            return 0.01 * super().sample(n, noise)

    found = by_name(scored(TRUE, linear_vae(WEIGHT), Stuck(2), compared=True))
    accuracy = found["c2st"]
    assert accuracy.value == pytest.approx(0.5, abs=3.5 * accuracy.stderr)
    wasserstein, base = found["sliced_wasserstein"], found["sliced_wasserstein_base"]
    assert wasserstein.value < 3 * base.value
    assert wasserstein.value - base.value < 0.05  # both are of the order of 1/sqrt 2000


def test_the_divergence_from_another_gaussian_is_the_closed_form_s() -> None:
    dataset = Plane(torch.tensor([[1.2, 0.3], [0.3, 0.7]]))
    model = (WEIGHT @ WEIGHT.T + NOISE**2 * torch.eye(2)).double()
    ratio = torch.linalg.solve(model, dataset.normal.covariance_matrix)
    truth = 0.5 * (ratio.trace() - 2 - ratio.det().log()).item()
    found = by_name(scored(dataset, linear_vae(WEIGHT)))["kl_data"]
    assert found.value == pytest.approx(truth, abs=3 * found.stderr_images)
    assert found.stderr_images < truth / 4
    assert found.estimator == "quadrature"


@pytest.mark.parametrize("latent", [1, 2])
def test_the_nll_of_a_linear_gaussian_vae_is_exact(latent: int) -> None:
    vae = linear_vae(WEIGHT[:, :latent])
    covariance = WEIGHT[:, :latent] @ WEIGHT[:, :latent].T + NOISE**2 * torch.eye(2)
    values = -Plane(covariance).log_density(TRUE.draw(2000, 0))
    found = by_name(scored(TRUE, vae))["nll_exact"]
    assert found.value == pytest.approx(values.mean().item(), abs=1e-5)
    assert found.stderr_images == pytest.approx(values.std().item() / 2000**0.5, rel=1e-4)
    assert (found.stderr_mc, found.unreliable, found.n) == (0, "", 2000)


class Shifted(StandardNormal):
    """N(0, I) times e^2."""

    normalised = False

    def energy(self, z: Tensor) -> Tensor:
        return super().energy(z) - 2


def log_z(value: float, half: float, unreliable: str = "") -> Score:
    return Score(LOG_Z, value, 1, "quadrature", 0, 0, value - half, value + half, unreliable)


def test_log_z_enters_with_its_interval_and_its_doubts() -> None:
    exact = by_name(scored(TRUE, linear_vae(WEIGHT)))["nll_exact"]
    found = by_name(scored(TRUE, linear_vae(WEIGHT), Shifted(2), (log_z(2.0, 0.25, "in doubt"),)))["nll_exact"]
    assert found.value == pytest.approx(exact.value, abs=1e-6)
    assert found.sys_lower == pytest.approx(exact.sys_lower - 0.25, abs=1e-6)
    assert found.sys_upper == pytest.approx(exact.sys_upper + 0.25, abs=1e-6)
    assert found.unreliable == "log Z: in doubt"


def test_a_wrong_log_z_makes_the_score_unreliable() -> None:
    """The mass of the prior on the grid is then not 1."""
    found = by_name(scored(TRUE, linear_vae(WEIGHT[:, :1]), Shifted(1), (log_z(1.5, 0.0),), n=50))["nll_exact"]
    assert found.unreliable == "the prior's mass on the grid is e^0.5 or its inverse, not 1"


def test_items_out_of_reach_make_the_score_unreliable() -> None:
    found = by_name(scored(Plane(1e6 * torch.eye(2)), linear_vae(WEIGHT[:, :1]), n=50))["nll_exact"]
    assert found.unreliable.startswith("quadrature had not converged on ")


def test_items_that_are_given_up_make_the_score_unreliable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.estimators.marginal.CELLS", 0)
    vae = linear_vae(WEIGHT[:, :1])
    assert isinstance(vae.decoder.likelihood, Gaussian)
    vae.decoder.likelihood.log_std.data.fill_(math.log(1e-4))
    found = by_name(scored(TRUE, vae, n=50))["nll_exact"]
    assert found.unreliable == "quadrature had not converged on 50 of 50 items"


def changed_by(monkeypatch: pytest.MonkeyPatch, changes: Tensor) -> None:
    """Let the last refinement have changed log p of every item by so much."""
    log_prob = Marginal.log_prob
    monkeypatch.setattr(Marginal, "log_prob", lambda self, x: (log_prob(self, x)[0], changes))


@pytest.mark.parametrize("metric", ["nll_exact", "kl_data"])
def test_what_quadrature_may_be_off_by_is_in_the_interval_on_both_sides_beside_log_z_s(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean over items of the last change: .004."""
    changed_by(monkeypatch, torch.tensor([0.002, 0.006], dtype=torch.float64).repeat(25))
    found = by_name(scored(TRUE, linear_vae(WEIGHT), n=50))[metric]
    margins = found.value - found.sys_lower, found.sys_upper - found.value
    assert margins == pytest.approx((0.004, 0.004), abs=1e-12)
    assert found.unreliable == ""

    interval = Score(LOG_Z, 2.0, 1, "quadrature", 0, 0, 1.75, 2.5)
    found = by_name(scored(TRUE, linear_vae(WEIGHT), Shifted(2), (interval,), n=50))[metric]
    margins = found.value - found.sys_lower, found.sys_upper - found.value
    assert margins == pytest.approx((0.254, 0.504), abs=1e-12)


@pytest.mark.parametrize("metric", ["nll_exact", "kl_data"])
def test_an_item_of_whose_error_nothing_is_known_is_a_doubt_and_no_margin(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_by(monkeypatch, torch.tensor([0.004, math.inf], dtype=torch.float64).repeat(25))
    found = by_name(scored(TRUE, linear_vae(WEIGHT), n=50))[metric]
    margins = found.value - found.sys_lower, found.sys_upper - found.value
    assert margins == pytest.approx((0.002, 0.002), abs=1e-12)
    assert found.unreliable == "quadrature had not converged on 25 of 50 items"


@pytest.mark.parametrize("metric", ["nll_exact", "kl_data"])
def test_every_items_score_is_kept(metric: str) -> None:
    found = scored(TRUE, linear_vae(WEIGHT))
    items = found.arrays[metric]
    assert items.dtype == np.float32
    assert by_name(found)[metric].value == pytest.approx(float(items.mean(dtype=np.float64)), rel=1e-5)


def test_pictures_show_samples_and_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density, "PIXELS", FINE)
    arrays = scored(TRUE, linear_vae(WEIGHT)).arrays
    assert arrays["window"] == 4.0
    side = 2 * 4.0 / density.PIXELS
    for name in ("density_data", "density_model"):
        assert arrays[name].shape == (density.PIXELS, density.PIXELS)
        # of N(0, TRUE), 1.3 wide, 3 standard deviations fit in the window
        assert np.exp(arrays[name]).sum() * side**2 == pytest.approx(1, abs=0.01)
    corner = torch.tensor([[-4 + side / 2, 4 - side / 2]])
    assert arrays["density_data"][0, -1] == pytest.approx(TRUE.log_density(corner).item(), rel=1e-5)
    for name in ("points_data", "points_model", "points_sampler"):
        assert arrays[name].shape == (density.SHOWN, 2)
        assert arrays[name].dtype == np.float32
    covariance = np.cov(arrays["points_model"].T)
    np.testing.assert_allclose(covariance, TRUE.normal.covariance_matrix, atol=4 * 1.4 * 1.5 / density.SHOWN**0.5)
    # the last sampler's z are all (9, 9), so that the noise is all that varies
    mean = WEIGHT @ torch.tensor([9.0, 9.0])
    np.testing.assert_allclose(arrays["points_sampler"].mean(0), mean, atol=4 * NOISE / density.SHOWN**0.5)


def test_the_same_noise_gives_the_same_scores() -> None:
    one, other = (scored(TRUE, linear_vae(WEIGHT), n=200) for _ in range(2))
    assert one.scores == other.scores
    assert all(np.array_equal(array, other.arrays[name]) for name, array in one.arrays.items())


def test_nothing_is_scored_where_no_density_is_known() -> None:
    assert scored(object(), linear_vae(WEIGHT)) == Scores([])


def test_nothing_is_scored_in_three_latent_dimensions() -> None:
    assert scored(TRUE, linear_vae(torch.ones(2, 3))) == Scores([])


def test_a_score_that_is_not_finite_is_refused() -> None:
    class Elsewhere(Plane):
        def log_density(self, x: Tensor) -> Tensor:
            return torch.full((len(x),), -math.inf).double()

    with pytest.raises(NotFinite, match="the score kl_data is not finite: -inf"):
        scored(Elsewhere(torch.eye(2)), linear_vae(WEIGHT), n=50)
