"""A checkerboard."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bench.data.points import Points

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SIDE = 2.0
FIELDS = 4  # an axis


class Checkerboard(Points):
    """Every second field of a 4 x 4 board in the plane (as in De Cao et al., 2019): 40,000 train, 5,000 test.

    The density is uniform on eight fields of 2 x 2, among them the corner fields that the diagonal x1 = x2 passes; the
    board is the square of -4 .. 4.
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    def draw(self, n: int, random: np.random.RandomState) -> np.ndarray:
        """Return points `(n, 2)`."""
        import numpy as np

        column = random.randint(FIELDS, size=n)
        row = 2 * random.randint(FIELDS // 2, size=n) + column % 2
        return SIDE * (np.stack([column, row], 1) + random.random_sample((n, 2)) - FIELDS / 2)

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x), `(N,)`: -log 32 on the eight fields, exact."""
        field = (x.double() / SIDE + FIELDS / 2).floor()
        inside = ((field >= 0) & (field < FIELDS)).all(-1) & (field.sum(-1) % 2 == 0)
        return field.new_full((len(x),), -math.log(SIDE**2 * FIELDS**2 / 2)).masked_fill(~inside, -math.inf)
