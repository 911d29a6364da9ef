"""The files of CIFAR-10's binary version, the whole and a subset of it, verified.

The Python version is never read: it is made of pickles, and a pickle runs code when it is loaded. Importing this module
imports no torch, so that a list of data sets is quick.
"""

from __future__ import annotations

import hashlib
import lzma
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import fetch
from bench.data.downloads import reason
from bench.protocol import DataError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["images", "subset", "whole"]

MIRRORS = ("https://www.cs.toronto.edu/~kriz", "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10")
ARCHIVE = {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"}
FOLDER = "cifar-10-batches-bin"  # what lies in the archive
BATCHES = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
PYTHON = ("cifar-10-python.tar.gz", "cifar-10-batches-py", "data_batch_1")  # the version of pickles

CLASSES, SHAPE = 10, (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # a label, then the planes R, G, B
COUNT = 10_000  # records of a file

SUBSET = {
    "cifar10-subset-train.bin.xz": "2bcfe54bcfadc996b3af31c28a550069be6bd71be4a812c08956ec94ede328b2",
    "cifar10-subset-test.bin.xz": "6bd2851a3cc74f0167948818316f61499012337587d0a38bd1f235c10dfbe232",
}
TRAIN_RANGES = ((0, 4000), (10_000, 11_017), (20_000, 21_017), (30_000, 31_017), (40_000, 41_017))
TEST_RANGE = (0, 1017)


def whole(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return CIFAR-10's 50,000 training and 10,000 test images, `(N, 3, 32, 32)` uint8.

    They are read from the unpacked files in `folder` or `folder/cifar-10-batches-bin`, else from the archive in
    `folder`, which is downloaded where it is missing. Nothing is unpacked on the disk.

    Raises:
        DataError: they cannot be had; the message says what to do.
    """
    import numpy as np

    place = _unpacked(folder)
    if place is None:
        _refuse_pickles(folder)
        (archive,) = fetch(folder, ARCHIVE, MIRRORS)
        contents = _members(archive)
        where = f"{archive}: "
    else:
        contents = {name: _bytes(place / name) for name in BATCHES}
        where = f"{place}/"
    batches = [images(content, COUNT, f"{where}{name}") for name, content in contents.items()]
    if place is not None:  # those of the archive are as right as the archive
        for name, content in contents.items():
            _verify(place / name, content, BATCHES)
    return np.concatenate(batches[:-1]), batches[-1]


def subset(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the subset's 8,068 training and 1,017 test images, `(N, 3, 32, 32)` uint8.

    They are taken from the whole data set where `folder` has it, else from the subset's own two files; where neither is
    there, the whole is downloaded.

    Raises:
        DataError: they cannot be had; the message says what to do.
    """
    import numpy as np

    paths = [folder / name for name in SUBSET]
    has_whole = _unpacked(folder) is not None or any((folder / name).exists() for name in ARCHIVE)
    if has_whole or not any(path.exists() for path in paths):
        train, test = whole(folder)
        return np.concatenate([train[first:last] for first, last in TRAIN_RANGES]), test[slice(*TEST_RANGE)].copy()
    if missing := [path.name for path in paths if not path.exists()]:
        raise DataError(f"{folder} lacks {missing[0]}; the two files {' and '.join(SUBSET)} belong together")
    counts = (sum(last - first for first, last in TRAIN_RANGES), TEST_RANGE[1] - TEST_RANGE[0])
    parts = []
    for path, count in zip(paths, counts, strict=True):
        packed = _bytes(path)
        try:
            content = lzma.decompress(packed)
        except (lzma.LZMAError, EOFError) as error:
            raise DataError(f"{path} is not a whole xz file ({error})") from error
        parts.append(images(content, count, str(path)))
        _verify(path, packed, SUBSET)
    return parts[0], parts[1]


def images(content: bytes, count: int, where: str) -> np.ndarray:
    """Return the images of CIFAR-10 records, `(count, 3, 32, 32)` uint8; labels are checked and left out.

    Args:
        content: records of 3,073 bytes: a label 0 .. 9, then 1,024 bytes each of red, green and blue.
        count: how many records there must be.
        where: the file, for messages.

    Raises:
        DataError: it is a pickle, its size is wrong, a record is truncated, or a label is out of range.
    """
    import numpy as np

    if content[:1] == b"\x80":  # how a pickle starts; no label is so large
        raise DataError(
            f"{where} is a pickle, of CIFAR-10's Python version, which runs code when it is loaded and is never read "
            f"here; put {_binary()} in its place"
        )
    size = f"holds {len(content):,} bytes, expected {count * RECORD:,} ({count:,} records of {RECORD:,})"
    if len(content) % RECORD and len(content) < count * RECORD:
        raise DataError(f"{where} ends within record {len(content) // RECORD:,}: it {size}")
    if len(content) != count * RECORD:
        raise DataError(f"{where} {size}")
    records = np.frombuffer(content, np.uint8).reshape(count, RECORD)
    wrong = np.flatnonzero(records[:, 0] >= CLASSES)
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"{where} has the label {records[first, 0]} in record {first:,}; 0 to {CLASSES - 1} are allowed: these are "
            "no CIFAR-10 records"
        )
    return records[:, 1:].reshape(count, *SHAPE).copy()  # a copy of its own, which may be written to


def _unpacked(folder: Path) -> Path | None:
    """Return where the unpacked files are, or None.

    Raises:
        DataError: some of them are missing.
    """
    for place in (folder, folder / FOLDER):
        missing = [name for name in BATCHES if not (place / name).exists()]
        if not missing:
            return place
        if len(missing) < len(BATCHES):
            raise DataError(f"{place} lacks {', '.join(missing)} of CIFAR-10's binary version; put {_binary()} there")
    return None


def _refuse_pickles(folder: Path) -> None:
    there = [name for name in PYTHON if (folder / name).exists()]
    if there and not any((folder / name).exists() for name in ARCHIVE):
        raise DataError(
            f"{folder / there[0]} is CIFAR-10's Python version, whose pickles run code when they are loaded and are "
            f"never read here; put {_binary()} beside it, or name an empty folder with --data-dir to have that "
            "downloaded"
        )


def _binary() -> str:
    ((name, sha256),) = ARCHIVE.items()
    return f"the binary version, {name} (SHA-256 {sha256}),"


def _members(archive: Path) -> dict[str, bytes]:
    """Return the contents of the data files in the archive, in the order of `BATCHES`."""
    contents: dict[str, Any] = dict.fromkeys(BATCHES)
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                file = tar.extractfile(member) if name in contents else None
                if file is not None:
                    contents[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{archive} cannot be read ({error})") from error
    if missing := [name for name, content in contents.items() if content is None]:
        raise DataError(f"{archive} lacks {', '.join(missing)}")
    return contents


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)})") from error


def _verify(path: Path, content: bytes, expected: Mapping[str, str]) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected[path.name]:
        wrong = f"its SHA-256 is {digest}, expected {expected[path.name]}"
        raise DataError(f"{path} is altered: {wrong}; put the right file in its place")
