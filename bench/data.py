"""What data-set plugins share: the base class, verified downloads, the idx format, splits and binarisation.

Importing this module imports no torch, so that a list of data sets is quick.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import sys
import zlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.protocol import DataError, Networks, Noise, Settings, Splits, UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["Binarised", "Dataset", "binarise", "fetch", "read_idx", "split"]


# ---------------------------------------------------------------- the base classes of data sets


class Dataset(Settings):
    """A data set: a settings model of its options that loads splits and prepares batches.

    A plugin extends this class, declares its options as fields, sets `version`, `likelihood` and `unit`, and writes
    `load` and `prepare`. `name` is set by the registry, from the plugin's file.

    Attributes:
        name: what grids and records call the data set.
        version: changed whenever the stored arrays, or what `prepare` makes of them, change.
        likelihood: the decoder's p(x|z).
        unit: the unit in which its likelihoods are published.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    likelihood: ClassVar[Literal["bernoulli", "gaussian", "laplace"]]
    unit: ClassVar[Literal["nats", "bits/dim"]]

    def refuses(self, networks: Networks) -> str | None:
        """Return why `networks` cannot do these items, in words that name the key and what is allowed, or None."""
        return None

    @abstractmethod
    def load(self, folder: Path) -> Splits:
        """Return the splits, from `folder` or downloaded into it and verified.

        Raises:
            DataError: they cannot be had; the message says what to do.
        """

    @abstractmethod
    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Turn stored items `(B, ...)` into what the likelihood scores, `(B, D)` float, drawing from `noise`."""

    def fixed(self, x: Tensor) -> Tensor:
        """Prepare test items `(N, ...)` the same way in every cell, whatever its seed, strategy or device.

        The noise is keyed to the data set's name and version alone and drawn on the CPU, so that its bits are the same
        on every device; the result, `(N, D)` float, lies on the device of `x`. Scores of two cells are then paired.
        """
        from bench.streams import stream

        return self.prepare(x.cpu(), stream(0, f"fixed/{self.name}/{self.version}")).to(x.device)


class Binarised(Dataset):
    """A data set of grey images whose brightness is the probability of a white pixel.

    `white` is the stored value of a pixel that is always white.
    """

    likelihood: ClassVar[Literal["bernoulli", "gaussian", "laplace"]] = "bernoulli"
    unit: ClassVar[Literal["nats", "bits/dim"]] = "nats"
    white: ClassVar[int] = 255

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Draw Bernoulli(x / white) pixels, `(B, D)` float of 0 and 1, from stored images `(B, ...)`."""
        return binarise(x, self.white, noise)


def binarise(x: Tensor, white: int, noise: Noise) -> Tensor:
    """Draw Bernoulli(x / white) for every stored pixel (dynamic binarisation).

    Args:
        x: stored images, `(B, ...)` uint8 of 0 .. white, on the device of `noise`.
        white: the value that is always 1.
        noise: one full `(B, D)` uniform tensor is drawn from it.

    Returns:
        `(B, D)` float32 of 0 and 1.
    """
    flat = x.flatten(1)
    # a uniform draw lies in [0, 1): 0 is never white and `white` always
    return (noise.uniform(*flat.shape) < flat.float() / white).float()


# ---------------------------------------------------------------- splits


def split(train: np.ndarray, test: np.ndarray, validation: int = 0) -> Splits:
    """Return `Splits` whose validation split is the last `validation` items of `train`. Nothing is copied.

    The digest covers each array's type, shape and bytes: another validation split is another digest.

    Raises:
        UserError: `validation` leaves nothing to train on.
    """
    import numpy as np

    if not 0 <= validation < len(train):
        raise UserError(
            f"validation = {validation} cannot be taken from {len(train):,} training items; "
            f"0 to {len(train) - 1:,} are allowed"
        )
    kept = len(train) - validation
    arrays = (train[:kept], train[kept:], test)
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        if array.size:
            digest.update(np.ascontiguousarray(array).data.cast("B"))
    return Splits(*arrays, sha256=digest.hexdigest())


# ---------------------------------------------------------------- files


