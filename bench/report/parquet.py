"""Parquet files of the long tables: of records, training curves, and the scores of each test item."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
#: how columns of many values are written: bytes of a number apart from each other, or differences to the row before
_ENCODINGS = {"value": "BYTE_STREAM_SPLIT", "item": "DELTA_BINARY_PACKED", "step": "DELTA_BINARY_PACKED"}
_LEVEL = 9  # of zstd: curves are 6 % smaller than at its default; higher levels gain as much and take twice the time
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
def _writing(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet file that is written whole or not at all, and holds its own SHA-256."""
    seal = files.placeholder()
    encodings = {name: way for name, way in _ENCODINGS.items() if name in schema.names}
    ways: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": _LEVEL,
        "column_encoding": encodings,
        "use_dictionary": [name for name in schema.names if name not in encodings],
    }
    with files.replacing(path) as file:
        with pq.ParquetWriter(file, schema, write_page_checksum=True, **ways) as writer:
            writer.add_key_value_metadata({files.SEAL: seal})
            yield writer
        files.fill(file, seal)


#: what a vector's rows share (columns `WHOSE` and `metric`), which items it is of, and their scores
_Vector = tuple[Mapping[str, Any], np.ndarray, np.ndarray]


def write_items(vectors: Iterable[_Vector], path: Path) -> None:
    """Write the table of single items' scores, a row group at a time in memory.

    Args:
        vectors: each whole.
        path: the file.
    """
    schema = _schema("items")
    texts = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    with _writing(path, schema) as writer:
        for part in _parts(vectors):
            whose_rows = pa.array(np.repeat(np.arange(len(part)), [len(which) for _, which, _ in part]))
            columns: dict[str, pa.Array] = {
                "item": np.concatenate([which for _, which, _ in part]).astype(np.int32),
                "value": np.concatenate([values for _, _, values in part]).astype(np.float32),
            }
            for name in set(schema.names) - set(columns):
                shared = pa.array([whose[name] for whose, _, _ in part])
                columns[name] = (shared.dictionary_encode() if name in texts else shared).take(whose_rows)
            writer.write_table(pa.table(columns, schema=schema))


def _parts(vectors: Iterable[_Vector]) -> Iterator[list[_Vector]]:
    """Give whole vectors, as many at a time as make a row group of `GROUP` rows."""
    part: list[_Vector] = []
    rows = 0
    for vector in vectors:
        if not len(vector[1]):
            continue
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
    """Which rows of a row group are of the same cell, key and metric."""

    group: int
    which: slice | np.ndarray


class ItemsFile:
    """A Parquet file with the scores of single items, as it is when it is opened.

    Attributes:
        places: where the scores of each cell, key and metric lie.

    Args:
        path: the file.

    Raises:
        UserError: as `read_parquet`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if kind(path) != "items":
            read_parquet(path, "items")  # which says why not
        self.places: dict[tuple[str, str, str], list[Rows]] = {}
        self._group = lru_cache(maxsize=16)(self._read)
        with self._readable():
            self._file = pq.ParquetFile(_unsealed(path, "items"), page_checksum_verification=True)
            _check_columns(self._file.schema_arrow)
            for group in range(self._file.metadata.num_row_groups):
                self._add(group)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            raise UserError(f"{self._path} is not a Parquet file that can be read: {error}") from None

    def _add(self, group: int) -> None:
        """Find the rows of each vector in a row group; they follow each other where this package wrote it."""
        whose = self._file.read_row_group(group, columns=list(_KEY))
        columns = [whose[name].combine_chunks().dictionary_encode() for name in _KEY]
        if any(column.null_count for column in columns):
            raise ValueError("a row of it is of no cell, key or metric")
        if not len(whose):
            return
        codes = np.zeros(len(whose), np.int64)
        for column in columns:
            codes = codes * len(column.dictionary) + column.indices.to_numpy()
        starts = _starts(codes)
        order = None
        if len(np.unique(codes[starts])) < len(starts):
            order = np.argsort(codes, kind="stable")
            starts = _starts(codes[order])
        for start, stop in zip(starts, np.append(starts[1:], len(codes)), strict=True):
            rows = slice(int(start), int(stop)) if order is None else order[start:stop]
            first = int(start if order is None else order[start])
            cell, key, metric = (column[first].as_py() for column in columns)
            self.places.setdefault((cell, key, metric), []).append(Rows(group, rows))

    def _read(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        content = self._file.read_row_group(group, columns=["item", "value"])
        which, values = content["item"], content["value"]
        if which.null_count or values.null_count:
            raise ValueError("an item or a value is missing in it")
        places = which.to_numpy()
        if len(places) and not 0 <= places.min() <= places.max() < 2**31:
            raise ValueError("an item in it is not from 0 to 2,147,483,647")
        return places.astype(np.int32), values.to_numpy().astype(np.float32)

    def at(self, places: Iterable[Rows]) -> tuple[np.ndarray, np.ndarray]:
        """Return items, int32, and values, float32, of some rows.

        Raises:
            UserError: they cannot be read.
        """
        with self._readable():
            parts = [[column[rows.which] for column in self._group(rows.group)] for rows in places]
        which, values = (np.concatenate(column) for column in zip(*parts, strict=True))
        return which, values


_KEY = ("cell", "key", "metric")


def _starts(codes: np.ndarray) -> np.ndarray:
    """Return where runs of the same number begin."""
    return np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))


def _check_columns(schema: pa.Schema) -> None:
    """Check that a table of items has the columns that are read, each once and of its kind.

    Raises:
        ValueError: it has not.
    """
    wanted: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
        **dict.fromkeys(_KEY, ("text", _is_text)),
        "item": ("whole numbers", pa.types.is_integer),
        "value": ("numbers", lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind)),
    }
    if lacking := wanted.keys() - set(schema.names):
        raise ValueError(f"it lacks the columns {listed(sorted(lacking))}")
    for name, (words, right) in wanted.items():
        if schema.names.count(name) > 1:
            raise ValueError(f"its column {name} is there twice")
        if not right(schema.field(name).type):
            raise ValueError(f"its column {name} holds {schema.field(name).type}, not {words}")


def _is_text(kind: pa.DataType) -> bool:
    own = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(own) or pa.types.is_large_string(own))


def items_file(path: Path) -> ItemsFile:
    """Return a Parquet file with the scores of single items; one that has not changed is read once.

    Raises:
        UserError: as `read_parquet`.
    """
    try:
        now = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
    return _items_file(path, now.st_ino, now.st_mtime_ns, now.st_size)


@lru_cache(maxsize=8)
def _items_file(path: Path, *_: int) -> ItemsFile:
    return ItemsFile(path)


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
    except _UNREADABLE:  # a name in it may be no Unicode
        return ""


def _stamp(metadata: Mapping[bytes, bytes]) -> tuple[str, str]:
    """Return which table a Parquet file's metadata is of and its version; both empty if it is none of ours."""
    table, version = (metadata.get(key, b"") for key in (b"priorbench.table", b"priorbench.schema"))
    return table.decode(errors="replace"), version.decode(errors="replace")
