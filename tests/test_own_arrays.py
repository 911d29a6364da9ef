"""Arrays of one's own are a data set, as `bench.dataset` makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench.protocol import UserError
from tests.test_face import QUICK


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_arrays_of_ones_own_are_kept_in_the_store(likelihood: str, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    x = draws.integers(0, 256, (60, 4, 4)).astype(np.uint8)
    x = x if likelihood == "bernoulli" else (x / 256).astype(np.float32)
    dataset = bench.dataset("arrays", train=x[:40], test=x[40:], likelihood=likelihood, validation=10)
    same = bench.dataset(
        "arrays", train=x[:40].copy(), test=np.asfortranarray(x[40:]), likelihood=likelihood, validation=10
    )
    assert dataset.content == same.content
    assert [len(part) for part in (dataset.splits().train, dataset.splits().validation)] == [30, 10]
    ran = bench.run(
        "digits",
        strategies=["normal"],
        seeds=1,
        datasets=[dataset],
        set={**QUICK, "train.batch_size": 10, "evaluate.images": 20},
        jobs=1,
        store=tmp_path,
        progress=False,
    )
    cell = ran.cell("normal", dataset="arrays")
    assert cell.record.status == "ok", cell.record.reason
    assert [file.stem for file in (tmp_path / "data").iterdir()] == [cell.record.dataset.options["sha256"]]
    assert cell.model().reconstruct(x[:3]).shape == (3, 4, 4)
    (file,) = (tmp_path / "data").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"is cut short or altered"):
        cell.model()


@pytest.mark.parametrize(
    ("train", "test", "likelihood", "sentence"),
    [
        (np.zeros((4, 2), np.float64), np.zeros((4, 2), np.float64), "gaussian", "train is float64; a gaussian"),
        (np.zeros((4, 2), np.uint8), np.zeros((4, 3), np.uint8), "bernoulli", r"test has items of shape \(3,\)"),
        (np.zeros((4, 2), np.uint8), np.zeros((1, 2), np.uint8), "bernoulli", "test holds 1 items; it must"),
        (np.full((4, 2), np.nan, np.float32), np.zeros((4, 2), np.float32), "gaussian", "that are not finite"),
        (np.zeros(4, np.uint8), np.zeros(4, np.uint8), "bernoulli", r"has the shape \(4,\)"),
        ([[1]], np.zeros((4, 2), np.uint8), "bernoulli", "train is a list"),
        (np.zeros((4, 2), np.uint8), np.zeros((4, 2), np.uint8), "laplace", "likelihood = 'laplace' is not allowed"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_refused(train: Any, test: Any, likelihood: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        bench.dataset("arrays", train=train, test=test, likelihood=likelihood)
