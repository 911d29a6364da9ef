"""The arrays beside records: pictures, paths, and the scores of single test items.

They lie in run stores. The scores of single items are in Parquet files as well, so that a table comes out the same,
to the last digit, where the store is not there.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.report.metrics import meaning
from bench.report.statistics import Items
from bench.sweep.npz import Npz
from bench.sweep.record import CorruptRecord
from bench.sweep.store import Store

if TYPE_CHECKING:
    from bench.report.cells import Outcome
    from bench.report.parquet import ItemsFile, Rows


class Vector(NamedTuple):
    """Scores of test items, `(n,)` float32, and which items these are, rising, `(n,)` int32."""

    values: np.ndarray
    which: np.ndarray


#: significant bits of an item's score: rounded by a 65,000th at most, far below its Monte Carlo error, it takes a third
#: less room in a Parquet file
BITS = 16


def rounded(values: np.ndarray) -> np.ndarray:
    """Return numbers with `BITS` significant bits, float32; what is not finite stays."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    whole: np.ndarray = np.ldexp(np.rint(np.ldexp(mantissas, BITS)), exponents - BITS)
    return whole.astype(np.float32)


_Tabled = tuple["ItemsFile", "Sequence[Rows]"]  # where a Parquet file has scores
_UNREADABLE = (
    *(CorruptRecord, ValueError, KeyError, NotImplementedError, RuntimeError),
    *(OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error),
)
_Place = tuple[Path, str, str, str | None]  # store, cell, key and SHA-256


def _chosen(held: Sequence[str] | None, names: Sequence[str], prefix: str) -> Sequence[str]:
    """Return which of the arrays in a file are wanted: all of `names`, or none of them; else those with a prefix."""
    if names:
        return names if held is not None and set(names) <= set(held) else ()
    return [name for name in held or () if name.startswith(prefix)]


