"""What the training curves beside records say: how far figures jumped, and when a bound was reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic_core import from_json

from bench.sweep.record import CorruptRecord
from bench.sweep.store import Store

if TYPE_CHECKING:
    from bench.report.cells import Outcome

GRADIENT = "gradient_max_"  # with a group of parameters: the largest norm of its gradient within an epoch
LOG_Z = "log_z"
#: what is compared of two strategies' bounds on the validation split: with log Z, where the prior has one
VALIDATION = ("validation bound with log Z", "validation bound")

#: metric -> epochs and its value in each, `(2, n)`, in their order
Series = Mapping[str, np.ndarray]


class Jumps(NamedTuple):
    """The worst that happened between two epochs in a row.

    Attributes:
        gradient: the largest factor by which the norm of a gradient rose.
        log_z: by how much log Z of the prior moved, nats.
    """

    gradient: float | None
    log_z: float | None


NO_JUMPS = Jumps(None, None)


class Curves:
    """Where the training curves beside records are looked for.

    Attributes:
        tables: Parquet files with curves.

    Args:
        stores: folders of run stores.
        tables: see above.
    """

    def __init__(self, stores: Sequence[Path] = (), tables: Sequence[Path] = ()) -> None:
        self._stores, self.tables = [Store(store) for store in stores], tuple(tables)
        self._read: dict[tuple[str, str], Series] = {}

    def of(self, outcome: Outcome) -> Series:
        """Return the curves of a record; nothing where there are none that can be read."""
        place = outcome.cell, outcome.key
        if place not in self._read:
            self._read[place] = self._found(outcome)
        return self._read[place]

    def _found(self, outcome: Outcome) -> Series:
        for store in self._stores:
            try:
                content = store.beside(outcome, outcome.key, "curves")
                if content is not None:
                    points = from_json(content, cache_strings="keys")  # twice as quick as the json of Python
                    own = ((p["metric"], p["epoch"], float(p["value"])) for p in points if p["value"] is not None)
                    return _series(own)
            except (CorruptRecord, ValueError, TypeError, KeyError):
                continue  # `stored.collect` says so
        return self._in_tables.get((outcome.cell, outcome.key), {})

    def jumps(self, outcome: Outcome) -> Jumps:
        """Return the worst jumps of a record."""
        series = self.of(outcome)
        gradients = [_rises(values) for name, (_, values) in series.items() if name.startswith(GRADIENT)]
        rises = np.concatenate([*gradients, np.zeros(0)])
        moves = np.abs(np.diff(series.get(LOG_Z, np.zeros((2, 0)))[1]))
        return Jumps(_largest(rises), _largest(moves))

    @cached_property
    def _in_tables(self) -> dict[tuple[str, str], Series]:
        from bench.report.parquet import read_parquet

        series: dict[tuple[str, str], Series] = {}
        for path in self.tables:
            frame = read_parquet(path, "curves", ("cell", "key", "metric", "epoch", "value")).dropna(subset=["value"])
            for (cell, key), group in frame.groupby(["cell", "key"], sort=False, observed=True):
                points = zip(group["metric"], group["epoch"], group["value"], strict=True)
                own, place = _series(points), (str(cell), str(key))
                # two files may have other curves of the same cell, and neither says which of its records they are of
                series[place] = own if place not in series or _alike(own, series[place]) else {}
        return series


def _series(points: Iterator[tuple[str, int, float]]) -> Series:
    values: dict[str, dict[int, float]] = {}
    for metric, epoch, value in points:
        values.setdefault(metric, {})[epoch] = value
    return {metric: np.array(sorted(own.items())).T for metric, own in values.items()}


def _alike(ours: Series, theirs: Series) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(values, theirs[name]) for name, values in ours.items())


def _rises(values: np.ndarray) -> np.ndarray:
    """Return the factors between neighbours that can be told."""
    before, after = values[:-1], values[1:]
    ratios: np.ndarray = after[before > 0] / before[before > 0]
    return ratios


def _largest(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else None
