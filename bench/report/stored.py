"""What run stores hold: records, training curves, scores of single items."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from bench.protocol import UserError
from bench.report.arrays import Arrays
from bench.report.cells import WHOSE, Outcome, framed
from bench.report.curves import Curves
from bench.report.metrics import with_columns
from bench.report.parquet import frame_of, long, read_parquet
from bench.report.plans import Current, marked
from bench.sweep.columns import canonical, leaves
from bench.sweep.record import CorruptRecord, Gone, Point, Record, explained
from bench.sweep.store import BESIDE, Store

_CURVE = TypeAdapter(list[Point])
_WHOSE = [leaf for leaf in leaves(Record) if leaf.column in WHOSE]


def collect(stores: Sequence[Path], current: Current | None = None, corrupt: list[str] | None = None) -> pd.DataFrame:
    """Return what `gather` does, long: a row per record and metric, columns `cells.RECORDS`."""
    return frame_of(long(gather(stores, current, corrupt)))


def gather(stores: Sequence[Path], current: Current | None = None, corrupt: list[str] | None = None) -> list[Outcome]:
    """Return every record of the stores.

    Args:
        stores: folders of run stores.
        current: (strategy, data set) -> fingerprints of their code as it is now, or None where that is unknown; by
            them records are marked `stale` or `plugin_changed`. Without it none is.
        corrupt: takes one sentence for each file that should be a record and is not, and for all arrays or curves of a
            store that are gone; without it the first one raises.

    Raises:
        UserError: a store does not exist, or a record is corrupt.
    """
    records: list[Outcome] = []
    gone: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for store, key, record in _records(stores, corrupt):
        records.append(Outcome.of(record, key))
        for part in BESIDE:  # what is damaged is not read later on; here it is said
            try:
                store.beside(record, key, part)
            except Gone:
                gone[store.folder, part].append(_place(store, key, record, part))
            except CorruptRecord as reason:
                _complain(f"corrupt {part} {_place(store, key, record, part)}: {reason}", corrupt)
    for (folder, part), (first, *more) in gone.items():
        several = f"the {part} of {len(more) + 1} records in {folder}, such as {first.name}"
        _complain(f"gone: {several if more else first}", corrupt)
    return marked(records, current)


def curves(
    stores: Sequence[Path],
    corrupt: list[str] | None = None,
    chosen: Sequence[Outcome] | None = None,
    tables: Sequence[Path] = (),
) -> pd.DataFrame:
    """Return the training curves beside records of the stores: a row per epoch and metric, `cells.CURVES`.

    Args:
        stores: folders of run stores.
        corrupt: as in `collect`.
        chosen: the records, which need not be read again; by default all. Curves that several stores hold come once.
        tables: Parquet files with the curves of chosen records that are in no store.

    Raises:
        UserError: a store does not exist, or a record or its curves are corrupt.
    """
    seen: set[tuple[str, ...]] = set()

    def trained() -> Iterator[tuple[Mapping[str, Any], Sequence[Point]]]:
        for store, key, record in _records(stores, corrupt) if chosen is None else _held(stores, chosen):
            own = identity(key, record)
            if own in seen:
                continue
            content = _beside(store, key, record, "curves", corrupt)
            if content is None:
                continue
            try:
                points = _CURVE.validate_json(content)
            except ValidationError as error:
                _complain(f"corrupt curves {_place(store, key, record, 'curves')}: {explained(error)}", corrupt)
            else:
                seen.add(own)
                yield _whose(key, record), points

    frame = framed(trained())
    others = _tabled(tables, chosen or (), set(zip(frame["cell"], frame["key"], strict=True)))
    return pd.concat([frame, *others], ignore_index=True) if others else frame


def _tabled(tables: Sequence[Path], chosen: Sequence[Outcome], there: Container[tuple[str, str]]) -> list[pd.DataFrame]:
    """Return the rows of Parquet files with curves that are of chosen records; of those elsewhere, none."""
    held, frames = Curves((), tables), []
    wanted = {place for record in chosen if (place := (record.cell, record.key)) not in there and held.of(record)}
    for path in tables if wanted else ():
        rows = read_parquet(path, "curves")
        own = rows[[place in wanted for place in zip(rows["cell"], rows["key"], strict=True)]]
        if len(own):
            frames.append(own)
            wanted -= set(zip(own["cell"], own["key"], strict=True))
    return frames


def _held(stores: Sequence[Path], chosen: Sequence[Outcome]) -> Iterator[tuple[Store, str, Record]]:
    """Give each of these records with every store that holds it and its key."""
    for store in map(Store, stores):
        for outcome in sorted(chosen, key=lambda outcome: (outcome.cell, outcome.key)):
            if outcome.digests.get("curves"):  # by which alone they are read
                if store.holds(outcome.cell, outcome.key):
                    yield store, outcome.key, outcome
                continue
            with contextlib.suppress(CorruptRecord):
                record = store.record(outcome.cell, outcome.key)
                if record and identity(outcome.key, record) == identity(outcome.key, outcome):
                    yield store, outcome.key, outcome


def identity(key: str, record: Record) -> tuple[str, ...]:
    """Return what tells a record in a store from others of its cell."""
    return record.cell, key, record.started, record.finished, canonical(record.digests)


def items(chosen: Sequence[Outcome], arrays: Arrays) -> Iterator[tuple[Mapping[str, Any], np.ndarray, np.ndarray]]:
    """Give the scores of single test items of these records, as `parquet.write_items` takes them.

    They are those of every metric that has columns in a table, as far as it is a mean over items.

    Args:
        chosen: the records.
        arrays: where these scores lie.
    """
    for outcome in chosen:
        for name in with_columns(list(outcome.by_metric)):
            vector = arrays.vector(outcome, name) if outcome.status == "ok" else None
            if vector is not None:
                yield _whose(outcome.key, outcome) | {"metric": name}, vector.which, vector.values


def _records(stores: Sequence[Path], corrupt: list[str] | None) -> Iterator[tuple[Store, str, Record]]:
    """Give each record with its store and key."""
    for folder in stores:
        if not folder.is_dir():
            raise UserError(f"there is no run store {folder}")
        store = Store(folder)
        for cell, key, record in store.scan():
            if isinstance(record, CorruptRecord):
                _complain(f"corrupt record {store.record_path(cell, key)}: {record}", corrupt)
            else:
                yield store, key, record


def _whose(key: str, record: Record) -> dict[str, Any]:
    return {"key": key} | {leaf.column: leaf.value(record, None) for leaf in _WHOSE}


def _beside(store: Store, key: str, record: Record, part: str, corrupt: list[str] | None) -> bytes | None:
    try:
        return store.beside(record, key, part)
    except CorruptRecord as reason:
        _complain(f"corrupt {part} {_place(store, key, record, part)}: {reason}", corrupt)
        return None


def _place(store: Store, key: str, record: Record, part: str) -> Path:
    return store.place(record, key, part)


def _complain(sentence: str, corrupt: list[str] | None) -> None:
    if corrupt is None:
        raise UserError(sentence)
    if sentence not in corrupt:
        corrupt.append(sentence)
