"""CIFAR-10 and its subset: the right bytes or a clear sentence, and an exact way into logit space."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import math
import os
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from bench.data import cifar
from bench.plugins import Registry, build
from bench.protocol import DataError, Splits
from bench.streams import stream

if TYPE_CHECKING:
    from tests.conftest import Mirror

    Mirrors = tuple[Mirror, Mirror]

TRAIN, TEST = cifar.SUBSET
ARCHIVE = "cifar-10-binary.tar.gz"


def plugin(name: str, **options: Any) -> Any:
    return build(Registry().find("dataset", name), options, "test")


# ---------------------------------------------------------------- the real subset


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the subset's two files."""
    place = os.environ.get("BENCH_DATA")
    if not place:
        pytest.skip("BENCH_DATA names no folder with the subset of CIFAR-10")
    if not all((Path(place) / name).is_file() for name in (TRAIN, TEST)):
        pytest.skip(f"BENCH_DATA={place} does not hold the subset of CIFAR-10")
    return Path(place)


@pytest.fixture(scope="module")
def splits(folder: Path) -> Splits:
    loaded: Splits = plugin("cifar10-subset").load(folder)
    return loaded


def test_the_subset_is_8068_training_and_1017_test_images(splits: Splits) -> None:
    assert splits.train.shape == (8068, 3, 32, 32)
    assert splits.validation.shape == (0, 3, 32, 32)
    assert splits.test.shape == (1017, 3, 32, 32)
    assert splits.train.dtype == splits.test.dtype == np.uint8
    # the mean of each colour over all of CIFAR-10, within 4 standard errors: an image's mean deviates by about .12
    means = splits.train.mean((0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=4 * 0.12 / 8068**0.5)


def test_the_subset_is_known(splits: Splits) -> None:
    """Records carry this digest: it must not change while the version is 1."""
    assert plugin("cifar10-subset").version == "1"
    assert splits.sha256 == "2c5873152029ef26436b0a96c6fd797752e54391fca393ec1bc62904a13654ff"


def test_validation_is_kept_from_training(folder: Path, splits: Splits) -> None:
    held_out = plugin("cifar10-subset", validation=68).load(folder)
    assert np.array_equal(held_out.train, splits.train[:8000])
    assert np.array_equal(held_out.validation, splits.train[8000:])


def test_dequantisation_stays_within_a_level(splits: Splits) -> None:
    dataset, stored = plugin("cifar10-subset"), torch.from_numpy(splits.test)
    fixed = dataset.fixed(stored)
    assert torch.equal(fixed, dataset.fixed(stored))
    v = 256 * dataset.brightness(fixed.double()) - stored.flatten(1)
    # float32 has 24 bits, of which logit and sigmoid lose a few
    assert float(v.min()) > -1e-3
    assert float(v.max()) < 1 + 1e-3
    n = v.numel()
    assert float(v.mean()) == pytest.approx(0.5, abs=5 * (1 / 12 / n) ** 0.5 + 1e-5)
    fresh = (dataset.prepare(stored, stream(0, "binarise", step)) for step in (0, 1))
    assert not torch.equal(*fresh)


def test_an_altered_file_of_the_subset_is_told(folder: Path, tmp_path: Path) -> None:
    for name in (TRAIN, TEST):
        shutil.copyfile(folder / name, tmp_path / name)
    content = lzma.decompress((tmp_path / TEST).read_bytes())
    (tmp_path / TEST).write_bytes(lzma.compress(content[:-1] + bytes([content[-1] ^ 1]), preset=0))
    with pytest.raises(DataError, match=rf"^{tmp_path / TEST} is altered: its SHA-256 is \w+, expected 6bd2851a"):
        plugin("cifar10-subset").load(tmp_path)
    (tmp_path / TEST).write_bytes((folder / TEST).read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"^{tmp_path / TEST} is not a whole xz file \("):
        plugin("cifar10-subset").load(tmp_path)
    (tmp_path / TEST).unlink()
    with pytest.raises(DataError, match=rf"^{tmp_path} lacks {TEST}; the two files .* belong together$"):
        plugin("cifar10-subset").load(tmp_path)


# ---------------------------------------------------------------- the whole, with stand-ins for its files


@pytest.fixture(scope="module")
def batches() -> dict[str, bytes]:
    """Files of the whole data set's format and size: an image's bytes say its place in its file, and the file."""
    made = {}
    for number, name in enumerate(cifar.BATCHES):
        records = np.zeros((cifar.COUNT, cifar.RECORD), np.uint8)
        places = np.arange(cifar.COUNT)
        records[:, 0] = places % 10
        records[:, 1], records[:, 2], records[:, 3] = places // 256, places % 256, number
        records[:, -1] = 7
        made[name] = records.tobytes()
    return made


@pytest.fixture(scope="module")
def archive(batches: dict[str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in [("readme.html", b"<html>"), *batches.items()]:
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), compresslevel=1)


@pytest.fixture
def expected(
    batches: dict[str, bytes], archive: bytes, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> dict[str, bytes]:
    """The stand-ins are what is expected, from two mirrors on this machine."""
    monkeypatch.setattr(cifar, "BATCHES", {name: hashlib.sha256(body).hexdigest() for name, body in batches.items()})
    monkeypatch.setattr(cifar, "ARCHIVE", {ARCHIVE: hashlib.sha256(archive).hexdigest()})
    monkeypatch.setattr(cifar, "MIRRORS", [mirror.url for mirror in mirrors])
    return batches


def places(images: np.ndarray) -> list[int]:
    """Return the place in the whole data set that each stand-in's bytes say."""
    first = images.reshape(len(images), -1)[:, :3].astype(int)
    found: list[int] = (first[:, 0] * 256 + first[:, 1] + cifar.COUNT * first[:, 2]).tolist()
    return found


def test_the_archive_is_downloaded_verified_and_read(
    tmp_path: Path, mirrors: Mirrors, archive: bytes, expected: dict[str, bytes]
) -> None:
    first, second = mirrors
    first.files, second.files = {ARCHIVE: archive[:-5]}, {ARCHIVE: archive}
    splits = plugin("cifar10").load(tmp_path)
    assert places(splits.train) == list(range(50_000))
    assert places(splits.test) == list(range(50_000, 60_000))
    assert splits.train.shape[1:] == (3, 32, 32)
    assert set(splits.train[:, 2, 31, 31].tolist()) == {7}
    assert (first.asked, second.asked) == ([ARCHIVE], [ARCHIVE])
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [ARCHIVE]
    for mirror in mirrors:
        mirror.close()
    kept = plugin("cifar10", validation=10_000).load(tmp_path)
    assert places(kept.validation) == list(range(40_000, 50_000))


@pytest.mark.parametrize("inside", [".", cifar.FOLDER])
def test_unpacked_files_are_read_and_the_subset_is_taken_from_them(
    tmp_path: Path, expected: dict[str, bytes], inside: str
) -> None:
    place = tmp_path / inside
    place.mkdir(exist_ok=True)
    for name, content in expected.items():
        (place / name).write_bytes(content)
    splits = plugin("cifar10-subset").load(tmp_path)
    ranges = [(0, 3999), (10000, 11016), (20000, 21016), (30000, 31016), (40000, 41016)]
    assert places(splits.train) == [index for first, last in ranges for index in range(first, last + 1)]
    assert places(splits.test) == list(range(50_000, 51_017))

    altered = expected["data_batch_3.bin"][:-1] + b"\0"
    (place / "data_batch_3.bin").write_bytes(altered)
    with pytest.raises(DataError) as caught:
        plugin("cifar10").load(tmp_path)
    assert str(caught.value) == (
        f"{place / 'data_batch_3.bin'} is altered: its SHA-256 is {hashlib.sha256(altered).hexdigest()}, expected "
        f"{cifar.BATCHES['data_batch_3.bin']}; put the right file in its place"
    )
    (place / "data_batch_3.bin").unlink()
    with pytest.raises(
        DataError, match=r"lacks data_batch_3.bin of CIFAR-10's binary version; put the binary version,"
    ):
        plugin("cifar10").load(tmp_path)


def test_the_python_version_is_refused_before_it_is_opened(tmp_path: Path, expected: dict[str, bytes]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (tmp_path / "cifar-10-batches-py").mkdir()
    trap = pickle.dumps({b"data": Trap()}, protocol=2)
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(trap)
    for place in (tmp_path, tmp_path / "cifar-10-batches-py"):
        with pytest.raises(DataError) as caught:
            plugin("cifar10").load(place)
        message = str(caught.value)
        assert "is CIFAR-10's Python version, whose pickles run code when they are loaded and are never read" in message
        assert f"put the binary version, {ARCHIVE} (SHA-256 " in message
    for name in cifar.BATCHES:
        (tmp_path / name).write_bytes(trap)
    with pytest.raises(DataError, match=r"data_batch_1.bin is a pickle, of CIFAR-10's Python version, which runs code"):
        plugin("cifar10").load(tmp_path)
    assert not (tmp_path / "sprung").exists()


# ---------------------------------------------------------------- records


def records(count: int) -> bytes:
    made = np.random.default_rng(0).integers(0, 256, (count, cifar.RECORD), dtype=np.uint8)
    made[:, 0] %= 10
    return made.tobytes()


def test_a_record_is_a_label_and_three_planes() -> None:
    content = records(4)
    found = cifar.images(content, 4, "file")
    assert found[2, 1, 5, 3] == content[2 * 3073 + 1 + 1024 + 5 * 32 + 3]
    found[0] = 0  # it may be written to


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (records(4)[:-1], "file ends within record 3: it holds 12,291 bytes, expected 12,292 (4 records of 3,073)"),
        (records(3), "file holds 9,219 bytes, expected 12,292 (4 records of 3,073)"),
        (records(5), "file holds 15,365 bytes, expected 12,292 (4 records of 3,073)"),
        (records(4) + b"x", "file holds 12,293 bytes, expected 12,292 (4 records of 3,073)"),
        (b"", "file holds 0 bytes, expected 12,292 (4 records of 3,073)"),
        (
            records(4)[:3073] + b"\x0a" + records(4)[3074:],
            "file has the label 10 in record 1; 0 to 9 are allowed: these are no CIFAR-10 records",
        ),
    ],
)
def test_records_of_another_size_or_with_other_labels_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        cifar.images(content, 4, "file")
    assert str(caught.value) == message


# ---------------------------------------------------------------- the change of variables


def test_the_change_of_variables_is_that_of_a_numerical_jacobian() -> None:
    """dv/dy by central differences in float64, of the inverse that `brightness` is."""
    dataset = plugin("cifar10")
    y = 5.8 * (torch.rand(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5)
    h = 1e-5
    slopes = 256 * (dataset.brightness(y + h) - dataset.brightness(y - h)) / (2 * h)
    torch.testing.assert_close(dataset.log_jacobian(y), -slopes.log().sum(1), rtol=0, atol=1e-7)


def test_the_way_into_logit_space_has_that_jacobian_too() -> None:
    """dy/dv by automatic differentiation through `prepare`, of which v = k + u is a part."""
    dataset, x = plugin("cifar10"), torch.randint(256, (3, 5), generator=torch.Generator().manual_seed(0))
    v = x.double().requires_grad_()

    class Half:
        device = "cpu"

        def uniform(self, *shape: int) -> torch.Tensor:
            return torch.full(shape, 0.5, dtype=torch.float64)

    y = dataset.prepare(v, Half())
    (slopes,) = torch.autograd.grad(y.sum(), v)
    torch.testing.assert_close(dataset.log_jacobian(y.detach()), slopes.log().sum(1))


def test_black_and_white_have_finite_ends() -> None:
    dataset = plugin("cifar10")
    ends = dataset.prepare(torch.tensor([[0, 255]], dtype=torch.uint8).expand(1000, 2), stream(0, "check"))
    assert float(ends.abs().max()) <= math.log(0.95 / 0.05) + 1e-5
