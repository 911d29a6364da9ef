"""Records of run stores as one long table: a row per record and metric; and their training curves as another.

A record without scores, because its cell failed or was skipped, gives one row whose metric is null: failure is data.
Both tables go to Parquet and back unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError
from scipy import special

from bench.files import replacing
from bench.protocol import UserError
from bench.report.statistics import CONFIDENCE
from bench.sweep.store import RECORD, CorruptRecord, Store

if TYPE_CHECKING:
    from bench.sweep.fingerprints import Fingerprints

#: version of the columns below; written into every Parquet file and required when one is read
SCHEMA = 1

Table = Literal["records", "curves"]
Current = Callable[[str, str], "Fingerprints | None"]

_TEXT, _INTEGER, _NUMBER, _FLAG = "string", "Int64", "float64", "boolean"

#: column -> type. Columns named after settings (`hyper`, `networks`, ...) hold canonical JSON.
RECORDS: dict[str, str] = {
    "grid": _TEXT,
    "cell": _TEXT,
    "key": _TEXT,
    "dataset": _TEXT,
    "dataset_version": _TEXT,
    "dataset_sha256": _TEXT,
    "dataset_options": _TEXT,
    "strategy": _TEXT,
    "label": _TEXT,
    "hyper": _TEXT,
    "seed": _INTEGER,
    "networks": _TEXT,
    "budget": _TEXT,
    "evaluation": _TEXT,
    "status": _TEXT,
    "reason": _TEXT,
    "last_step": _INTEGER,
    "attempt": _INTEGER,
    "metric": _TEXT,
    "metric_version": _INTEGER,
    "unit": _TEXT,
    "better": _TEXT,
    "value": _NUMBER,
    "stderr": _NUMBER,
    "stderr_mc": _NUMBER,
    "stderr_images": _NUMBER,
    "sys_lower": _NUMBER,
    "sys_upper": _NUMBER,
    "lower": _NUMBER,  # 95 %: the systematic interval, widened by the standard error
    "upper": _NUMBER,
    "n": _INTEGER,
    "estimator": _TEXT,
    "unreliable": _TEXT,
    "seconds": _NUMBER,  # fit, evaluation and overhead
    "fit_seconds": _NUMBER,
    "evaluate_seconds": _NUMBER,
    "overhead_seconds": _NUMBER,
    "warmup_seconds": _NUMBER,
    "peak_host_bytes": _NUMBER,
    "peak_device_bytes": _NUMBER,
    "stability": _TEXT,
    "device": _TEXT,
    "torch": _TEXT,
    "python": _TEXT,
    "platform": _TEXT,
    "git_commit": _TEXT,
    "git_dirty": _FLAG,
    "fingerprint_plugin": _TEXT,
    "fingerprint_fit": _TEXT,
    "fingerprint_evaluate": _TEXT,
    "started": _TEXT,
    "finished": _TEXT,
    "stale": _FLAG,  # bench's own training or scoring code has changed since
    "plugin_changed": _FLAG,  # the strategy's or the data set's file has
}
CURVES: dict[str, str] = {
    "grid": _TEXT,
    "cell": _TEXT,
    "key": _TEXT,
    "dataset": _TEXT,
    "strategy": _TEXT,
    "label": _TEXT,
    "seed": _INTEGER,
    "epoch": _INTEGER,
    "step": _INTEGER,
    "metric": _TEXT,
    "value": _NUMBER,
}
_TABLES: dict[str, dict[str, str]] = {"records": RECORDS, "curves": CURVES}
_ARROW = {_TEXT: pa.string(), _INTEGER: pa.int64(), _NUMBER: pa.float64(), _FLAG: pa.bool_()}
_SECONDS = ("fit_seconds", "evaluate_seconds", "overhead_seconds")
_QUANTILE = float(special.ndtri((1 + CONFIDENCE) / 2))


class _Score(BaseModel):
    """A score as a record holds it."""

    metric: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    version: int
    value: float | None
    n: int
    estimator: str
    stderr_mc: float | None
    stderr_images: float | None
    stderr: float | None
    sys_lower: float | None
    sys_upper: float | None
    unreliable: str = ""


class _Data(BaseModel):
    """A record's data set."""

    name: str
    version: str | None = None
    sha256: str | None = None
    options: dict[str, Any] = {}


