"""What data sets of points in the plane share: arrays drawn once, and an exact density.

Importing this module imports no torch, so that a list of data sets is quick.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.data import Dataset, split
from bench.protocol import MOST_LATENTS, Items, Likelihood, Networks, Noise, Splits, Unit

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["Points", "Potential", "legendre"]

TRAIN, TEST = 40_000, 5_000
NODES = 400  # an axis: twice as many change the log normaliser of no potential here by 1e-10


class Points(Dataset):
    """Points in the plane, drawn once and for all, whose density is known.

    A plugin writes `draw` and `log_density`, which must be of the same distribution.

    Attributes:
        window: pictures show the square of -window .. window.
    """

    likelihood: ClassVar[Likelihood] = "gaussian"
    unit: ClassVar[Unit] = "nats"
    window: ClassVar[float] = 4.0

    validation: int = Field(0, ge=0, le=20_000, description="so many points, the last, are kept from training")

    def refuses(self, networks: Networks) -> str | None:
        """Refuse more latent dimensions than quadrature can do."""
        if networks.latent <= MOST_LATENTS:
            return None
        return f"networks.latent = {networks.latent} is too large for exact scoring; at most {MOST_LATENTS} is allowed"

    def holds(self) -> Items:
        """Return how many points there are."""
        return Items((2,), TRAIN - self.validation, TEST, self.validation)

    @abstractmethod
    def draw(self, n: int, random: np.random.RandomState) -> np.ndarray:
        """Return independent points `(n, 2)`, float64."""

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x), `(N,)` float64, nats, for x `(N, 2)`; minus infinity where there are no points."""

    def load(self, folder: Path) -> Splits:
        """Return float32 points `(N, 2)`: 40,000 train, 5,000 test; `folder` is not used."""
        import numpy as np

        # RandomState and not Generator: its stream is frozen for all versions of numpy
        points = self.draw(TRAIN + TEST, np.random.RandomState(0)).astype(np.float32)
        return split(points[:TRAIN], points[TRAIN:], self.validation)

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Return the points `(B, 2)` as they are."""
        return x


class Potential(Points):
    """Points with a density proportional to exp(-U) on the square of -window .. window, and 0 outside of it.

    Three of the four potentials of Rezende & Mohamed (2015) do not fall off towards the sides, so that only a bounded
    region makes densities of them. A plugin writes `energy`, which is nowhere below -log 2.
    """

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """Return U(x), `(N,)` for x `(N, 2)`."""

    def draw(self, n: int, random: np.random.RandomState) -> np.ndarray:
        """Return points `(n, 2)` by rejection from uniform proposals on the square."""
        import numpy as np
        import torch

        kept: list[np.ndarray] = []
        while sum(map(len, kept)) < n:
            x = self.window * (2 * random.random_sample((n, 2)) - 1)
            chance = 0.5 * torch.exp(-self.energy(torch.from_numpy(x))).numpy()
            kept.append(x[random.random_sample(n) < chance])
        return np.concatenate(kept)[:n]

    def log_normaliser(self) -> float:
        """Return log of the integral of exp(-U) over the square, by Gauss-Legendre quadrature."""
        import torch

        nodes, weights = legendre(NODES, -self.window, self.window)
        log_weights = (weights[:, None] * weights).log().flatten()
        return float(torch.logsumexp(log_weights - self.energy(torch.cartesian_prod(nodes, nodes)), 0))

    def log_density(self, x: Tensor) -> Tensor:
        """Return -U(x) - log Z, `(N,)`; exact but for the quadrature, to 1e-10."""
        x = x.double()
        inside = (x.abs() <= self.window).all(-1)
        return (-self.energy(x) - self.log_normaliser()).masked_fill(~inside, -math.inf)


def legendre(nodes: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Return the nodes and weights of Gauss-Legendre quadrature from `low` to `high`, `(nodes,)` float64 each."""
    import numpy as np
    import torch

    points, weights = np.polynomial.legendre.leggauss(nodes)
    half = (high - low) / 2
    return torch.from_numpy(low + half * (points + 1)), torch.from_numpy(half * weights)
