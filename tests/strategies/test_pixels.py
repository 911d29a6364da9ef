"""The densities of pixels beside which scores in bits per dimension are seen."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from bench.contracts.task import Shades, Stripes
from bench.networks.mlp import Mlp
from bench.plugins import Registry
from bench.protocol import Budget, Dataset, Evaluation, Networks, Run, Stopped, Task
from bench.streams import stream

NAMES = ["uniform-pixels", "gaussian-pixels"]


def strategy(name: str) -> Any:
    return Registry().find("strategy", name).load()()


def task(dataset: Dataset) -> Task:
    return Task(dataset, dataset.load(Path()), Networks(encoder=Mlp(), decoder=Mlp()), Budget(), Evaluation())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(0, "cpu", tmp_path)


def test_a_uniform_density_scores_8_bits_to_six_digits(run: Run) -> None:
    uniform, asked = strategy("uniform-pixels"), task(Shades())
    scores = uniform.evaluate(uniform.fit(asked, run), asked, run)
    assert [f"{score.metric.name} {score.value:.6f}" for score in scores.scores[:2]] == [
        "vlb_bits 8.000000", "nll_bits 8.000000"
    ]  # fmt: skip


def test_the_gaussian_is_the_likeliest_one_and_scores_its_log_density(run: Run) -> None:
    gaussian, asked = strategy("gaussian-pixels"), task(Shades())
    scores = gaussian.evaluate(gaussian.fit(asked, run), asked, run)
    train = Shades().prepare(torch.from_numpy(asked.splits.train), stream(0, "binarise")).double().numpy()
    test = Shades().fixed(torch.from_numpy(asked.splits.test)).double().numpy()
    model = scipy.stats.multivariate_normal(train.mean(0), np.cov(train.T, bias=True))
    s = 1 / (1 + np.exp(-test))
    rest = 16 * math.log(0.9) - np.log(s * (1 - s)).sum(1)
    expected = 8 - (model.logpdf(test) + rest) / (16 * math.log(2))
    for score in scores.scores[:2]:
        assert score.value == pytest.approx(expected.mean(), rel=1e-9)
        assert score.stderr_images == pytest.approx(expected.std(ddof=1) / len(test) ** 0.5)


def test_the_gaussian_is_fitted_to_every_block_of_images(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, gaussian = task(Shades()), strategy("gaussian-pixels")
    monkeypatch.setattr(sys.modules[type(gaussian).__module__], "BLOCK", 16)
    fitted = gaussian.parameters(asked, run)
    blocks = torch.from_numpy(asked.splits.train).split(16)
    x = torch.cat([Shades().prepare(items, stream(0, "binarise", step)) for step, items in enumerate(blocks)]).double()
    assert len(blocks) > 2
    torch.testing.assert_close(fitted["mean"], x.mean(0))
    torch.testing.assert_close(fitted["factor"] @ fitted["factor"].T, x.T.cov(correction=0))


def test_draws_are_those_of_the_density(run: Run) -> None:
    asked, n = task(Shades()), 20_000
    gaussian, uniform = strategy("gaussian-pixels"), strategy("uniform-pixels")
    fitted = gaussian.parameters(asked, run)
    x = gaussian.sample(asked, fitted, n, stream(0, "draws")).double()
    white = torch.linalg.solve_triangular(fitted["factor"], (x - fitted["mean"]).T, upper=False)
    # mean and covariance of white noise are known to 1/sqrt n and, on the diagonal, sqrt(2/n); 4.5 of these, of 272
    torch.testing.assert_close(white.mean(1), torch.zeros(16).double(), rtol=0, atol=4.5 / n**0.5)
    torch.testing.assert_close(white.cov(), torch.eye(16).double(), rtol=0, atol=4.5 * (2 / n) ** 0.5)
    brightness = Shades().brightness(uniform.sample(asked, {}, n // 16, stream(0, "draws"))).flatten()
    assert scipy.stats.kstest(brightness.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_compared_to_test_items(name: str, run: Run) -> None:
    density, asked = strategy(name), task(Shades())
    scores = density.evaluate(density.fit(asked, run), asked, run)
    found = {score.metric.name: score for score in scores.scores}
    assert {"sliced_wasserstein", "c2st", "precision", "recall", "recall_base"} <= found.keys()
    assert found["c2st"].n == len(asked.splits.test)


@pytest.mark.parametrize("name", NAMES)
def test_data_without_bits_are_skipped(name: str) -> None:
    assert strategy(name).skip(task(Shades())) is None
    assert strategy(name).skip(task(Stripes())) == (
        "it is a density of dequantised pixels, and stripes is not scored in bits per dimension"
    )


def test_a_covariance_needs_more_images_than_pixels() -> None:
    few = task(Shades())
    few = replace(few, splits=replace(few.splits, train=few.splits.train[:16]))
    assert strategy("gaussian-pixels").skip(few) == (
        "a covariance of 16 pixels needs more training images than that, and there are 16"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_stops_when_it_is_asked_to(name: str, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        strategy(name).fit(task(Shades()), Run(0, "cpu", tmp_path, stop_requested=lambda: True))
