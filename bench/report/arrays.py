"""The arrays beside records: pictures, paths, and the scores of single test items.

They lie in run stores. The scores of single items are in Parquet files as well, so that a table comes out the same,
to the last digit, where the store is not there.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.sweep.record import CorruptRecord
from bench.sweep.store import Store

if TYPE_CHECKING:
    from bench.report.cells import Outcome


class Arrays:
    """Where the arrays beside records are looked for.

    Args:
        stores: folders of run stores.
        tables: Parquet files with the scores of single items.
    """

    def __init__(self, stores: Sequence[Path] = (), tables: Sequence[Path] = ()) -> None:
        self.stores, self._tables = tuple(stores), tuple(tables)
        self._vectors: dict[tuple[str, str], Mapping[str, np.ndarray]] = {}

    def of(self, outcome: Outcome, names: Sequence[str] = (), prefix: str = "") -> dict[str, np.ndarray]:
        """Return arrays beside a record, from the first store where they can be read; nothing where there is none.

        Those that are not what was written are not read; `sources.collect` says so.

        Args:
            outcome: the record.
            names: of the arrays; all have to be there.
            prefix: in place of `names`, what their names start with; they come in their order in the file.
        """
        for store in self.stores:
            try:
                content = Store(store).beside(outcome, outcome.key, "arrays")
                if content is None:
                    continue
                with np.load(io.BytesIO(content), allow_pickle=False) as file:
                    chosen = names or [name for name in file.files if name.startswith(prefix)]
                    return {name: file[name] for name in chosen}
            except (CorruptRecord, KeyError, ValueError, zipfile.BadZipFile):
                continue
        return {}

    def items(self, outcome: Outcome, metric: str) -> np.ndarray | None:
        """Return the scores of single test items whose mean a score is, `(N,)` float32, or None where they are lost."""
        place = outcome.cell, outcome.key
        if place not in self._vectors:
            vectors = {
                score.metric: np.asarray(values, np.float32)
                for score in outcome.scores
                for values in self.of(outcome, [score.metric]).values()
                if values.ndim == 1
            }
            self._vectors[place] = vectors or self._in_tables.get(place, {})
        return self._vectors[place].get(metric)

    @cached_property
    def _in_tables(self) -> dict[tuple[str, str], dict[str, np.ndarray]]:
        """(cell, key) -> metric -> scores of its items in order, of the Parquet files."""
        from bench.report.cells import read_parquet

        vectors: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        for path in self._tables:
            frame = read_parquet(path, "items", ("cell", "key", "metric", "item", "value"))
            for (cell, key, metric), group in frame.groupby(["cell", "key", "metric"], sort=False, observed=True):
                values = group.sort_values("item", kind="stable")["value"].to_numpy(np.float32)
                vectors.setdefault((str(cell), str(key)), {})[str(metric)] = values
        return vectors