class _Record(BaseModel):
    """What the report needs of a record; what else there is, it lets be."""

    grid: str
    cell: str
    dataset: _Data
    strategy: str
    label: str
    hyper: dict[str, Any]
    seed: int
    networks: dict[str, Any]
    budget: dict[str, Any]
    evaluation: dict[str, Any]
    status: str
    reason: str = ""
    last_step: int | None = None
    attempt: int | None = None
    scores: list[_Score] = []
    stability: dict[str, Any] = {}
    resources: dict[str, float | None] = {}
    device: str | None = None
    torch: str | None = None
    python: str | None = None
    platform: str | None = None
    git: dict[str, Any] | None = None
    fingerprints: dict[str, str]
    started: str = ""
    finished: str = ""


# ---------------------------------------------------------------- reading stores


def collect(stores: Sequence[Path], current: Current | None = None, corrupt: list[str] | None = None) -> pd.DataFrame:
    """Return every record of the stores, long: a row per record and metric, columns `RECORDS`.

    Args:
        stores: folders of run stores.
        current: (strategy, data set) -> fingerprints of their code as it is now, or None where that is unknown; by
            them records are marked `stale` or `plugin_changed`. Without it none is.
        corrupt: takes one sentence for each file that should be a record and is not; without it the first one raises.

    Raises:
        UserError: a store does not exist, or a record is corrupt.
    """
    rows = [
        row for path, record in _records(stores, corrupt) for row in _long(record, path.stem.removeprefix("record-"))
    ]
    return marked(_frame(rows, RECORDS), current)


def curves(stores: Sequence[Path], corrupt: list[str] | None = None) -> pd.DataFrame:
    """Return the training curves beside every record of the stores: a row per epoch and metric, columns `CURVES`.

    Args:
        stores: folders of run stores.
        corrupt: as in `collect`.

    Raises:
        UserError: a store does not exist, or a record or its curves are corrupt.
    """
    rows: list[dict[str, Any]] = []
    for path, record in _records(stores, corrupt):
        key = path.stem.removeprefix("record-")
        beside = path.with_name(f"curves-{key}.json")
        if not beside.exists():
            continue
        whose = {
            "grid": record.grid,
            "cell": record.cell,
            "key": key,
            "dataset": record.dataset.name,
            "strategy": record.strategy,
            "label": record.label,
            "seed": record.seed,
        }
        try:
            points = [{name: point[name] for name in ("epoch", "step", "metric", "value")} for point in _json(beside)]
        except (OSError, ValueError, TypeError, KeyError) as error:
            _complain(f"corrupt curves {beside}: {error or type(error).__name__}", corrupt)
        else:
            rows += [whose | point for point in points]
    return _frame(rows, CURVES)


def marked(frame: pd.DataFrame, current: Current | None) -> pd.DataFrame:
    """Return the records with `stale` and `plugin_changed` as `current` (see `collect`) tells."""
    stale: list[bool] = []
    changed: list[bool] = []
    columns = ("strategy", "dataset", "fingerprint_plugin", "fingerprint_fit", "fingerprint_evaluate")
    for strategy, dataset, plugin, fit, evaluate in zip(*(frame[name] for name in columns), strict=True):
        now = current(strategy, dataset) if current else None
        stale.append(now is not None and (fit, evaluate) != (now.fit, now.evaluate))
        changed.append(now is not None and plugin != now.plugin)
    return frame.assign(stale=pd.array(stale, dtype="boolean"), plugin_changed=pd.array(changed, dtype="boolean"))


