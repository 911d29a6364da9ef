"""Parquet files of the long tables: of records, training curves, and the scores of each test item."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import special

from bench import files
from bench.protocol import UserError
from bench.report.cells import TABLES, Outcome, Table
from bench.report.statistics import CONFIDENCE
from bench.sweep.columns import DTYPES, leaves
from bench.sweep.record import EARLIER, SECONDS, Score
from bench.words import listed

#: version of the columns; written into every file. Files of schema 1, which lack some, are read as well
SCHEMA = 2
GROUP = 1 << 16  # rows of a row group of items, but for the last vector in it: each costs a kilobyte, and is read whole
_UNREADABLE = (OSError, ValueError, pa.ArrowException, files.Damaged)
_ARROW = dict(zip(DTYPES.values(), (pa.string(), pa.int64(), pa.float64(), pa.bool_()), strict=True))
_ARROW |= {"int32": pa.int32(), "float32": pa.float32()}


def _schema(table: Table) -> pa.Schema:
    """Return the schema of a file; of the items' long columns each text is there once a part."""
    types = _ARROW | ({DTYPES[str]: pa.dictionary(pa.int32(), pa.string())} if table == "items" else {})
    return pa.schema(
        [pa.field(name, types[dtype]) for name, dtype in TABLES[table].items()],
        metadata={"priorbench.table": table, "priorbench.schema": str(SCHEMA), "priorbench.sealed": "yes"},
    )


def long(records: Sequence[Outcome]) -> pa.Table:
    """Return the long table of records; columns that follow from others are filled in."""
    rows: list[Sequence[Score | None]] = [
        (record.scores if record.status == "ok" else ()) or (None,) for record in records
    ]
    scores = [score for row in rows for score in row]
    several = len(scores) > len(rows)
    columns: dict[str, list[Any]] = {}
    for leaf in leaves(Outcome):
        if leaf.path[0] == "scores":
            columns[leaf.column] = leaf.values(scores)
            continue
        values = leaf.values(records)
        columns[leaf.column] = (
            [value for value, row in zip(values, rows, strict=True) for _ in row] if several else values
        )
    half = float(special.ndtri((1 + CONFIDENCE) / 2))
    bounds = [
        score and (score.sys_lower - half * score.stderr, score.sys_upper + half * score.stderr) for score in scores
    ]
    columns["lower"], columns["upper"] = ([bound and bound[end] for bound in bounds] for end in (0, 1))
    columns["seconds"] = [_sum(parts) for parts in zip(*(columns[name] for name in SECONDS), strict=True)]
    schema = _schema("records")
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in schema]  # NaN is null
    return pa.Table.from_arrays(arrays, schema=schema)


def _sum(parts: Iterable[float | None]) -> float | None:
    """Return the sum of what is there, None where nothing is."""
    there = [part for part in parts if part is not None and part == part]
    return sum(there) if there else None


def frame_of(table: pa.Table, name: Table = "records") -> pd.DataFrame:
    """Return a table with its columns and their types."""
    columns = TABLES[name]
    return cast(pd.DataFrame, table.to_pandas()[list(columns)].astype(columns))


def write_parquet(content: pa.Table | pd.DataFrame, path: Path, table: Table = "records") -> None:
    """Write a table of records or curves."""
    schema = _schema(table)
    if isinstance(content, pd.DataFrame):
        content = pa.Table.from_pandas(content, schema=schema, preserve_index=False)
    with _writing(path, schema) as writer:
        writer.write_table(content.replace_schema_metadata(schema.metadata))


