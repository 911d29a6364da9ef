"""Strategies of `results/plugins`: they fit their priors to the latents of the very VAE that `normal` trains."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contracts.task import small
from bench.objectives import negative_bound
from bench.plugins import Registry
from bench.priors import GaussianMixture
from bench.protocol import Run
from bench.strategy import staged
from bench.streams import stream

FOLDER = Path(__file__).resolve().parents[2] / "results" / "plugins"
FILES = sorted((FOLDER / "strategies").glob("frozen_*.py"))
registry = functools.cache(lambda: Registry([FOLDER]))


def fitted(plugin: str, folder: Path, **values: Any) -> Any:
    """Return the state of a strategy after two epochs on small images."""
    strategy: Any = registry().find("strategy", plugin).load()(**values)
    task, run = small(strategy), Run(0, "cpu", folder)
    return strategy.stages(strategy.model(task, run), task, run)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fitted("normal", tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_vae_is_the_plain_one_bit_for_bit(file: Path, plain: Any, tmp_path: Path) -> None:
    modules = fitted(file.stem.replace("_", "-"), tmp_path)["modules"]
    for group in ("encoder", "decoder"):
        for name, values in plain["modules"][group].items():
            assert torch.equal(values, modules[group][name]), (group, name)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_gaussian_has_the_moments_of_the_latents(
    covariance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    latents = staged._latents

    def kept(*arguments: Any) -> Any:
        seen.append(latents(*arguments).double().numpy())
        return torch.from_numpy(seen[-1]).float()

    monkeypatch.setattr(staged, "_latents", kept)
    state = fitted("frozen-gaussian", tmp_path, covariance=covariance)
    (z,) = seen
    prior = GaussianMixture(1, z.shape[1])
    prior.load_state_dict(state["modules"]["prior"])
    expected = np.cov(z.T)
    if covariance == "diagonal":
        expected = np.diag(np.diag(expected))
    np.testing.assert_allclose(prior.means[0].numpy(), z.mean(0), atol=1e-5)
    np.testing.assert_allclose((prior.factors[0] @ prior.factors[0].T).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("plugin", ["frozen-flow", "frozen-vampprior"])
def test_a_normalised_prior_follows_the_gradient_of_the_bound(plugin: str, tmp_path: Path) -> None:
    strategy: Any = registry().find("strategy", plugin).load()()
    task, run = small(strategy), Run(0, "cpu", tmp_path)
    model = strategy.model(task, run)
    x = task.dataset.fixed(torch.from_numpy(task.splits.test[:50]))
    posterior = model.vae.encoder(x).detach()
    z = posterior.sample(stream(0, "posterior").normal(*posterior.mean.shape))
    parameters = list(model.prior.parameters())
    ((_, loss),) = strategy.objective(model, z, posterior, stream(0, "prior"))
    ours = torch.autograd.grad(loss, parameters)
    theirs = torch.autograd.grad(negative_bound(model.vae, model.prior, x, posterior, z), parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
