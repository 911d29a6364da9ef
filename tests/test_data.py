from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from bench import protocol
from bench.data import Binarised, binarise, read_idx, split
from bench.protocol import DataError, Splits, UserError
from bench.streams import stream

if TYPE_CHECKING:
    from tests.conftest import Mirror

    Mirrors = tuple[Mirror, Mirror]

BODY = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Grey(Binarised):
    """Images of no digits at all."""

    name = "grey"
    version = "1"

    def load(self, folder: Path) -> Splits:
        return split(np.zeros((4, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8))


# ---------------------------------------------------------------- binarisation


def test_a_binarised_data_set_meets_the_protocol() -> None:
    dataset: protocol.Dataset = Grey()
    assert (dataset.likelihood, dataset.unit) == ("bernoulli", "nats")


@pytest.mark.parametrize("white", [16, 255])
def test_pixels_are_bernoulli_with_the_stored_brightness(white: int) -> None:
    n = 4000
    x = torch.arange(white + 1, dtype=torch.uint8).expand(n, 1, -1)
    drawn = binarise(x, white, stream(0, "binarise"))
    assert drawn.shape == (n, white + 1)
    assert drawn.dtype == torch.float32
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    p = torch.arange(white + 1) / white
    standard_error = (p * (1 - p) / n).sqrt()
    # 256 levels: 5 standard errors are exceeded once in 7,000 times; black and white have no error at all
    assert bool(((drawn.mean(0) - p).abs() <= 5 * standard_error).all())


def test_dynamic_binarisation_follows_its_noise() -> None:
    x = torch.full((10, 28, 28), 128, dtype=torch.uint8)
    assert torch.equal(Grey().prepare(x, stream(3, "binarise", 7)), Grey().prepare(x, stream(3, "binarise", 7)))
    assert not torch.equal(Grey().prepare(x, stream(3, "binarise", 7)), Grey().prepare(x, stream(3, "binarise", 8)))


def test_fixed_binarisation_depends_on_the_data_set_alone() -> None:
    class Renamed(Grey):
        name = "other"

    class Revised(Grey):
        version = "2"

    x = torch.full((50, 8, 8), 128, dtype=torch.uint8)
    torch.manual_seed(1)
    first = Grey().fixed(x)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(Grey().fixed(x), first)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    assert not torch.equal(Renamed().fixed(x), first)
    assert not torch.equal(Revised().fixed(x), first)


def test_the_first_images_have_the_same_fixed_bits_however_many_are_scored() -> None:
    x = torch.full((1000, 8, 8), 100, dtype=torch.uint8)
    whole = Grey().fixed(x)
    for n in (2, 17, 200, 999):
        assert torch.equal(Grey().fixed(x[:n]), whole[:n])


def test_fixed_bits_are_known() -> None:
    """A change of them, by a library or by us, would break the pairing with records that are there."""
    bits = Grey().fixed(torch.full((100, 8, 8), 128, dtype=torch.uint8))
    digest = hashlib.sha256(np.packbits(bits.numpy().astype(bool)).tobytes()).hexdigest()
    assert digest == "55bbd7ae1c691d9d65699e2c3cd34f2373d18933e1f54a8ee882478adbccb106"


def test_fixed_bits_do_not_follow_the_default_type() -> None:
    x = torch.full((100, 8, 8), 77, dtype=torch.uint8)
    expected = Grey().fixed(x)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(Grey().fixed(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fixed_bits_are_the_same_on_a_gpu() -> None:
    x = torch.randint(256, (500, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    there = Grey().fixed(x.cuda())
    assert there.device.type == "cuda"
    assert torch.equal(there.cpu(), Grey().fixed(x))


# ---------------------------------------------------------------- splits


def test_validation_is_the_last_of_training() -> None:
    train, test = np.arange(20, dtype=np.uint8).reshape(10, 2), np.zeros((3, 2), np.uint8)
    splits = split(train, test, 4)
    assert np.array_equal(splits.train, train[:6])
    assert np.array_equal(splits.validation, train[6:])
    assert np.array_equal(splits.test, test)
    assert np.shares_memory(splits.train, train)
    assert split(train, test).validation.shape == (0, 2)


def test_the_digest_tells_splits_apart() -> None:
    train, test = np.arange(20, dtype=np.uint8).reshape(10, 2), np.zeros((3, 2), np.uint8)
    altered = train.copy()
    altered[0, 0] = 1
    all_splits = [
        split(train, test),
        split(train, test, 4),
        split(altered, test),
        split(train, test + 1),
        split(train.astype(np.float32), test),
    ]
    assert len({splits.sha256 for splits in all_splits}) == len(all_splits)
    assert split(train.copy(), test.copy()).sha256 == split(train, test).sha256
    # the digest is of the values, not of how they lie in memory
    assert split(np.asfortranarray(train), test).sha256 == split(train, test).sha256


@pytest.mark.parametrize("validation", [-1, 10])
def test_a_validation_split_leaves_something_to_train_on(validation: int) -> None:
    with pytest.raises(UserError) as caught:
        split(np.zeros((10, 2), np.uint8), np.zeros((3, 2), np.uint8), validation)
    assert str(caught.value) == (
        f"validation = {validation} cannot be taken from 10 training items; 0 to 9 are allowed"
    )


# ---------------------------------------------------------------- the idx format


def write_idx(path: Path, array: np.ndarray, *, magic: bytes = b"", tail: bytes = b"") -> Path:
    header = (magic or bytes([0, 0, 8, array.ndim])) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes() + tail))
    return path


IMAGES = np.random.default_rng(0).integers(0, 256, (30, 5, 4), dtype=np.uint8)


def test_an_idx_file_gives_its_array(tmp_path: Path) -> None:
    array = read_idx(write_idx(tmp_path / "a.gz", IMAGES), IMAGES.shape)
    assert array.dtype == np.uint8
    assert np.array_equal(array, IMAGES)
    torch.from_numpy(array)  # would warn of an array that cannot be written


def refusal(path: Path, shape: tuple[int, ...] = IMAGES.shape) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path, shape)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_idx_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "a.gz", IMAGES, magic=bytes([0, 0, 13, 3]))
    assert refusal(path) == f"{path} starts with 00 00 0d 03, expected 00 00 08 03 (idx, bytes)"


def test_an_idx_file_of_another_shape_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 3]) + (2**31).to_bytes(4, "big") * 3
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(header))
    assert refusal(path) == f"{path} declares the shape (2147483648, 2147483648, 2147483648), expected (30, 5, 4)"


