"""The arrays beside records are what numpy's own reader makes of them, and no more than their file says is unpacked."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from bench.report.arrays import _Npz


def packed(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(5, dtype=np.float32), np.zeros(0), np.array(3.0), np.zeros((0, 3), np.int32), np.arange(3) > 1),
        *(np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(["text"]), np.arange(4, dtype=">f4")),
        np.zeros(2, [("field", np.float32), ("other", np.int64)]),
    ],
)
def test_an_array_is_what_numpy_reads(array: np.ndarray) -> None:
    content = packed(other=np.ones(2), own=array)
    ours, theirs = _Npz(content), np.load(io.BytesIO(content))
    assert ours.files == theirs.files == ["other", "own"]
    assert ours["own"].dtype == theirs["own"].dtype
    np.testing.assert_array_equal(ours["own"], theirs["own"])


def test_objects_of_python_are_never_unpickled() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, own=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects of Python"):
        _Npz(buffer.getvalue())["own"]


def test_no_more_is_unpacked_than_a_file_says() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("own.npy", bytes(1_000_000))
    content = buffer.getvalue().replace((1_000_000).to_bytes(4, "little"), (200).to_bytes(4, "little"))
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        _Npz(content)["own"]
