from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.plugins import Registry, build
from bench.protocol import Splits, UserError
from bench.streams import stream

NOWHERE = Path("/nowhere")  # the data come with scikit-learn


def digits(**options: Any) -> Any:
    return build(Registry().find("dataset", "digits"), options, "test")


@pytest.fixture(scope="module")
def splits() -> Splits:
    loaded: Splits = digits().load(NOWHERE)
    return loaded


def test_digits_are_1500_training_and_297_test_images_of_17_greys(splits: Splits) -> None:
    assert splits.train.shape == (1500, 8, 8)
    assert splits.validation.shape == (0, 8, 8)
    assert splits.test.shape == (297, 8, 8)
    for array in (splits.train, splits.test):
        assert array.dtype == np.uint8
        assert (array.min(), array.max()) == (0, 16)


def test_the_splits_hold_every_bundled_digit_once(splits: Splits) -> None:
    from sklearn.datasets import load_digits

    bundled = sorted(image.tobytes() for image in load_digits().images.astype(np.uint8))
    assert sorted(image.tobytes() for image in (*splits.train, *splits.test)) == bundled


def test_the_splits_are_known(splits: Splits) -> None:
    """Records carry this digest: it must not change while the version is 1."""
    assert digits().version == "1"
    assert splits.sha256 == "a718b9476c3e972b0c935ae002e29367f9aaa27db8e12e7163e10d70ad3b14c9"


def test_training_and_test_images_are_alike(splits: Splits) -> None:
    """The bundled file is ordered by writer; a split by its order would test on other hands."""
    train, test = splits.train.mean((1, 2)), splits.test.mean((1, 2))
    standard_error = (train.var() / len(train) + test.var() / len(test)) ** 0.5
    assert abs(train.mean() - test.mean()) < 3 * standard_error


def test_validation_is_kept_from_training(splits: Splits) -> None:
    held_out = digits(validation=300).load(NOWHERE)
    assert np.array_equal(held_out.train, splits.train[:1200])
    assert np.array_equal(held_out.validation, splits.train[1200:])
    assert np.array_equal(held_out.test, splits.test)
    assert held_out.sha256 != splits.sha256


def test_a_validation_split_has_bounds() -> None:
    with pytest.raises(UserError, match=r"^test: dataset\.digits\.validation = 1500 is not allowed; .*at most 1000"):
        digits(validation=1500)


def test_a_grey_of_16_is_always_white(splits: Splits) -> None:
    x = torch.from_numpy(splits.test)
    drawn = digits().prepare(x, stream(0, "binarise"))
    assert drawn.shape == (297, 64)
    assert bool((drawn[x.flatten(1) == 16] == 1).all())
    assert bool((drawn[x.flatten(1) == 0] == 0).all())


def test_the_fixed_test_bits_are_known(splits: Splits) -> None:
    bits = digits().fixed(torch.from_numpy(splits.test)).numpy().astype(bool)
    digest = hashlib.sha256(np.packbits(bits).tobytes()).hexdigest()
    assert digest == "108c473d9385ec554f70bbf50f800468526aeef8da31d25c3c462d3bc3b7021f"