@contextlib.contextmanager
def _writing(path: Path, schema: pa.Schema, **ways: Any) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet file that is written whole or not at all, and holds its own SHA-256."""
    seal = files.placeholder()
    with files.replacing(path) as file:
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True, **ways) as writer:
            writer.add_key_value_metadata({files.SEAL: seal})
            yield writer
        files.fill(file, seal)


def write_items(vectors: Iterable[tuple[Mapping[str, Any], np.ndarray, np.ndarray]], path: Path) -> None:
    """Write the table of single items' scores, a row group at a time in memory.

    Args:
        vectors: what a vector's rows share (columns `WHOSE` and `metric`), which items it is of, and their scores.
        path: the file.
    """
    schema = _schema("items")
    texts = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    ways: dict[str, Any] = {"use_dictionary": texts, "column_encoding": {"item": "DELTA_BINARY_PACKED"}}
    with _writing(path, schema, **ways) as writer:
        for part in _parts(vectors):
            count = np.repeat(np.arange(len(part)), [len(which) for _, which, _ in part])
            columns: dict[str, pa.Array] = {
                "item": np.concatenate([which for _, which, _ in part]).astype(np.int32),
                "value": np.concatenate([values for _, _, values in part]).astype(np.float32),
            }
            for name in set(schema.names) - set(columns):
                shared = pa.array([whose[name] for whose, _, _ in part])
                columns[name] = (shared.dictionary_encode() if name in texts else shared).take(pa.array(count))
            writer.write_table(pa.table(columns, schema=schema))


_Vectors = list[tuple[Mapping[str, Any], np.ndarray, np.ndarray]]


def _parts(vectors: Iterable[tuple[Mapping[str, Any], np.ndarray, np.ndarray]]) -> Iterator[_Vectors]:
    """Give whole vectors, as many at a time as make a row group of `GROUP` rows."""
    part: _Vectors = []
    rows = 0
    for vector in vectors:
        part.append(vector)
        rows += len(vector[1])
        if rows >= GROUP:
            yield part
            part, rows = [], 0
    if part:
        yield part


def read_parquet(path: Path, table: Table = "records", only: Sequence[str] = ()) -> pd.DataFrame:
    """Return what `write_parquet` wrote.

    Args:
        path: the file.
        table: what it should hold.
        only: columns, in place of all; of text they are categories.

    Raises:
        UserError: the file cannot be read, holds another table, or has the schema of another version.
    """
    texts = [name for name in only if TABLES[table][name] == DTYPES[str]]
    try:
        whole = _unsealed(path, table)
        content = pq.read_table(
            whole, columns=list(only) or None, read_dictionary=texts, page_checksum_verification=True
        )
    except _UNREADABLE as error:
        raise UserError(f"{path} is not a Parquet file that can be read: {error}") from None
    columns = TABLES[table]
    frame = content.to_pandas()
    if only:
        return cast(pd.DataFrame, frame)
    lacking = {name: value for name, value in EARLIER.items() if name in columns and name not in frame}
    frame = frame.assign(**lacking)
    return cast(pd.DataFrame, frame[list(columns)].astype(columns))


class Rows(NamedTuple):
    """Rows of a table of items that follow each other within a row group, from `start` up to `stop`."""

    group: int
    start: int
    stop: int


def places(path: Path) -> dict[tuple[str, str, str], list[Rows]]:
    """Return where a table of items has the scores of each cell, key and metric.

    Raises:
        UserError: as `read_parquet`.
    """
    if kind(path) != "items":
        read_parquet(path, "items")  # which says why not
    found: dict[tuple[str, str, str], list[Rows]] = {}
    try:
        file = _opened(path)
        for group in range(file.metadata.num_row_groups):
            whose = file.read_row_group(group, columns=["cell", "key", "metric"])
            columns = [column.combine_chunks().dictionary_encode() for column in whose.columns]
            codes = np.stack([column.indices.to_numpy() for column in columns])
            starts = np.flatnonzero(np.append(True, (codes[:, 1:] != codes[:, :-1]).any(0))[: codes.shape[1]])
            for start, stop in zip(starts, [*starts[1:], codes.shape[1]], strict=True):
                cell, key, metric = (column[int(start)].as_py() for column in columns)
                found.setdefault((cell, key, metric), []).append(Rows(group, int(start), int(stop)))
    except _UNREADABLE as error:
        raise UserError(f"{path} is not a Parquet file that can be read: {error}") from None
    return found


def at(path: Path, places: Iterable[Rows]) -> tuple[np.ndarray, np.ndarray]:
    """Return items and values of rows of a table of items.

    Raises:
        UserError: they cannot be read.
    """
    try:
        parts = [[column[rows.start : rows.stop] for column in _group(path, rows.group)] for rows in places]
    except _UNREADABLE as error:
        raise UserError(f"{path} is not a Parquet file that can be read: {error}") from None
    which, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return which, values


@lru_cache(maxsize=8)
def _group(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    content = _opened(path).read_row_group(number, columns=["item", "value"])
    return content["item"].to_numpy(), content["value"].to_numpy()


@lru_cache(maxsize=8)
def _opened(path: Path) -> pq.ParquetFile:
    file = pq.ParquetFile(_unsealed(path, "items"), page_checksum_verification=True)
    if lacking := TABLES["items"].keys() - set(file.schema_arrow.names):
        raise ValueError(f"it lacks the columns {listed(sorted(lacking))}")
    return file


def _unsealed(path: Path, table: Table) -> pa.BufferReader:
    """Return what a Parquet file holds, once its seal is checked; one of an earlier version has none.

    Raises:
        OSError: it cannot be read.
        Damaged: it is not what was written.
        UserError: it holds another table, or has the schema of another version.
    """
    content = files.read(path, files.ANY)
    footer = pq.read_metadata(pa.BufferReader(content)).metadata or {}
    held, version = _stamp(footer)
    if held != table or version not in ("1", str(SCHEMA)):
        raise UserError(
            f"{path} holds {held or 'no table of bench'}, schema {version or 'unknown'};"
            f" {table}, schema 1 or {SCHEMA}, is what this version reads"
        )
    if footer.get(b"priorbench.sealed") or files.SEAL.encode() in footer:
        files.check_seal(content, footer.get(files.SEAL.encode(), b""))
    return pa.BufferReader(content)


def kind(path: Path) -> str:
    """Return which table a Parquet file holds, or nothing if it is none of ours."""
    try:
        return _stamp(pq.read_schema(path).metadata or {})[0]
    except (OSError, pa.ArrowException):
        return ""


def _stamp(metadata: Mapping[bytes, bytes]) -> tuple[str, str]:
    """Return which table a Parquet file's metadata is of and its version; both empty if it is none of ours."""
    table, version = (metadata.get(key, b"") for key in (b"priorbench.table", b"priorbench.schema"))
    return table.decode(errors="replace"), version.decode(errors="replace")