class Arrays:
    """Where the arrays beside records are looked for.

    Args:
        stores: folders of run stores.
        tables: Parquet files with the scores of single items.
    """

    def __init__(self, stores: Sequence[Path] = (), tables: Sequence[Path] = ()) -> None:
        self.stores, self._tables = tuple(stores), tuple(tables)
        self._opened = {store: Store(store) for store in self.stores}
        self._vectors: dict[tuple[str, str, str], Vector | None] = {}
        # what the file beside a record holds, by name; None where there is none that can be read
        self._names: dict[_Place, Sequence[str] | None] = {}
        self._open: tuple[_Place, Npz] | None = None  # the last file: all of one record's are asked for in turn

    def of(self, outcome: Outcome, names: Sequence[str] = (), prefix: str = "") -> dict[str, np.ndarray]:
        """Return arrays beside a record, from the first store where they can be read; nothing where there is none.

        Those that are not what was written are not read; `stored.collect` says so.

        Args:
            outcome: the record.
            names: of the arrays; all have to be there.
            prefix: in place of `names`, what their names start with; they come in their order in the file.
        """
        for store in self.stores:
            place = store, outcome.cell, outcome.key, outcome.digests.get("arrays")
            if place in self._names and not _chosen(self._names[place], names, prefix):
                continue  # most of what is asked for lies beside no record, and a file is read once to know that
            try:
                if self._open is None or self._open[0] != place:
                    content = self._opened[store].beside(outcome, outcome.key, "arrays")
                    if content is None:
                        self._names[place] = None
                        continue
                    self._open = place, Npz(content)
                file = self._open[1]
                self._names[place] = file.files
                chosen = {name: file[name] for name in _chosen(file.files, names, prefix)}
                if chosen and all(array.dtype.kind in "biuf" for array in chosen.values()):  # text is no score
                    return chosen
            except _UNREADABLE:
                self._names[place] = None
        return {}

    def items(self, outcome: Outcome, metric: str) -> Items | None:
        """Return the scores of single test items that a score comes from, or None where they are lost.

        Of a metric that corrects another's, they are the other's scores of all items and its own of some; of a record
        whose score is of these alone, as it was in an earlier version of the metric, they are its own.
        """
        own, rough = self.vector(outcome, metric), meaning(metric).corrects
        count = outcome.by_metric[metric].n if own and rough else 0
        if own is None or not rough or len(own.values) == count:
            return own and Items(own.values)
        whole = self.vector(outcome, rough)
        if whole is None or len(whole.values) != count or not np.isin(own.which, whole.which).all():
            return None
        return Items(whole.values, own.values, own.which)

    def vector(self, outcome: Outcome, metric: str) -> Vector | None:
        """Return a metric's own scores of single test items, or None where they are lost."""
        if (outcome.cell, outcome.key, metric) not in self._vectors:
            # all that tables have columns of at once: the file beside a record is opened and verified once
            names = {metric, *(score.metric for score in outcome.scores if meaning(score.metric).items)}
            for name in names:
                place = outcome.cell, outcome.key, name
                vector = self._stored(outcome, name)
                self._vectors[place] = self._tabled(*place) if vector is None else vector
        return self._vectors[outcome.cell, outcome.key, metric]

    def _stored(self, outcome: Outcome, metric: str) -> Vector | None:
        """Return scores in the stores: of the items that an array beside them names, else of the first ones."""
        named, some = f"{metric}_items", bool(meaning(metric).corrects)
        arrays = (some and self.of(outcome, [metric, named])) or self.of(outcome, [metric])
        values = arrays.get(metric)
        if values is None or values.ndim != 1:
            return None
        if some and named not in arrays and len(values) != outcome.by_metric[metric].n:
            return None
        if named not in arrays:
            return Vector(rounded(values), _first(len(values)))
        which = arrays[named]
        if which.shape != values.shape or which.dtype.kind not in "iu" or len(np.unique(which)) < len(which):
            return None
        return _ordered(which, rounded(values))

    def _tabled(self, cell: str, key: str, metric: str) -> Vector | None:
        """Return scores in the Parquet files."""
        place = self._in_tables.get((cell, key), {}).get(metric)
        return None if place is None else _read(place)

    @cached_property
    def _in_tables(self) -> dict[tuple[str, str], dict[str, _Tabled | None]]:
        """(cell, key) -> metric -> where the Parquet files have the scores of its items."""
        from bench.report.parquet import items_file

        vectors: dict[tuple[str, str], dict[str, _Tabled | None]] = {}
        for path in self._tables:
            file = items_file(path)
            for (cell, key, metric), rows in file.places.items():
                _put(vectors.setdefault((cell, key), {}), metric, (file, rows))
        return vectors


def _put(held: dict[str, _Tabled | None], metric: str, place: _Tabled) -> None:
    """Keep where scores of a metric lie; nothing where two files have other ones, and none says which record's."""
    before = held.setdefault(metric, place)
    if before is not None and before is not place:
        ours, theirs = _read(before), _read(place)
        alike = ours is not None and theirs is not None and all(map(np.array_equal, ours, theirs))
        held[metric] = before if alike else None


def _read(place: _Tabled) -> Vector | None:
    """Return scores in a Parquet file, or None where it has several of an item."""
    file, rows = place
    which, values = file.at(rows)
    return _ordered(which, values) if len(np.unique(which)) == len(which) else None


def _ordered(which: np.ndarray, values: np.ndarray) -> Vector:
    """Return scores by the places of their items, rising."""
    if np.array_equal(which, _first(len(which))):
        return Vector(values.astype(np.float32, copy=False), _first(len(which)))
    order = np.argsort(which, kind="stable")
    return Vector(values[order].astype(np.float32), which[order].astype(np.int32))


@lru_cache(maxsize=8)
def _first(count: int) -> np.ndarray:
    """Return the places of the first items; the same array every time, of which thousands would fill the memory."""
    places = np.arange(count, dtype=np.int32)
    places.flags.writeable = False
    return places
