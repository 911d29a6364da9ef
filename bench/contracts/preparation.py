"""The contracts on `prepare` that need noise of known numbers: an item's is its own, and its change of variables.

With noise that gives one number at every place, an item is prepared in the same way wherever it stands.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.contracts.verdicts import Breach
from bench.protocol import Dataset, Pixels

DRAW = 0.375  # of 0 .. 1, in place of every uniform draw; exact in float32, as STEP is
STEP = 0.125  # of a uniform draw; a pixel is 1 wide
CLOSE = 1e-4  # relative; float32 adds in another order where more items are computed at a time
SLOPE = 1e-3  # relative, of a numerical derivative: float32 keeps four digits of a central difference
LARGEST = 4096  # numbers of an item whose derivatives are looked at: their square must fit into memory
BLOCK = 2**22  # numbers that are prepared at a time


class Known:
    """A `protocol.Noise` on the CPU that gives the same at every place, but for the uniform draws that it is told.

    Args:
        told: what `uniform` gives, `(B, D)`, where it is asked for so many draws in any shape.

    Attributes:
        asked: whether it was.
    """

    device = torch.device("cpu")

    def __init__(self, told: Tensor | None = None) -> None:
        self.told, self.asked = told, False

    def normal(self, *shape: int) -> Tensor:
        """Return one number."""
        return torch.full(shape, DRAW)

    def uniform(self, *shape: int) -> Tensor:
        """Return what was told, or one number."""
        if self.told is None or math.prod(shape) != self.told.numel():
            return torch.full(shape, DRAW)
        self.asked = True
        return self.told.reshape(shape).clone()

    def rademacher(self, *shape: int) -> Tensor:
        """Return ones."""
        return torch.ones(shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return one number."""
        return torch.full(shape, high // 2)

    def permutation(self, n: int) -> Tensor:
        """Return 0 .. n - 1."""
        return torch.arange(n)


def check_items(dataset: Dataset, stored: Tensor) -> None:
    """Check that what `prepare` makes of an item of `stored` `(B, ...)` does not depend on the items beside it.

    Raises:
        Breach: it does.
    """
    together = dataset.prepare(stored.clone(), Known())
    alone = torch.cat([dataset.prepare(item[None].clone(), Known()) for item in stored])
    if alone.shape != together.shape or not torch.allclose(alone, together, rtol=CLOSE, atol=CLOSE):
        rule = "as with statistics of the batch; take those of the training split, in load"
        raise Breach(f"what prepare gives for an item depends on the items beside it, {rule}")


def check_jacobian(dataset: Dataset, stored: Tensor) -> str:
    """Compare the log Jacobian of dequantised pixels with numerical derivatives of `prepare` in its uniform draws.

    Args:
        dataset: any; one that has no change of variables is not looked at.
        stored: items `(B, ...)`, of which the one with the most contrast is looked at.

    Returns:
        What was seen, or why it was not looked at; empty where there is no change of variables.

    Raises:
        Breach: they differ.
    """
    if not isinstance(dataset, Pixels):
        return ""
    item = max(stored, key=lambda one: float(one.float().std()))[None]
    size = item.numel()
    if size > LARGEST:
        return f"; log_jacobian is not looked at, for an item has more than {LARGEST:,} numbers"
    noise = Known(torch.full((1, size), DRAW))
    x = dataset.prepare(item.clone(), noise)
    if not noise.asked:
        return "; log_jacobian is not looked at, for prepare draws no uniform number a pixel"
    # row j: by how much the prepared item changes with draw j
    rows = [
        _prepared(dataset, item, places, STEP) - _prepared(dataset, item, places, -STEP)
        for places in torch.arange(size).split(max(1, BLOCK // size))
    ]
    right = float(torch.linalg.slogdet(torch.cat(rows).double() / (2 * STEP)).logabsdet)
    said = dataset.log_jacobian(x)
    if said.shape != (1,):
        raise Breach(f"log_jacobian gives {tuple(said.shape)} for one item; it must be (1,)")
    if not abs(float(said) - right) <= SLOPE * size:
        numbers = f"{float(said):.5g} nats for an item, and by derivatives of prepare it is {right:.5g}"
        raise Breach(f"log_jacobian gives {numbers}; override it together with prepare")
    return "; log_jacobian is that of prepare"


def _prepared(dataset: Dataset, item: Tensor, places: Tensor, step: float) -> Tensor:
    """Return copies of an item `(1, ...)`, prepared, `(n, D)`; in copy k the uniform draw at `places[k]` is off."""
    draws = torch.full((len(places), item.numel()), DRAW)
    draws[torch.arange(len(places)), places] += step
    return dataset.prepare(item.repeat(len(places), *[1] * (item.ndim - 1)), Known(draws))
