"""The idx format, that of MNIST's files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.downloads import reason
from bench.protocol import DataError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_idx"]


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array in an idx file of unsigned bytes (the format of MNIST), gzipped if it is called `.gz`.

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
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
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
        raise DataError(f"{path} cannot be read ({reason(error)})") from error
    return array
