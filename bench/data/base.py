"""The base classes of data sets, splits and binarisation.

Importing this module imports no torch, so that a list of data sets is quick.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.data import flaws
from bench.protocol import Items, Likelihood, Networks, Noise, Settings, Splits, Unit, UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["Binarised", "Dataset", "binarise", "split"]


# ---------------------------------------------------------------- the base classes of data sets


class Dataset(Settings):
    """A data set: a settings model of its options that loads splits and prepares batches.

    A plugin extends this class, declares its options as fields, sets `version`, `likelihood` and `unit`, and writes
    `load` and `prepare`. `name` is set by the registry, from the plugin's file.

    Attributes:
        name: what grids and records call the data set.
        version: changed whenever the stored arrays, or what `prepare` makes of them, change.
        likelihood: the decoder's p(x|z): a word, or a class of its own (a static method may import it, and torch).
        unit: the unit in which its likelihoods are published.
        capturable: whether `prepare` and the likelihood do nothing in a step of training but on the device
            (`bench.strategy.Strategy.capturable`). It counts for the very class that says so.
        kept_in_store: its arrays are those of a run store, in a folder there, and `load` gets that folder.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    likelihood: ClassVar[Likelihood]
    unit: ClassVar[Unit]
    capturable: ClassVar[bool] = False
    kept_in_store: ClassVar[bool] = False

    def refuses(self, networks: Networks) -> str | None:
        """Return why `networks` cannot do these items, in words that name the key and what is allowed, or None."""
        return None

    def holds(self) -> Items | None:
        """Return what `load` will give, from the options alone; None where that is not known before.

        With it a dry run can say whether networks, budget and scoring suit the data, and nothing has to be loaded.
        """
        return None

    def flaw(self, splits: Splits) -> str | None:
        """Return why what `load` gave cannot be what this data set says it is, in words, or None.

        Numbers that are not finite and items that are (almost) all equal once prepared are refused. Where that is no
        fault of the data, override this.
        """
        return flaws.not_finite(splits) or flaws.sameness(splits, self.prepare)

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

    likelihood: ClassVar[Likelihood] = "bernoulli"
    unit: ClassVar[Unit] = "nats"
    white: ClassVar[int] = 255

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Draw Bernoulli(x / white) pixels, `(B, D)` float of 0 and 1, from stored images `(B, ...)`."""
        return binarise(x, self.white, noise)

    def flaw(self, splits: Splits) -> str | None:
        """Refuse also pixels that are no shares of `white`."""
        otherwise = ", or declare another white"
        scales = (flaws.other_scale(name, array, self.white, otherwise) for name, array in flaws.parts(splits).items())
        return flaws.not_finite(splits) or next(filter(None, scales), None) or super().flaw(splits)


def binarise(x: Tensor, white: int, noise: Noise) -> Tensor:
    """Draw Bernoulli(x / white) for every stored pixel (dynamic binarisation).

    Args:
        x: stored images, `(B, ...)` uint8 of 0 .. white, on the device of `noise`.
        white: the value that is always 1.
        noise: one full `(B, D)` uniform tensor is drawn from it.

    Returns:
        `(B, D)` float32 of 0 and 1.
    """
    import torch

    flat = x.flatten(1)
    draws = noise.uniform(*flat.shape)
    # a uniform draw lies in [0, 1): 0 is never white and `white` always
    return torch.lt(draws, flat.float() / white, out=draws)


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
