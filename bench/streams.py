"""Stateless randomness: every draw is a function of (seed, name, step), so a resumed run needs no generator state."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def key(seed: int, name: str, step: int = 0) -> int:
    """Return the low 32 bits of SHA-256(seed, name, step); torch's CPU generator ignores any higher ones."""
    digest = hashlib.sha256(f"{seed}/{name}/{step}".encode()).digest()
    return int.from_bytes(digest[-4:], "big")


class Stream:
    """A `protocol.Noise` on one device, for one (seed, name) and one step at a time; its floats are float32."""

    def __init__(self, seed: int, name: str, device: torch.device | str = "cpu") -> None:
        self.seed, self.name, self.device = seed, name, torch.device(device)
        #: what it draws from: a graph that replays draws has to know it
        self.generator = torch.Generator(self.device)
        self.at(0)

    def at(self, step: int) -> Stream:
        """Move to the start of `step`'s draws and return self."""
        self.generator.manual_seed(key(self.seed, self.name, step))
        return self

    def normal(self, *shape: int) -> Tensor:
        """Return independent N(0, 1) draws of `shape`."""
        return torch.randn(shape, generator=self.generator, device=self.device, dtype=torch.float32)

    def uniform(self, *shape: int) -> Tensor:
        """Return independent U[0, 1) draws of `shape`."""
        return torch.rand(shape, generator=self.generator, device=self.device, dtype=torch.float32)

    def rademacher(self, *shape: int) -> Tensor:
        """Return independent draws of -1 or +1 of `shape`, float."""
        bits = torch.randint(2, shape, generator=self.generator, device=self.device)
        return bits.mul_(2).sub_(1).float()

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return independent integers of 0 .. high - 1 of `shape`, int64."""
        return torch.randint(high, shape, generator=self.generator, device=self.device)

    def permutation(self, n: int) -> Tensor:
        """Return 0 .. n - 1 in random order, int64."""
        return torch.randperm(n, generator=self.generator, device=self.device)


def stream(seed: int, name: str, step: int = 0, device: torch.device | str = "cpu") -> Stream:
    """Return the stream `name` of `seed` at `step`.

    Names in use: `init`, `data`, `binarise`, `posterior`, `prior`, `evaluate`. All but `prior` are the same for every
    strategy, so that two strategies with one seed share initial networks, data order and noise: paired comparisons.
    """
    return Stream(seed, name, device).at(step)


def seed_globals(seed: int, name: str, step: int = 0) -> None:
    """Seed the global generators of torch, numpy and Python, so that a library's own draws resume too."""
    value = key(seed, name, step)
    # `torch.manual_seed` formats stack traces on a machine without a GPU, a quarter of a millisecond at every step
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(value)
    np.random.seed(value)  # noqa: NPY002 - libraries that still draw from it are the point
    random.seed(value)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Give the global generators back as they were when the block began: they may be a user's."""
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)  # noqa: NPY002