def canonical(settings: Mapping[str, Any]) -> str:
    """Return settings as JSON that is equal where they are."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def _records(stores: Sequence[Path], corrupt: list[str] | None) -> Iterator[tuple[Path, _Record]]:
    for folder in stores:
        if not folder.is_dir():
            raise UserError(f"there is no run store {folder}")
        store = Store(folder)
        for path in sorted(folder.glob("cells/*/record-*.json")):
            if not RECORD.fullmatch(path.name):
                continue
            try:
                content = store.record(path.parent.name, path.stem.removeprefix("record-"))
                if content is not None:
                    yield path, _Record.model_validate(content)
            except CorruptRecord as reason:
                _complain(f"corrupt record {path}: {reason}", corrupt)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                _complain(f"corrupt record {path}: `{place}`: {first['msg'].lower()}", corrupt)


def _complain(sentence: str, corrupt: list[str] | None) -> None:
    if corrupt is None:
        raise UserError(sentence)
    if sentence not in corrupt:
        corrupt.append(sentence)


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _long(record: _Record, key: str) -> Iterator[dict[str, Any]]:
    """Give a record's rows."""
    spent = [record.resources.get(name) for name in _SECONDS]
    known = [seconds for seconds in spent if seconds is not None]
    git = record.git or {}
    same: dict[str, Any] = {
        "grid": record.grid,
        "cell": record.cell,
        "key": key,
        "dataset": record.dataset.name,
        "dataset_version": record.dataset.version,
        "dataset_sha256": record.dataset.sha256,
        "dataset_options": canonical(record.dataset.options),
        "strategy": record.strategy,
        "label": record.label,
        "hyper": canonical(record.hyper),
        "seed": record.seed,
        "networks": canonical(record.networks),
        "budget": canonical(record.budget),
        "evaluation": canonical(record.evaluation),
        "status": record.status,
        "reason": record.reason,
        "last_step": record.last_step,
        "attempt": record.attempt,
        "seconds": sum(known) if known else None,
        **{name: record.resources.get(name) for name in RECORDS if name.endswith(("_seconds", "_bytes"))},
        "stability": canonical(record.stability),
        "device": record.device,
        "torch": record.torch,
        "python": record.python,
        "platform": record.platform,
        "git_commit": git.get("commit"),
        "git_dirty": git.get("dirty"),
        **{f"fingerprint_{part}": record.fingerprints.get(part) for part in ("plugin", "fit", "evaluate")},
        "started": record.started,
        "finished": record.finished,
    }
    if record.status != "ok" or not record.scores:
        yield same
        return
    for score in record.scores:
        row = score.model_dump(exclude={"version"}) | {"metric_version": score.version}
        if score.stderr is not None and score.sys_lower is not None and score.sys_upper is not None:
            row["lower"] = score.sys_lower - _QUANTILE * score.stderr
            row["upper"] = score.sys_upper + _QUANTILE * score.stderr
        yield same | row


def _frame(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: pd.Series([row.get(name) for row in rows], dtype=dtype, name=name) for name, dtype in columns.items()}
    )


# ---------------------------------------------------------------- Parquet


def write_parquet(frame: pd.DataFrame, path: Path, table: Table = "records") -> None:
    """Write a table of records or curves, whole or not at all."""
    columns = _TABLES[table]
    schema = pa.schema(
        [pa.field(name, _ARROW[dtype]) for name, dtype in columns.items()],
        metadata={"priorbench.table": table, "priorbench.schema": str(SCHEMA)},
    )
    content = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(schema.metadata)
    with replacing(path) as file:
        pq.write_table(content, file, compression="zstd")


def read_parquet(path: Path, table: Table = "records") -> pd.DataFrame:
    """Return what `write_parquet` wrote.

    Raises:
        UserError: the file cannot be read, holds another table, or has the schema of another version.
    """
    try:
        content = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a Parquet file that can be read: {error}") from None
    found, version = _stamp(content.schema)
    if (found, version) != (table, str(SCHEMA)):
        raise UserError(
            f"{path} holds {found or 'no table of bench'}, schema {version or 'unknown'};"
            f" {table}, schema {SCHEMA}, is what this version reads"
        )
    frame: pd.DataFrame = content.to_pandas().astype(dict(_TABLES[table]))
    return frame


def kind(path: Path) -> str:
    """Return which table a Parquet file holds, or nothing if it is none of ours."""
    try:
        return _stamp(pq.read_schema(path))[0]
    except (OSError, pa.ArrowException):
        return ""


def _stamp(schema: pa.Schema) -> tuple[str, str]:
    """Return which table a Parquet schema is of and its version; both empty if it is none of ours."""
    metadata = schema.metadata or {}
    return metadata.get(b"priorbench.table", b"").decode(), metadata.get(b"priorbench.schema", b"").decode()
