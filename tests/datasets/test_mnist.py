from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from bench.plugins import Registry, build
from bench.protocol import DataError, Splits, UserError

if TYPE_CHECKING:
    from tests.conftest import Mirror

    Mirrors = tuple[Mirror, Mirror]

TRAIN, TEST = "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"


def mnist(**options: Any) -> Any:
    return build(Registry().find("dataset", "mnist"), options, "test")


# ---------------------------------------------------------------- the real files


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the original files."""
    place = os.environ.get("BENCH_DATA")
    if not place:
        pytest.skip("BENCH_DATA names no folder with MNIST's original files")
    folder = Path(place)
    if not all((folder / name).is_file() for name in (TRAIN, TEST)):
        pytest.skip(f"BENCH_DATA={place} does not hold MNIST's original files")
    return folder


@pytest.fixture(scope="module")
def splits(folder: Path) -> Splits:
    loaded: Splits = mnist().load(folder)
    return loaded


def test_mnist_is_60000_training_and_10000_test_images(splits: Splits) -> None:
    assert splits.train.shape == (60_000, 28, 28)
    assert splits.validation.shape == (0, 28, 28)
    assert splits.test.shape == (10_000, 28, 28)
    assert splits.train.dtype == splits.test.dtype == np.uint8
    # the mean and deviation of pixels in [0, 1] that everybody's normalisation of MNIST uses
    pixels = splits.train.astype(np.float32) / 255
    assert pixels.mean() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std() == pytest.approx(0.3081, abs=5e-5)


def test_the_splits_are_known(splits: Splits) -> None:
    """Records carry this digest: it must not change while the version is 1."""
    assert mnist().version == "1"
    assert splits.sha256 == "d16156b3eb7a8f70891fc67b2369dc7a8c22d221ee8de1da518111da6811971d"


def test_validation_is_kept_from_training(folder: Path, splits: Splits) -> None:
    held_out = mnist(validation=10_000).load(folder)
    assert np.array_equal(held_out.train, splits.train[:50_000])
    assert np.array_equal(held_out.validation, splits.train[50_000:])
    assert held_out.sha256 != splits.sha256


def test_the_fixed_test_bits_are_known_and_fair(splits: Splits) -> None:
    x = torch.from_numpy(splits.test)
    bits = mnist().fixed(x)
    assert bits.shape == (10_000, 784)
    p = x.flatten(1).double() / 255
    # the sum over all pixels, in standard errors of a sum of Bernoulli draws
    assert abs((bits.double() - p).sum().item()) < 4 * (p * (1 - p)).sum().sqrt().item()
    assert (
        hashlib.sha256(np.packbits(bits.numpy().astype(bool)).tobytes()).hexdigest()
        == "97d422bdecbb7d69897d332ffc175628430d81d89df52fc5e1e62fb4241186bb"
    )


def test_originals_that_were_unpacked_serve_as_well_also_where_torchvision_puts_them(
    folder: Path, tmp_path: Path, splits: Splits
) -> None:
    place = tmp_path / "MNIST" / "raw"
    place.mkdir(parents=True)
    for home, name in ((tmp_path, TRAIN), (place, TEST)):
        (home / name.removesuffix(".gz")).write_bytes(gzip.decompress((folder / name).read_bytes()))
    assert mnist().load(tmp_path).sha256 == splits.sha256


@pytest.mark.parametrize("name", [TRAIN, TEST])
def test_a_truncated_original_is_told_by_name_and_digest(folder: Path, tmp_path: Path, name: str) -> None:
    for original in (TRAIN, TEST):
        shutil.copyfile(folder / original, tmp_path / original)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as caught:
        mnist().load(tmp_path)
    found, expected = (hashlib.sha256(content).hexdigest() for content in (whole[: len(whole) // 2], whole))
    assert str(caught.value).startswith(
        f"{tmp_path / name} is truncated or altered: its SHA-256 is {found}, expected {expected}; delete it"
    )


# ---------------------------------------------------------------- downloads, with stand-ins for the files


@pytest.fixture
def stand_ins(mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Files of MNIST's format and size without digits, expected from two mirrors on this machine."""
    files = {}
    for name, count, value in ((TRAIN, 60_000, 3), (TEST, 10_000, 5)):
        header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28))
        files[name] = gzip.compress(header + bytes([value]) * (count * 784), compresslevel=1)
    module = sys.modules[type(mnist()).__module__]
    monkeypatch.setattr(module, "FILES", {name: hashlib.sha256(body).hexdigest() for name, body in files.items()})
    monkeypatch.setattr(module, "MIRRORS", [mirror.url for mirror in mirrors])
    return files


def test_mnist_is_downloaded_from_whichever_mirror_has_it(
    tmp_path: Path, mirrors: Mirrors, stand_ins: dict[str, bytes]
) -> None:
    first, second = mirrors
    first.files = {TRAIN: stand_ins[TRAIN], TEST: stand_ins[TEST][:-100]}
    second.files = stand_ins
    splits = mnist().load(tmp_path)
    assert (splits.train == 3).all()
    assert (splits.test == 5).all()
    assert (first.asked, second.asked) == ([TRAIN, TEST], [TEST])
    for mirror in mirrors:
        mirror.close()
    assert mnist().load(tmp_path).sha256 == splits.sha256, "the second time needs no network"


def test_without_a_network_both_files_are_named(tmp_path: Path, mirrors: Mirrors, stand_ins: dict[str, bytes]) -> None:
    for mirror in mirrors:
        mirror.close()
    with pytest.raises(DataError) as caught:
        mnist().load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"cannot download {TRAIN} (")
    assert message.count("no connection") == 2
    assert "--data-dir" in message
    for name, body in stand_ins.items():
        assert f"{name} (SHA-256 {hashlib.sha256(body).hexdigest()})" in message


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^the data folder .*/elsewhere does not exist; create it"):
        mnist().load(tmp_path / "elsewhere")


def test_a_validation_split_has_bounds() -> None:
    with pytest.raises(UserError, match=r"^test: dataset\.mnist\.validation = -1 is not allowed; .*at least 0"):
        mnist(validation=-1)
