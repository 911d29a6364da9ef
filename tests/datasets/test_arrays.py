"""Arrays of the user's own, as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bench
from bench.contracts import check
from bench.plugins import Registry
from bench.protocol import DataError, Items, UserError
from bench.streams import stream
from bench.sweep.requests import Request
from bench.sweep.status import load
from bench.sweep.store import Store

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
POINTS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


def stored(one: Any, folder: Path) -> Path:
    """Put a data set of arrays into a run store, and return the folder of data there."""
    Store(folder).keep(one.content)
    return Store(folder).data


def test_items_come_back_as_they_were_given(tmp_path: Path) -> None:
    made = bench.dataset("arrays", train=POINTS, test=POINTS[:9], likelihood="gaussian", validation=10)
    splits = made.settings.load(stored(made, tmp_path))
    assert np.array_equal(splits.train, POINTS[:50])
    assert np.array_equal(splits.validation, POINTS[50:])
    assert np.array_equal(splits.test, POINTS[:9])
    assert torch.equal(made.settings.fixed(torch.from_numpy(splits.test)), torch.from_numpy(POINTS[:9]))


def test_pixels_are_probabilities_of_ones() -> None:
    x = torch.tensor([[[0, 255]]], dtype=torch.uint8).expand(1000, 1, 2)
    made = bench.dataset("arrays", train=PIXELS, test=PIXELS)
    drawn = made.settings.prepare(x, stream(0, "test", 0, torch.device("cpu")))
    assert torch.equal(drawn, torch.tensor([[0.0, 1.0]]).expand(1000, 2))


def test_the_digest_follows_the_contents_alone() -> None:
    def digest(**options: Any) -> str:
        made: Any = bench.dataset("arrays", **{"train": PIXELS, "test": PIXELS[:9], **options})
        return str(made.settings.sha256)

    assert digest() == digest(train=PIXELS.copy(), test=PIXELS[:9].copy(order="F"))
    assert len({digest(), digest(train=PIXELS[:-1]), digest(test=PIXELS[:8]), digest(validation=5)}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": PIXELS / 255}, "train is float64; a bernoulli likelihood takes a numpy array of uint8"),
        (
            {"train": np.ma.masked_equal(PIXELS, 0)},
            "train is a masked array; nothing here can leave out what is masked",
        ),
        ({"test": PIXELS[:1]}, "test holds 1 items; it must hold at least 2"),
        ({"train": PIXELS[:0]}, "cannot be taken from 0 training items"),
        ({"train": PIXELS[0, 0]}, r"the shape \(4,\); it must be \(N, ...\)"),
        ({"test": PIXELS[:, :2]}, r"test has items of shape \(2, 4\), and train of \(4, 4\)"),
        ({"likelihood": "gaussian"}, "train is uint8; a gaussian likelihood takes a numpy array of float32"),
        ({"likelihood": "poisson"}, "likelihood"),
        (
            {"train": np.full((5, 2), np.nan, np.float32), "test": POINTS[:5, :2], "likelihood": "gaussian"},
            "not finite",
        ),
        ({"validation": 60}, "validation"),
    ],
)
def test_what_cannot_be_items_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench.dataset("arrays", **({"train": PIXELS, "test": PIXELS} | options))


def test_both_arrays_are_needed() -> None:
    with pytest.raises(UserError, match="needs test, an array"):
        bench.dataset("arrays", train=PIXELS)
    with pytest.raises(UserError, match="needs train, an array"):
        bench.dataset("arrays", test=PIXELS)


def test_a_file_with_other_contents_is_refused(tmp_path: Path) -> None:
    made = bench.dataset("arrays", train=PIXELS, test=PIXELS)
    folder = stored(made, tmp_path)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    for damaged in (content[:-1], b"x" + content[1:]):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="cut short or altered"):
            made.settings.load(folder)
    file.unlink()
    with pytest.raises(DataError, match=r"give them to .bench.run. again"):
        made.settings.load(folder)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_they_keep_the_contracts_of_a_data_set(likelihood: str, tmp_path: Path) -> None:
    items = PIXELS if likelihood == "bernoulli" else POINTS
    made: Any = bench.dataset("arrays", train=items[:40], test=items[40:], likelihood=likelihood)
    folder = stored(made, tmp_path)
    values = {"sha256": made.settings.sha256, "likelihood": likelihood}
    verdicts = list(check(Registry().find("dataset", "arrays"), values, data=folder))
    assert [verdict for verdict in verdicts if verdict.status == "fail"] == []


def test_the_command_line_reads_what_python_left(tmp_path: Path) -> None:
    """The digest is an option of the data set, so that a grid file can name it."""
    made: Any = bench.dataset("arrays", train=PIXELS, test=PIXELS)
    data = stored(made, tmp_path)
    facts = load(Registry(), "arrays", {"sha256": made.settings.sha256}, Request().data, data)
    assert facts.items == Items((4, 4), 60, 60)
