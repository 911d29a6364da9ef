"""Signs that a data set's arrays are not what it takes them for: another scale, or nothing in them to learn.

Importing this module imports no torch, so that a list of data sets is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.protocol import Noise, Splits

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["not_finite", "other_scale", "parts", "sameness"]

Prepare = Callable[["Tensor", Noise], "Tensor"]

ROUNDING = 1e-6  # relative; floats that were scaled may be off by so much
LOOKED = 256  # items that are prepared, evenly spread over a split
DRAWS = 16  # of `prepare`, where nearly all numbers are equal in the first
RARE = 0.005  # share of numbers that differ from all others; what was divided by 255 once too often has 1/255 at most
FAINT = 0.02  # chance that what differs in one draw does so in another: stars in a dark sky do, faint noise does not


def not_finite(splits: Splits) -> str | None:
    """Return which split holds numbers that are not finite, in words, or None."""
    import numpy as np

    for name, array in parts(splits).items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} holds numbers that are not finite"
    return None


def other_scale(name: str, array: np.ndarray, white: float, otherwise: str = "") -> str | None:
    """Return why stored pixels cannot be shares of `white`, in words, or None.

    They may be dark: what is refused is a value outside of 0 .. white, and images with no value above 1 where white is
    above 1, which are brightness or black and white already and would be divided again.

    Args:
        name: of the array.
        array: `(N, ...)`.
        white: the value of a pixel that is always white.
        otherwise: what else could be done about it.
    """
    if not array.size:
        return None
    low, high = float(array.min()), float(array.max())
    values, allowed = f"the pixels of {name} are {low:g} .. {high:g}", f"0 .. {white:g}"
    if low < -ROUNDING * white or high > white * (1 + ROUNDING):
        return f"{values}, and white = {white:g}; {allowed} is allowed{otherwise}"
    if 0 < high <= 1 + ROUNDING < white:
        return f"{values}, and white = {white:g}, by which they are divided; scale them to {allowed}{otherwise}"
    return None


def sameness(splits: Splits, prepare: Prepare) -> str | None:
    """Return why what is scored is no data, in words, or None: its numbers are (almost) all equal, or not finite.

    Few numbers may differ from the rest, as long as they are likely to do so in another draw of `prepare` as well.

    Args:
        splits: as stored; train and test are looked at.
        prepare: what turns stored items `(B, ...)` and noise into what is scored, `(B, D)`.
    """
    import numpy as np
    import torch

    from bench.streams import stream

    for name in ("train", "test"):
        array = parts(splits)[name]
        if not array.size:
            continue
        chosen = np.linspace(0, len(array) - 1, min(len(array), LOOKED)).astype(int)
        items = torch.from_numpy(array[chosen])
        first = prepare(items.clone(), stream(0, "flaw", 0))
        if not bool(first.isfinite().all()):
            return f"{name} holds numbers that are not finite once prepared"
        common = first.median()  # the commonest number, where nearly all are equal
        differing = _differs(first, common)
        share = float(differing.float().mean())
        if share >= RARE:
            continue
        counts = differing.float()
        for draw in range(1, DRAWS):
            counts += _differs(prepare(items.clone(), stream(0, "flaw", draw)), common).float()
        # sum p^2 / sum p over numbers that differ with probability p, without bias
        recurrence = float((counts * (counts - 1)).sum() / ((DRAWS - 1) * counts.sum().clamp(min=1)))
        if recurrence < FAINT:
            almost, rest = ("almost ", f" ({share:.2%} differ)") if share else ("", "")
            return f"the numbers of {name}, prepared, are {almost}all {float(common):g}{rest}: nothing can be learned"
    return None


def _differs(x: Tensor, common: Tensor) -> Tensor:
    differs: Tensor = (x - common).abs() > ROUNDING * common.abs()
    return differs


def parts(splits: Splits) -> dict[str, np.ndarray]:
    """Return the arrays by the names of their splits."""
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}
