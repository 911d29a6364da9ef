"""The calibrated Laplace likelihood: its density, and a scale that is frozen before anything is tested."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from bench import priors
from bench.data import split
from bench.data.dequantised import Dequantised
from bench.networks.conv import Conv
from bench.protocol import (
    Ais,
    AisNll,
    Budget,
    Checkpoint,
    Evaluation,
    Networks,
    Noise,
    Run,
    Splits,
    Stopped,
    Task,
)
from bench.strategy import Strategy
from bench.streams import stream
from bench.vae import VAE, Laplace

# ---------------------------------------------------------------- the density


def frozen(scale: float) -> Laplace:
    likelihood = Laplace()
    likelihood.freeze(torch.tensor(scale))
    likelihood.eval()
    return likelihood


@pytest.mark.parametrize("leading", [(), (2, 3)])
def test_a_frozen_laplace_likelihood_is_scipy_s(leading: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, median = torch.randn(4, 5, dtype=torch.float64), torch.randn(*leading, 4, 5, dtype=torch.float64)
    likelihood = frozen(0.7).double()
    reference = scipy.stats.laplace.logpdf(x, loc=median, scale=float(likelihood.log_scale.exp()))
    np.testing.assert_allclose(likelihood.log_prob(x, median).numpy(), np.sum(reference, axis=-1), rtol=1e-12)


def test_training_uses_the_scale_that_makes_the_batch_likeliest() -> None:
    """Far above the floor log b is the log of mean |x - m|, and the likelihood -D (log 2b + 1) on average."""
    torch.manual_seed(0)
    x, median = 300 * torch.randn(40, 5, dtype=torch.float64), torch.randn(40, 5, dtype=torch.float64)
    log_prob = Laplace().log_prob(x, median)
    b = scipy.stats.laplace.fit((x - median).flatten(), floc=0)[1]  # the maximum of the likelihood
    # log b = 5.5 is 11.5 above the floor, whose softness adds exp(-11.5) = 1e-5 to it
    assert float(log_prob.mean()) == pytest.approx(-5 * (math.log(2 * b) + 1), abs=1e-4)


def test_the_scale_is_softly_kept_above_its_floor() -> None:
    """log b = -6 + log(1 + exp(log c + 6)) of the distance c, so that b = c + exp(-6) exactly."""
    for distance in (1e-30, 1e-3, 0.1, 10.0):
        scale = float(frozen(distance).log_scale.double().exp())
        assert scale == pytest.approx(distance + math.exp(-6), rel=1e-5)


def test_the_gradient_through_the_batch_s_scale_is_that_of_its_logarithm() -> None:
    """-D log b is all that is left of the mean once b is worked out, but for the floor."""
    torch.manual_seed(0)
    x = 50 * torch.randn(8, 3, dtype=torch.float64)
    median = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(Laplace().log_prob(x, median).mean(), median)
    (expected,) = torch.autograd.grad(-3 * (x - median).abs().mean().log(), median)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)


def test_draws_have_the_likelihood_s_distribution() -> None:
    likelihood, n = frozen(0.5), 20_000
    draws = likelihood.sample(torch.full((n, 1), 2.0), stream(0, "draws"))
    scale = float(likelihood.log_scale.exp())
    # by chance a p-value is below .001 once in a thousand seeds, and the seed is fixed
    assert scipy.stats.kstest(draws[:, 0].numpy(), scipy.stats.laplace(2, scale).cdf).pvalue > 1e-3


# ---------------------------------------------------------------- frozen before testing


class Dots(Dequantised):
    """Images of 4x4 pixels at random."""

    name = "dots"
    version = "1"

    def load(self, folder: Path) -> Splits:
        random = np.random.default_rng(0)
        train, test = (random.integers(0, 256, (n, 4, 4)).astype(np.uint8) for n in (64, 12))
        train[:32] //= 16  # half of them dark: part of the training images is not the whole
        return split(train, test)


class Plain(Strategy):
    """A VAE with the prior N(0, I)."""

    def prior(self, task: Task, vae: VAE, noise: Noise) -> priors.Density:
        return priors.StandardNormal(task.networks.latent)


def task() -> Task:
    small = Conv(hidden=[4], activation="relu")
    return Task(
        Dots(),
        Dots().load(Path()),
        Networks(encoder=small, decoder=small, latent=2),
        Budget(epochs=3, batch_size=16, checkpoint=Checkpoint(steps=5)),
        Evaluation(
            vlb_samples=2,
            importance_samples=4,
            ais=Ais(temperatures=10, chains=4),
            ais_nll=AisNll(images=4, simulated=4, temperatures=4, chains=2),
        ),
    )


def test_the_scale_of_a_fitted_model_is_that_of_its_training_data(tmp_path: Path) -> None:
    run = Run(0, "cpu", tmp_path)
    state = Plain().fit(task(), run)
    model = Plain().model(task(), run)
    for group, module in model.groups.items():
        module.load_state_dict(state["modules"][group])
    items = torch.from_numpy(task().splits.train)
    with torch.no_grad():
        distances = []
        for step in range(200):
            x = Dots().prepare(items, stream(1, "again", step))
            posterior = model.vae.encoder(x)
            z = posterior.sample(stream(2, "again", step).normal(*posterior.mean.shape))
            distances.append((x - model.vae.decoder(z)).abs().mean())
    own = torch.stack(distances)
    scale = float(state["modules"]["decoder"]["likelihood.log_scale"].exp()) - math.exp(-6)
    # the frozen scale is one more draw like these
    assert abs(scale - float(own.mean())) < 5 * float(own.std())


def test_no_score_of_an_image_depends_on_the_other_test_images(tmp_path: Path) -> None:
    asked, run = task(), Run(0, "cpu", tmp_path)
    state = Plain().fit(asked, run)
    others = asked.splits.test.copy()
    others[1:] = 255 - others[1:] // 8
    changed = replace(asked, splits=replace(asked.splits, test=others))
    before, after = (Plain().evaluate(state, each, run).arrays["vlb"] for each in (asked, changed))
    # a matrix product of float32 rounds differently beside other rows
    assert after[0] == pytest.approx(before[0], rel=1e-5)
    assert not np.allclose(after[1:], before[1:], rtol=0.01)


def test_the_test_images_do_not_enter_the_fit(tmp_path: Path) -> None:
    asked = task()
    changed = replace(asked, splits=replace(asked.splits, test=255 - asked.splits.test))
    one, other = (Plain().fit(each, Run(0, "cpu", tmp_path / str(i))) for i, each in enumerate((asked, changed)))
    scale = "likelihood.log_scale"
    assert torch.equal(one["modules"]["decoder"][scale], other["modules"]["decoder"][scale])


def test_a_resumed_run_has_the_same_scale(tmp_path: Path) -> None:
    whole = Plain().fit(task(), Run(0, "cpu", tmp_path / "whole"))
    answers = iter([False] * 6 + [True])
    stopping = Run(0, "cpu", tmp_path / "stopped", stop_requested=lambda: next(answers))
    with pytest.raises(Stopped):
        Plain().fit(task(), stopping)
    resumed = Plain().fit(task(), Run(0, "cpu", tmp_path / "stopped"))
    again = Plain().fit(task(), Run(0, "cpu", tmp_path / "stopped"))
    for group, state in whole["modules"].items():
        for name, tensor in state.items():
            assert torch.equal(tensor, resumed["modules"][group][name])
            assert torch.equal(tensor, again["modules"][group][name])
