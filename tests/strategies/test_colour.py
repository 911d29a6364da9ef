"""Every strategy trains on images in colour and is scored on them in bits per dimension."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data import split
from bench.data.dequantised import Dequantised
from bench.networks.conv import Conv
from bench.plugins import Registry
from bench.protocol import Ais, AisNll, Budget, Evaluation, Networks, Run, Splits, Task


class Squares(Dequantised):
    """Images 3x4x4 of one colour, with noise."""

    name = "squares"
    version = "1"

    def load(self, folder: Path) -> Splits:
        random = np.random.default_rng(0)
        colours = random.integers(30, 200, (160, 3, 1, 1))
        images = (colours + random.integers(0, 30, (160, 3, 4, 4))).astype(np.uint8)
        return split(images[:128], images[128:])


@pytest.mark.parametrize("name", Registry().names("strategy"))
def test_every_strategy_trains_and_is_scored(name: str, tmp_path: Path) -> None:
    networks = Networks(
        encoder=Conv(hidden=[4, 8], activation="relu"),
        decoder=Conv(hidden=[8, 4], activation="relu"),
        latent=6,
    )
    evaluation = Evaluation(
        vlb_samples=2,
        importance_samples=20,
        ais=Ais(temperatures=20, chains=20),
        ais_nll=AisNll(images=4, simulated=0, temperatures=4),
    )
    data, run = Squares(), Run(seed=0, device="cpu", folder=tmp_path)
    task = Task(data, data.load(tmp_path), networks, Budget(epochs=1, batch_size=32), evaluation)
    strategy: Any = Registry().find("strategy", name).load()()
    assert strategy.skip(task) is None
    scores = strategy.evaluate(strategy.fit(task, run), task, run)
    found = {score.metric.name: score for score in scores.scores}
    vlb, nll = found["vlb_bits"], found["nll_bits"]
    assert np.isfinite([vlb.value, nll.value, vlb.stderr, nll.stderr]).all()
    # more samples tighten the bound; a known density has no bound
    assert nll.value <= vlb.value + 4 * vlb.stderr_mc
    if "vlb" in found:
        assert found["nll_ais_bits"].n == found["nll_bits"].n
        assert {value.shape[1:] for key, value in scores.arrays.items() if key.startswith("samples_")} == {(3, 4, 4)}
