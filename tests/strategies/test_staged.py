"""Strategies in two stages, the mixture fitted to latents, and priors that can be sampled and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture as SklearnMixture

from bench.contracts import check
from bench.contracts.attempts import Outcome, difference
from bench.contracts.task import small, tiny
from bench.networks.mlp import Mlp
from bench.plugins import Registry
from bench.priors import GaussianMixture, Samples
from bench.protocol import Diverged, Networks, NotFinite, Run, Stopped, UserError
from bench.strategy import staged
from bench.streams import stream

SAMPLER = '''
from __future__ import annotations
import torch
from bench.priors import Samples
from bench.strategy import StagedStrategy

class Pool(Samples):
    """Latents seen in training, with a little noise."""
    def __init__(self, latent):
        super().__init__()
        self.register_buffer("seen", torch.zeros(64, latent))
    def sample(self, n, noise):
        chosen = self.seen[noise.integers(len(self.seen), n)]
        return chosen + 0.05 * noise.normal(*chosen.shape)

class Resampled(StagedStrategy):
    """Draws latents seen in training."""
    def prior(self, task, vae, noise):
        return Pool(task.networks.latent)
    def fit_latents(self, model, latents, noise):
        model.prior.seen.copy_(latents[noise.permutation(len(latents))[:64]])
'''


def mixture(seed: int = 0, components: int = 3, d: int = 4) -> tuple[GaussianMixture, Any]:
    """Return a mixture and what it was set from."""
    draw = np.random.default_rng(seed)
    a = draw.normal(size=(components, d, d))
    arrays = (
        draw.dirichlet(np.ones(components)),
        draw.normal(size=(components, d)),
        a @ a.transpose(0, 2, 1) + np.eye(d),
    )
    prior = GaussianMixture(components, d)
    prior.set(*arrays)
    return prior, arrays


def test_a_mixtures_density_is_scipys() -> None:
    prior, (weights, means, covariances) = mixture()
    z = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0))
    parts = [
        w * stats.multivariate_normal(m, c).pdf(z.numpy()) for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    np.testing.assert_allclose(-prior.energy(z).numpy(), np.log(sum(parts)), rtol=1e-4, atol=1e-4)


def test_a_mixtures_samples_have_its_mean_and_covariance() -> None:
    prior, (weights, means, covariances) = mixture()
    n = 200_000
    z = prior.sample(n, stream(0, "prior")).double().numpy()
    mean = weights @ means
    covariance = np.einsum("k,kij->ij", weights, covariances + means[:, :, None] * means[:, None]) - np.outer(
        mean, mean
    )
    centred = z - z.mean(0)
    assert (np.abs(z.mean(0) - mean) < 5 * z.std(0) / n**0.5).all()
    products = centred[:, :, None] * centred[:, None]
    assert (np.abs(products.mean(0) - covariance) < 5 * products.std(0) / n**0.5).all()


def test_a_mixture_refuses_what_is_none() -> None:
    prior, (weights, means, covariances) = mixture()
    with pytest.raises(ValueError, match=r"means have the shape \(2, 4\); it must be \(3, 4\)"):
        prior.set(weights, means[:2], covariances)
    with pytest.raises(ValueError, match="weights must not be below 0"):
        prior.set(-weights, means, covariances)
    with pytest.raises(NotFinite, match="the covariance of component 0 is not positive definite"):
        prior.set(weights, means, -covariances)


def latent_mixture(**values: Any) -> Any:
    """Return the built-in strategy."""
    return Registry().find("strategy", "latent-mixture").load()(**values)


def test_the_mixture_of_latents_is_sklearns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = latent_mixture(components=3)
    task = small(strategy)
    fits: list[tuple[SklearnMixture, np.ndarray]] = []
    fit = SklearnMixture.fit

    def seen(self: SklearnMixture, z: np.ndarray) -> SklearnMixture:
        fits.append((fit(self, z), z))
        return self

    monkeypatch.setattr(SklearnMixture, "fit", seen)
    run = Run(0, "cpu", tmp_path)
    state = strategy.fit(task, run)
    ((fitted, z),) = fits
    assert z.shape == (len(task.splits.train), 2)
    prior = GaussianMixture(3, 2)
    prior.load_state_dict(state["modules"]["prior"])
    ours = -prior.energy(torch.from_numpy(z).float()).double().numpy()
    np.testing.assert_allclose(ours, fitted.score_samples(z), atol=1e-3)
    assert not difference(Outcome(state), Outcome(strategy.fit(task, run)))
    assert len(fits) == 1  # a stage that is finished is not carried out again
    assert [row["epoch"] for row in state["curves"]][-1] == task.budget.epochs
    assert [row["step"] for row in state["curves"]][-1] == state["steps"]


def test_a_second_stage_that_diverges_counts_from_the_first_and_keeps_its_curves(tmp_path: Path) -> None:
    strategy: Any = Registry().find("strategy", "noise-contrastive").load()()
    task = small(strategy)
    inner, steps = type(strategy).latent_losses, iter(range(10**6))
    first = task.budget.epochs * (len(task.splits.train) // task.budget.batch_size)

    def infinite(self: Any, model: Any, batch: Any) -> Any:
        bad = next(steps) == 2
        for name, loss in inner(self, model, batch):
            yield name, loss / (0.0 if bad else 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(strategy), "latent_losses", infinite)
        with pytest.raises(Diverged, match=f"not finite at step {first + 2}$") as caught:
            strategy.fit(task, Run(0, "cpu", tmp_path))
    assert caught.value.step == first + 2
    epochs = {row["epoch"] for row in caught.value.curves if row["metric"] == "bound"}
    assert epochs == set(range(task.budget.epochs))
    assert "bound" in caught.value.stability


@pytest.mark.parametrize("name", ["latent-mixture", "noise-contrastive"])
def test_a_kill_between_stages_ends_in_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy: Any = Registry().find("strategy", name).load()()
    task = small(strategy)
    whole = strategy.fit(task, Run(0, "cpu", tmp_path / "whole"))
    before, train = Run(0, "cpu", tmp_path / "cut"), type(strategy).train
    stages: list[str] = []

    def first_alone(self: Any, model: Any, task: Any, run: Run, *rest: Any) -> Any:
        if stages:
            raise KeyboardInterrupt
        stages.append(run.folder.name)
        return train(self, model, task, run, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(type(strategy), "train", first_alone)
        patch.setattr(type(strategy), "fit_latents", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            strategy.fit(task, before)
    assert stages == [staged.VAE_STAGE]
    torch.manual_seed(5)
    assert difference(Outcome(whole), Outcome(strategy.fit(task, before))) == ""


def test_a_stop_between_stages_is_said(tmp_path: Path) -> None:
    strategy = latent_mixture()
    task = small(strategy)
    strategy.fit(task, Run(0, "cpu", tmp_path))
    for file in (tmp_path / staged.PRIOR_STAGE).iterdir():
        file.unlink()
    with pytest.raises(Stopped, match="stopped after step 12, before the prior is fitted"):
        strategy.fit(task, Run(0, "cpu", tmp_path, stop_requested=lambda: True))


def test_a_damaged_file_of_a_fitted_prior_is_fitted_again(tmp_path: Path) -> None:
    strategy = latent_mixture()
    task, run = small(strategy), Run(0, "cpu", tmp_path)
    state = strategy.fit(task, run)
    (file,) = (tmp_path / staged.PRIOR_STAGE).iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert difference(Outcome(state), Outcome(strategy.fit(task, run))) == ""


def test_fewer_items_than_components_are_skipped_in_words() -> None:
    strategy = latent_mixture(components=500)
    assert strategy.skip(small(strategy)) == "500 components need as many training items; there are 400"


# ---------------------------------------------------------------- samples and no density


@pytest.fixture
def sampler(tmp_path: Path) -> Path:
    """The file of a strategy whose prior has no density."""
    file = tmp_path / "resampled.py"
    file.write_text(SAMPLER)
    return file


def test_a_prior_without_a_density_keeps_the_contracts_that_concern_it(sampler: Path) -> None:
    verdicts = {v.contract: v for v in check(Registry().find("strategy", str(sampler)))}
    assert [v for v in verdicts.values() if v.status == "fail"] == []
    unchecked = {name: v.reason for name, v in verdicts.items() if v.status == "not checked"}
    eagerly = "it does not declare `capturable`: on a GPU steps with it are taken eagerly"
    assert unchecked == {**dict.fromkeys(("derivatives", "density"), "the prior has no density"), "capture": eagerly}
    assert verdicts["shapes"].reason == "samples (n, d)"


def test_it_is_scored_by_its_samples_alone(sampler: Path, tmp_path: Path) -> None:
    strategy: Any = Registry().find("strategy", str(sampler)).load()()
    ring: Any = Registry().find("dataset", "8-gaussians").load()()
    mlp = Mlp(hidden=[8])
    points, images = tiny(ring, ring.load(tmp_path)), small(strategy)
    points = replace(points, networks=Networks(encoder=mlp, decoder=mlp, latent=2))
    distances = {"sliced_wasserstein", "c2st", "precision", "recall"}
    names = {"reconstruction", *distances, *(f"{name}_base" for name in distances)}
    for number, task in enumerate((images, points)):
        short = replace(task, splits=replace(task.splits, train=task.splits.train[:400]))
        run = Run(0, "cpu", tmp_path / str(number))
        state = strategy.fit(short, run)
        scores = strategy.evaluate(state, short, run)
        assert {score.metric.name for score in scores.scores} == names
        assert {score.estimator for score in scores.scores} == {"samples"}
        assert "samples_prior" in scores.arrays
        assert not [name for name in state["stability"] if name.startswith(("energy", "stein", "log_z"))]
    assert {"points_data", "points_sampler", "density_data", "window"} <= scores.arrays.keys()
    assert "density_model" not in scores.arrays


def test_no_bound_can_be_trained_under_it() -> None:
    with pytest.raises(UserError, match="can be sampled and has no density"):
        Samples().energy(torch.zeros(1, 2))
