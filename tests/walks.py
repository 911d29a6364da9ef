"""Where the fake strategy's `walk` ends when nothing disturbs it."""

from __future__ import annotations

import math
import random


def walked(seed: int) -> float:
    """Return the last place of a walk of 100 steps, each of which depends on all before."""
    place = 0.0
    for step in range(1, 101):
        place = math.sin(37 * place + random.Random(f"{seed} {step}").random())
    return place
