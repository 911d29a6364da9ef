"""The arrays beside records are what numpy's own reader makes of them, and no more than their file says is unpacked."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from bench.sweep.npz import Npz, packed


@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(5, dtype=np.float32), np.zeros(0), np.array(3.0), np.zeros((0, 3), np.int32), np.arange(3) > 1),
        *(np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(["text"]), np.arange(4, dtype=">f4")),
        np.zeros(2, [("field", np.float32), ("other", np.int64)]),
    ],
)
def test_an_array_is_what_numpy_reads(array: np.ndarray) -> None:
    earlier = io.BytesIO()
    np.savez_compressed(earlier, allow_pickle=False, other=np.ones(2), own=array)
    for content in (packed({"other": np.ones(2), "own": array}), earlier.getvalue()):
        ours, theirs = Npz(content), np.load(io.BytesIO(content))
        assert ours.files == theirs.files == ["other", "own"]
        assert ours["own"].dtype == theirs["own"].dtype == array.dtype
        np.testing.assert_array_equal(ours["own"], array)
        np.testing.assert_array_equal(theirs["own"], array)


def test_pictures_are_compressed_and_scores_of_items_which_hardly_shrink_are_not() -> None:
    scores = np.random.default_rng(0).normal(90, 10, 10_000).astype(np.float32)
    pictures = np.zeros((64, 784), np.float32)
    content = packed({"nll": scores, "samples": pictures})
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert [info.compress_type for info in file.infolist()] == [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]
    assert scores.nbytes < len(content) < scores.nbytes + 2000


def test_the_same_arrays_make_the_same_file() -> None:
    assert packed({"nll": np.arange(3.0)}) == packed({"nll": np.arange(3.0)})


def test_objects_of_python_are_never_unpickled() -> None:
    with pytest.raises(ValueError, match=r"Object arrays"):
        packed({"own": np.array([{}], dtype=object)})
    buffer = io.BytesIO()
    np.savez(buffer, own=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects of Python"):
        Npz(buffer.getvalue())["own"]


def test_no_more_is_unpacked_than_a_file_says() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("own.npy", bytes(1_000_000))
    content = buffer.getvalue().replace((1_000_000).to_bytes(4, "little"), (200).to_bytes(4, "little"))
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        Npz(content)["own"]
