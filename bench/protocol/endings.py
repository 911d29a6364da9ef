"""How a run ends that does not end well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.words import UserError


class NotFinite(Exception):
    """A model left the finite numbers: a parameter, energy or score is none, or its density has no integral.

    What is said of a model, not of the code: `fit` and `evaluate` make it `Diverged`. A bug is no such finding, however
    arithmetic: Python's own ZeroDivisionError and OverflowError remain errors.
    """


class Diverged(Exception):
    """Training left the finite numbers; `step` is the first bad one, `stability` and `curves` what was seen."""

    def __init__(
        self,
        reason: str,
        step: int,
        stability: Mapping[str, float] | None = None,
        curves: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(f"{reason} at step {step}")
        self.reason, self.step, self.stability, self.curves = reason, step, dict(stability or {}), list(curves)

    def __reduce__(self) -> tuple[type[Diverged], tuple[Any, ...]]:
        return type(self), (self.reason, self.step, self.stability, self.curves)


class OutOfMemory(MemoryError):
    """The device's or the host's memory did not suffice."""


class Stopped(Exception):
    """A run was asked to stop and left a checkpoint."""


class DataError(UserError):
    """Data that cannot be had or trusted; the sentence says what to do."""
