"""Named arrays in one file, which `np.load` reads as well, at half the pace."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from bench.files import MOST

_SHRINKS = 0.8  # of its size is what a compressed array has to come to


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return what the file holds: the same for the same arrays.

    Compressed is what shrinks by it. Scores of single items hardly do, and take longer to unpack than all else.

    Raises:
        ValueError: an array is of Python's objects.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in arrays.items():
            own = io.BytesIO()
            np.lib.format.write_array(own, np.asanyarray(array), allow_pickle=False)
            content, info = own.getvalue(), zipfile.ZipInfo(f"{name}.npy")  # of no date
            if len(zlib.compress(content)) < _SHRINKS * len(content):
                info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return buffer.getvalue()


class Npz:
    """The arrays in a file.

    Attributes:
        files: their names, in order.

    Raises:
        zipfile.BadZipFile: it is no such file.
    """

    def __init__(self, content: bytes) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        self.files = [name.removesuffix(".npy") for name in self._archive.namelist()]

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an array.

        Raises:
            ValueError: it is none, is too large, or is of Python's objects.
        """
        info = self._archive.getinfo(f"{name}.npy")
        if info.file_size > MOST:
            raise ValueError("it is too large")
        with self._archive.open(info) as file:
            content = file.read(info.file_size)  # a file may say that it holds less than it does
        start = 10 + int.from_bytes(content[8:10], "little")
        if not content.startswith(b"\x93NUMPY\x01\x00"):  # later versions are of headers that numpy refuses, too
            raise ValueError("it is no array")
        shape, turned, kind = _header(content[:start])
        if kind.hasobject:
            raise ValueError("it holds objects of Python")
        return np.frombuffer(content, kind, offset=start).reshape(shape, order="F" if turned else "C")


@lru_cache(maxsize=256)
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether columns come first, and type; thousands of arrays have the same."""
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = np.lib.format.read_array_header_1_0(io.BytesIO(content[8:]))
    return header