def test_an_idx_file_that_ends_early_or_late_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "short.gz"
    short.write_bytes(gzip.compress(gzip.decompress(write_idx(tmp_path / "a.gz", IMAGES).read_bytes())[:-7]))
    assert refusal(short) == f"{short} is truncated: it holds 593 of 600 bytes"
    long = write_idx(tmp_path / "long.gz", IMAGES, tail=b"x")
    assert refusal(long) == f"{long} is too long: it goes on after 600 bytes"
    empty = tmp_path / "empty.gz"
    empty.write_bytes(gzip.compress(b""))
    assert refusal(empty) == f"{empty} starts with , expected 00 00 08 03 (idx, bytes)"


def test_a_gzip_file_that_is_truncated_or_altered_is_refused(tmp_path: Path) -> None:
    whole = write_idx(tmp_path / "a.gz", IMAGES).read_bytes()
    for name, content in {
        "cut": whole[:-20],
        "altered": whole[:100] + bytes([whole[100] ^ 255]) + whole[101:],
        "checksum": whole[:-8] + b"\0" * 8,
        "text": b"<html>Not Found</html>",
    }.items():
        path = tmp_path / f"{name}.gz"
        path.write_bytes(content)
        assert refusal(path).startswith(f"{path} is not a whole gzip file (")


def test_an_idx_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.gz") == f"{tmp_path / 'a.gz'} cannot be read (No such file or directory)"
