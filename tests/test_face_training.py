"""The face: what one training refuses, and a model whose likelihood is known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import bench
from bench.protocol import UserError
from bench.streams import stream
from tests.oracles.autoencoders import linear_gaussian


def test_a_training_that_cannot_be_is_one_sentence() -> None:
    digits = bench.dataset("digits")
    with pytest.raises(UserError, match=r"train.epochs = 0 is not allowed"):
        bench.strategy("normal").train(digits, epochs=0)
    with pytest.raises(UserError, match=r"gaussian-pixels has no latent variables"):
        bench.strategy("gaussian-pixels").train(digits, epochs=1)
    with pytest.raises(UserError, match=r"unknown key strategy.stein.penlty"):
        bench.strategy("stein", penlty=0.1)
    with pytest.raises(UserError, match=r"networks.encoder.kind"):
        bench.strategy("normal").train(digits, epochs=1, networks={"encoder": {"kind": "resnett"}})


@pytest.mark.parametrize(
    ("fit", "evaluate", "error", "sentence"),
    [
        ("None", "None", TypeError, "`fit` gave a NoneType; it must be a dict with modules, steps, "),
        ("{'modules': {}}", "None", TypeError, "`fit` gave a dict without steps, curves, stability, resources"),
        ("STATE", "None", TypeError, "`evaluate` gave a NoneType; it must be bench.protocol.Scores"),
        ("STATE", "Scores([VLB, VLB])", UserError, "the metric 'vlb' was scored twice; once is allowed"),
        ("STATE", "Scores([replace(VLB, stderr_mc=-1.0)])", UserError, "the score of 'vlb' is wrong: stderr_mc = -1"),
    ],
)
def test_what_a_strategy_gives_is_looked_at_as_in_a_sweep(
    fit: str, evaluate: str, error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "odd.py").write_text(f"""
from dataclasses import replace
from bench.protocol import Metric, Score, Scores
from bench.strategy import Strategy
STATE = {{"modules": {{}}, "steps": 0, "curves": [], "stability": {{}}, "resources": {{}}}}
VLB = Score(Metric("vlb", "nats"), 95.0, 9, "monte-carlo", 0.3, 0.4, 94.5, 95.5)
class Odd(Strategy):
    def prior(self, task, vae, noise): ...
    def fit(self, task, run): return {fit}
    def evaluate(self, state, task, run): return {evaluate}
""")
    with pytest.raises(error, match=f"^{re.escape(sentence)}"):
        bench.strategy(tmp_path / "odd.py").train("digits", epochs=1)


def test_log_prob_is_exact_where_the_posterior_is() -> None:
    from bench.priors import StandardNormal
    from bench.strategy import Fitted
    from bench.training import Model

    oracle = linear_gaussian(6, 2)
    x = oracle.images(50, stream(0, "test")).float()
    exact = oracle.log_prob(x.double())
    oracle.vae.float()
    arrays = bench.dataset("arrays", train=x.numpy(), test=x.numpy(), likelihood="gaussian")
    model = Fitted(Model(oracle.vae, StandardNormal(2)), arrays.settings, x.numpy(), 2, None)
    # q(z|x) is the posterior, so that every weight is p(x): only float32 rounds
    assert torch.allclose(torch.as_tensor(model.log_prob(x, samples=3)).double(), exact, atol=1e-4)
    assert np.asarray(model.log_prob(x.numpy(), samples=3)).shape == (50,)
    draws = torch.from_numpy(model.sample(20_000, seed=0)).double()
    covariance = oracle.weight @ oracle.weight.T + oracle.std**2 * torch.eye(6)
    errors = (covariance.diag() / len(draws)).sqrt()
    assert ((draws.mean(0) - oracle.bias).abs() < 5 * errors).all()
