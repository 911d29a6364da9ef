"""Arrays of the user's own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench.data import Dataset, binarise, flaws, split
from bench.data.arrays import WHITE, misfit, unpack
from bench.protocol import DataError, Noise, Splits

if TYPE_CHECKING:
    from torch import Tensor


class Arrays(Dataset):
    """Arrays of your own, given in Python: `bench.dataset("arrays", train=X, test=Y, likelihood="bernoulli")`.

    With a Bernoulli likelihood they are `uint8` images, `(N, ...)`, whose brightness k/255 is the probability of a one;
    with a Gaussian likelihood `float32` items of any shape. They lie in the run store, in a file that is known by its
    SHA-256, and that is part of a cell's id.
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True
    unit: ClassVar[Literal["nats", "bits/dim"]] = "nats"
    kept_in_store: ClassVar[bool] = True

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file that holds the arrays")
    likelihood: Literal["bernoulli", "gaussian"] = Field("bernoulli", description="the decoder's p(x|z)")  # type: ignore[misc]

    def load(self, folder: Path) -> Splits:
        """Return the arrays in `folder/<sha256>.npz`.

        Raises:
            DataError: the file is missing, or is not the one with that digest.
        """
        path = folder / f"{self.sha256}.npz"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"the arrays {path} cannot be read ({error.strerror}); give them to `bench.run` again"
            ) from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise DataError(f"{path} is cut short or altered; delete it, and give the arrays to `bench.run` again")
        return split(*unpack(content))

    def flaw(self, splits: Splits) -> str | None:
        """Refuse also images that are not of 0 .. 255."""
        return misfit(flaws.parts(splits), self.likelihood) or super().flaw(splits)

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Return `(B, D)` float32: Bernoulli draws of images, or the items as they are."""
        return binarise(x, WHITE, noise) if self.likelihood == "bernoulli" else x.flatten(1)
