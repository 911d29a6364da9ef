"""Arrays of a user's own as one file, equal where they are."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.data import flaws
from bench.protocol import DataError, UserError

if TYPE_CHECKING:
    import numpy as np

TYPES = {"bernoulli": "uint8", "gaussian": "float32"}
WHITE = 255  # of an image whose brightness is a probability
_DATE = (1980, 1, 1, 0, 0, 0)  # of every member: the file depends on the arrays alone


def pack(train: Any, test: Any, likelihood: str, validation: int = 0) -> bytes:
    """Return the file of `train` `(N, ...)` and `test` `(M, ...)`, the same bytes for the same arrays.

    Args:
        train: items to train on; the last `validation` of them are kept from training.
        test: items to score, at least 2.
        likelihood: `bernoulli` for uint8 images, `gaussian` for float32 items.
        validation: how many.

    Raises:
        UserError: the arrays are none that could be trained on.
    """
    import numpy as np

    if likelihood not in TYPES:
        raise UserError(f"likelihood = {likelihood!r} is not allowed; it must be one of {', '.join(TYPES)}")
    arrays = {"train": train, "test": test}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype != TYPES[likelihood]:
            what = f"{array.dtype}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
            raise UserError(f"{name} is {what}; a {likelihood} likelihood takes a numpy array of {TYPES[likelihood]}")
        if array.ndim < 2 or 0 in array.shape[1:]:
            raise UserError(f"{name} has the shape {array.shape}; it must be (N, ...), items of one or more numbers")
        if array.shape[1:] != train.shape[1:]:
            raise UserError(f"test has items of shape {test.shape[1:]}, and train of {train.shape[1:]}")
        if not np.isfinite(array).all():
            raise UserError(f"{name} holds numbers that are not finite")
    if reason := misfit(arrays, likelihood):
        raise UserError(reason)
    if len(test) < 2:
        raise UserError(f"test holds {len(test)} items; it must hold at least 2")
    if type(validation) is not int or not 0 <= validation < len(train):
        raise UserError(
            f"validation = {validation!r} cannot be taken from {len(train):,} training items; "
            f"0 to {max(len(train) - 1, 0):,} are allowed"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, array in {**arrays, "validation": np.array(validation, np.int64)}.items():
            member = io.BytesIO()
            plain = np.ascontiguousarray(array).reshape(array.shape)
            np.lib.format.write_array(member, plain.astype(plain.dtype.newbyteorder("<")), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy", _DATE), member.getvalue())
    return buffer.getvalue()


def misfit(arrays: Mapping[str, np.ndarray], likelihood: str) -> str | None:
    """Return which images are not of 0 .. 255, which a Bernoulli likelihood takes, in words, or None."""
    scales = (flaws.other_scale(name, array, WHITE) for name, array in arrays.items() if likelihood == "bernoulli")
    return next(filter(None, scales), None)


def unpack(content: bytes) -> tuple[np.ndarray, np.ndarray, int]:
    """Return train, test and the number of validation items of what `pack` gave.

    Raises:
        DataError: it is none.
    """
    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return arrays["train"], arrays["test"], int(arrays["validation"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"these are no arrays that bench has written ({error})") from error
