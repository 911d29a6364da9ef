"""Data sets, what they load, and the noise they draw from."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from bench.protocol.networks import Networks

#: whether `bench.data.fetch` may download; it may not while something is only measured
MAY_DOWNLOAD: ContextVar[bool] = ContextVar("may_download", default=True)


@dataclass(frozen=True)
class Items:
    """How many items a data set has, and of what shape: what networks, budget and scoring must suit.

    Attributes:
        shape: of an item as it is stored.
        train, test, validation: how many there are in each split.
    """

    shape: tuple[int, ...]
    train: int
    test: int
    validation: int = 0

    def __str__(self) -> str:
        """Return `1,500 train, 0 validation and 297 test items of 8x8`."""
        shape = "x".join(map(str, self.shape))
        return f"{self.train:,} train, {self.validation:,} validation and {self.test:,} test items of {shape}"


@dataclass(frozen=True)
class Splits:
    """A data set's arrays as stored: `uint8` images or `float32` points, first axis the item.

    `sha256` is the digest of the training, validation and test arrays, in that order.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    sha256: str

    @property
    def items(self) -> Items:
        """How many there are, and of what shape."""
        return Items(tuple(self.train.shape[1:]), len(self.train), len(self.test), len(self.validation))


class Noise(Protocol):
    """A stream of random tensors, on one device, that depends on its seed alone. Shapes are always full."""

    device: Any

    def normal(self, *shape: int) -> Tensor:
        """Return independent N(0, 1) draws."""

    def uniform(self, *shape: int) -> Tensor:
        """Return independent U[0, 1) draws."""

    def rademacher(self, *shape: int) -> Tensor:
        """Return independent draws of -1 or +1."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return independent integers of 0 .. high - 1 (int64)."""

    def permutation(self, n: int) -> Tensor:
        """Return 0 .. n - 1 in random order (int64)."""


LikelihoodName = Literal["bernoulli", "gaussian", "laplace"]


class LikelihoodClass(Protocol):
    """What builds a likelihood: a class that extends `bench.vae.Likelihood`, or a static method that returns one."""

    def __call__(self) -> nn.Module:
        """Return a fresh likelihood."""


Likelihood = LikelihoodName | LikelihoodClass
Unit = Literal["nats", "bits/dim"]


class Dataset(Protocol):
    """A data set plugin: a settings model of its options that loads splits and prepares batches."""

    name: ClassVar[str]
    version: ClassVar[str]
    likelihood: ClassVar[Likelihood]
    unit: ClassVar[Unit]

    def refuses(self, networks: Networks) -> str | None:
        """Return why `networks` cannot do these items, in words that name the key and what is allowed, or None."""

    def holds(self) -> Items | None:
        """Return what `load` will give, from the options alone; None where that is not known before."""

    def flaw(self, splits: Splits) -> str | None:
        """Return why what `load` gave cannot be what this data set says it is, in words, or None."""

    def load(self, folder: Path) -> Splits:
        """Return the splits, from `folder` or downloaded into it and verified.

        Raises:
            DataError: they cannot be had; the message says what to do.
        """

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Turn stored items `(B, ...)` into what the likelihood scores, `(B, D)` float, drawing from `noise`."""

    def fixed(self, x: Tensor) -> Tensor:
        """Prepare test items `(N, ...)` the same way in every cell: with noise keyed to the data set alone."""


@runtime_checkable
class Pixels(Protocol):
    """A data set of dequantised images that knows its change of variables, and is scored in bits per dimension."""

    def log_jacobian(self, x: Tensor) -> Tensor:
        """Return log |det dx/dv|, `(N,)` float64, nats, at prepared x `(N, D)`; a pixel is v in 0 .. 256."""

    def brightness(self, x: Tensor) -> Tensor:
        """Return the brightness, 0 .. 1, of prepared pixels of any shape."""


MOST_LATENTS = 2  # dimensions of z in which a model's density is had by quadrature, to be compared with a known one


@runtime_checkable
class KnownDensity(Protocol):
    """A data set of points in the plane with an exact density.

    `window` is half the side of the square around 0 that pictures show.
    """

    window: ClassVar[float]

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x), `(N,)`, nats, for prepared x `(N, 2)`."""