def fetch(folder: Path, files: Mapping[str, str], mirrors: Sequence[str]) -> list[Path]:
    """Return the paths of `files` in `folder`; those that are not there are downloaded.

    A file that is there is used only if its digest is right, and is never overwritten: a wrong one may be the user's,
    so it is an error that says how to have it downloaded again. A download lies in a folder `.download` until its
    digest has been verified and is then renamed, so that half a file never passes for a whole one. Processes that want
    the same folder wait for each other.

    Args:
        folder: where the files lie; it exists.
        files: SHA-256 of each file, by name.
        mirrors: addresses of folders, tried in this order.

    Raises:
        DataError: the folder is missing, a file in it is wrong or unreadable, or no mirror has a right one.
    """
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(
            f"the data folder {folder} {reason}; create it to have the data downloaded into it, or correct --data-dir"
        )
    paths = [folder / name for name in files]
    there = [_right(path, files[path.name]) for path in paths]  # all of them: a wrong file is told before any download
    if all(there):
        return paths
    import filelock

    lock = folder / ".download.lock"
    try:
        lock.touch()  # filelock may wait for ever where it cannot write; this says so at once
        with filelock.FileLock(lock):
            for path in paths:
                if not _right(path, files[path.name]):
                    _download(path, files, mirrors)
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise DataError(f"cannot download into {folder} ({_reason(error)}); {_by_hand(files)}") from error
    return paths


def _right(path: Path, sha256: str) -> bool:
    """Return whether `path` is there with this digest.

    Raises:
        DataError: it is there, but wrong.
    """
    import pooch

    if not path.exists():
        return False
    try:
        found = pooch.file_hash(str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({_reason(error)})") from error
    if found != sha256:
        raise DataError(
            f"{path} is truncated or altered: its SHA-256 is {found}, expected {sha256}; "
            "delete it to have it downloaded again, or put the right file in its place"
        )
    return True


def _download(path: Path, files: Mapping[str, str], mirrors: Sequence[str]) -> None:
    """Download `path` from the first mirror that has it right. The caller holds the folder's lock."""
    import pooch
    import requests

    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=1 << 16,
        # a server that sends a .gz as an encoding would have it unpacked on the way, with another digest
        headers={"Accept-Encoding": "identity"},
    )
    unfinished = path.parent / ".download"
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
    failures = []
    try:
        for mirror in mirrors:
            url = f"{mirror.rstrip('/')}/{path.name}"
            try:
                pooch.retrieve(url, f"sha256:{files[path.name]}", path.name, unfinished, downloader=downloader)
            except requests.RequestException as error:
                failures.append(f"{url}: {_network_reason(error)}")
            except ValueError:  # pooch's word for another digest
                failures.append(f"{url}: not the expected file")
            else:
                downloaded = unfinished / path.name
                downloaded.chmod(0o644)  # pooch leaves it to its owner alone; data folders are shared
                downloaded.replace(path)
                return
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    raise DataError(f"cannot download {path.name} ({'; '.join(failures)}); {_by_hand(files)}")


def _network_reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return _reason(error)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _by_hand(files: Mapping[str, str]) -> str:
    listing = ", ".join(f"{name} (SHA-256 {sha256})" for name, sha256 in files.items())
    return f"fetch these files on a machine that can, and name their folder with --data-dir: {listing}"


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array in a gzipped idx file of unsigned bytes (the format of MNIST).

    The file is two zero bytes, the type (8: unsigned byte), the number of axes, each axis' length as a big-endian
    32-bit integer, then the items. Nothing larger than the array is made.

    Args:
        path: the file.
        shape: the shape that the file must declare.

    Raises:
        DataError: the file is truncated, too long, no idx file, or declares another type or shape.
    """
    import numpy as np

    try:
        with gzip.open(path) as file:
            header = file.read(4 + 4 * len(shape))
            magic = bytes([0, 0, 8, len(shape)])
            if header[:4] != magic:
                raise DataError(f"{path} starts with {header[:4].hex(' ')}, expected {magic.hex(' ')} (idx, bytes)")
            declared = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4))
            if declared != shape:  # checked before memory is taken for it
                raise DataError(f"{path} declares the shape {declared}, expected {shape}")
            array = np.empty(shape, np.uint8)
            view = array.data.cast("B")
            filled = 0
            while read := file.readinto(view[filled : filled + (1 << 20)]):
                filled += read
            if filled < len(view):
                raise DataError(f"{path} is truncated: it holds {filled:,} of {len(view):,} bytes")
            if file.read(1):
                raise DataError(f"{path} is too long: it goes on after {len(view):,} bytes")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({_reason(error)})") from error
    return array
