"""What scoring gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Metric:
    """A quantity that is scored: its name, its unit, which direction is better, and the version of its definition."""

    name: str
    unit: str
    better: Literal["lower", "higher", "neither"] = "lower"
    version: int = 1


@dataclass(frozen=True)
class Score:
    """One value of one metric, with every part of its uncertainty apart.

    Attributes:
        value: the estimate.
        n: how many items (images, chains) it averages.
        estimator: how it was had: `exact-enumeration`, `quadrature`, `ais`, `monte-carlo`, `importance-weighted`, ...;
            `samples` where the prior has samples and no density, so that other scores cannot be had.
        stderr_mc: standard error from the estimator's own draws.
        stderr_images: standard error from the choice of test items.
        sys_lower, sys_upper: where the value may lie given the interval of log Z; both equal to `value` when log Z is
            exact or absent. This part is the same error in every image: it never shrinks with n.
        unreliable: why the value should not be trusted; empty when it may be.
    """

    metric: Metric
    value: float
    n: int
    estimator: str
    stderr_mc: float
    stderr_images: float
    sys_lower: float
    sys_upper: float
    unreliable: str = ""

    @property
    def stderr(self) -> float:
        """Total statistical standard error."""
        return float((self.stderr_mc**2 + self.stderr_images**2) ** 0.5)


@dataclass(frozen=True)
class Normalisation:
    """What an estimate of log Z shows of a prior that calls itself normalised.

    Attributes:
        verdict: `holds`; `above`, where the density integrates to more than one and every likelihood under it is too
            good; `below`, where it has mass out of sight or integrates to less, which harms the prior alone; or
            `not checked`, where the estimate cannot tell.
        reason: why, in words; empty where it holds.
        log_z: the estimate, nats; None where there is none.
        stderr: its standard error; by quadrature, how much refining still changes it.
        ess: effective sample size of the weights; None where nothing is sampled.
        n: how many points it rests on.
        estimator: `importance-weighted` or `quadrature`.
    """

    verdict: Literal["holds", "above", "below", "not checked"]
    reason: str
    log_z: float | None
    stderr: float
    ess: float | None
    n: int
    estimator: str


@dataclass(frozen=True)
class Scores:
    """What `evaluate` gives back: scores, named arrays (they lie as npz beside the record), seconds and bytes.

    `normalisation` is there where the prior calls itself normalised.
    """

    scores: Sequence[Score]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    normalisation: Normalisation | None = None
