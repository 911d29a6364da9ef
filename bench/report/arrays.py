"""The arrays that lie beside records in run stores."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.report.cells import Outcome


def beside(outcome: Outcome, stores: Sequence[Path], names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Return the arrays of these names beside a record, or None where one of them is not there or cannot be read."""
    return _first(outcome, stores, lambda known: names)


def starting(outcome: Outcome, stores: Sequence[Path], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays beside a record whose names start with `prefix`, in their order there; none may be."""
    return _first(outcome, stores, lambda known: [name for name in known if name.startswith(prefix)]) or {}


def _first(
    outcome: Outcome, stores: Sequence[Path], chosen: Callable[[Sequence[str]], Sequence[str]]
) -> dict[str, np.ndarray] | None:
    """Return what is chosen of the names in the first store where it can be read, or None."""
    for store in stores:
        path = store / "cells" / outcome.cell / f"arrays-{outcome.key}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in chosen(file.files)}
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            continue
    return None


def paired_stderr(ours: Outcome, theirs: Outcome, metric: str, stores: Sequence[Path]) -> float | None:
    """Return the standard error of the mean difference of a metric over test items that two records share.

    The same items are scored in both, so that what makes an item easy or hard for either cancels.

    Returns:
        None where a record has no score of every item, or they are not as many.
    """
    found = [beside(outcome, stores, [metric]) for outcome in (ours, theirs)]
    values = [np.asarray(arrays[metric], dtype=np.float64) for arrays in found if arrays is not None]
    if len(values) < 2 or values[0].shape != values[1].shape or values[0].ndim != 1 or len(values[0]) < 2:
        return None
    difference = values[0] - values[1]
    return float(difference.std(ddof=1) / len(difference) ** 0.5)
