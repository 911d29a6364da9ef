"""Cells as the report sees them: those that a grid plans, what became of those that were carried out, and their table.

The long table has a row for each record and metric. A record without scores, because its cell failed or was skipped,
gives one row whose metric is null: failure is data. The table goes to Parquet and back unchanged, and so do that of
the training curves and that of the scores of each test item.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from scipy import special

from bench.files import replacing
from bench.protocol import Budget, Evaluation, Networks, Settings, UserError
from bench.report.statistics import CONFIDENCE, Value
from bench.sweep.columns import DTYPES, canonical, columns
from bench.sweep.record import EARLIER, SECONDS, Point, Record, Score, differences, explained, flat, normal

if TYPE_CHECKING:
    import bench.grid as grids

#: version of the columns below; written into every Parquet file. Files of schema 1, which lack some, are read as well
SCHEMA = 2


@dataclass(frozen=True)
class Setting:
    """What a row of a table holds fixed: everything of a cell but its seed. Settings are canonical JSON."""

    dataset: str
    options: str
    strategy: str
    hyper: str
    networks: str
    budget: str

    @property
    def context(self) -> tuple[str, str, str, str]:
        """What rows must share to be compared."""
        return self.dataset, self.options, self.networks, self.budget

    def flat(self) -> dict[str, Any]:
        """Return every setting by its dotted key in a grid."""
        parts = {"": self.hyper, "dataset.": self.options, "networks.": self.networks, "train.": self.budget}
        return {key: value for prefix, part in parts.items() for key, value in flat(json.loads(part), prefix)}


@dataclass(frozen=True)
class Planned:
    """A cell of a grid; `strategy` and `dataset` are what finds its plugins: a NAME or a FILE."""

    id: str
    setting: Setting
    seed: int
    label: str
    evaluation: str
    strategy: str
    dataset: str

    @classmethod
    def of(cls, cell: grids.Cell) -> Planned:
        """Return a grid's cell as the report sees it."""
        request = cell.request
        parts = {name: canonical(request[name]) for name in ("options", "hyper", "networks", "budget")}
        setting = Setting(dataset=request["dataset"], strategy=request["strategy"], **parts)
        evaluation = canonical(cell.evaluation.model_dump(mode="json"))
        return cls(cell.id, setting, cell.seed, cell.label, evaluation, cell.strategy, cell.dataset)


@dataclass(frozen=True)
class Plan:
    """A grid's cells in their order; empty where they are not known."""

    name: str = ""
    title: str = ""
    cells: tuple[Planned, ...] = ()

    @property
    def evaluation(self) -> str | None:
        """How its cells are scored, canonical JSON; None where there are none."""
        return self.cells[0].evaluation if self.cells else None

    def of(self, dataset: str) -> Plan:
        """Return the part on one data set."""
        return Plan(self.name, self.title, tuple(cell for cell in self.cells if cell.setting.dataset == dataset))


class Outcome(Record):
    """What became of one cell: its record, and how that stands to the code as it is now.

    Attributes:
        key: it is in the names of the record's files.
        stale: bench's own training or scoring code has changed since.
        plugin_changed: the code of one of its plugins has.
    """

    key: str
    stale: bool
    plugin_changed: bool

    @property
    def name(self) -> str:
        """What a note calls it."""
        return f"{self.label} seed {self.seed}"

    @property
    def by_metric(self) -> dict[str, Score]:
        """The scores by the names of their metrics."""
        return {score.metric: score for score in self.scores}

    @property
    def exact(self) -> bool:
        """Whether the model's likelihood is known, so that nothing about it had to be estimated."""
        return bool(self.scores) and all(score.estimator == "exact" for score in self.scores)

    @property
    def sampled(self) -> bool:
        """Whether the prior has samples and no density, so that few scores can be had."""
        return any(score.estimator == "samples" for score in self.scores)

    @property
    def rank(self) -> tuple[bool, bool, str]:
        """The highest of a cell's records stands for it: of the code as it is, else the latest."""
        return not self.plugin_changed, not self.stale, self.finished

    @cached_property
    def setting(self) -> Setting:
        """What it shares with the other seeds of its row."""
        data, hyper = self.dataset, canonical(self.hyper)
        networks, budget = _as_now(Networks, self.networks), _as_now(Budget, self.budget)
        return Setting(data.name, canonical(data.options), self.strategy, hyper, networks, budget)

    @cached_property
    def scoring(self) -> str:
        """The evaluation settings, canonical JSON."""
        return _as_now(Evaluation, self.evaluation)

    @property
    def made(self) -> str:
        """With what it was made, in words."""
        dirty = " with uncommitted changes" if self.git and self.git.dirty else ""
        commit = f", commit {self.git.commit[:10]}{dirty}" if self.git else ""
        return f"torch {self.torch or 'unknown'} on {self.device or 'an unknown device'}{commit}"


def value_of(score: Score) -> Value:
    """Return a score's value with its uncertainty."""
    return Value(score.value, score.sys_lower, score.sys_upper, score.stderr)


def _as_now(model: type[Settings], settings: Mapping[str, Any]) -> str:
    text = canonical(settings)
    return normal(model, text) or text


# ---------------------------------------------------------------- the long table

Table = Literal["records", "curves", "items"]

#: column -> type. Columns named after settings (`hyper`, `networks`, ...) hold canonical JSON; `lower` and `upper` are
#: the systematic interval, widened by the statistical one (95 %); `seconds` are those of fit, evaluation and overhead
RECORDS = columns(Outcome) | dict.fromkeys(("lower", "upper", "seconds"), DTYPES[float])
WHOSE = ("grid", "cell", "key", "dataset", "strategy", "label", "seed")
CURVES = {name: RECORDS[name] for name in WHOSE} | columns(Point)
ITEMS = {name: RECORDS[name] for name in (*WHOSE, "metric")} | {"item": "int32", "value": "float32"}
#: of each row the first metric that a record has is in the table of items: the bound and the headline metric
OF_ITEMS = (
    ("vlb_bits", "vlb"),
    ("nll_exact", "nll_ais_bits", "nll_ais", "nll_bits", "nll"),
    ("kl_data",),
)
_TABLES: dict[str, dict[str, str]] = {"records": RECORDS, "curves": CURVES, "items": ITEMS}
_ARROW = dict(zip(DTYPES.values(), (pa.string(), pa.int64(), pa.float64(), pa.bool_()), strict=True))
_ARROW |= {"int32": pa.int32(), "float32": pa.float32()}


def framed(rows: Sequence[Mapping[str, Any]], table: Table = "records") -> pd.DataFrame:
    """Return rows as a table; columns that follow from others are filled in."""
    frame = pd.DataFrame(
        {name: pd.Series([row.get(name) for row in rows], dtype=dtype) for name, dtype in _TABLES[table].items()}
    )
    if table != "records":
        return frame
    half = special.ndtri((1 + CONFIDENCE) / 2) * frame["stderr"]
    seconds = frame[list(SECONDS)].sum(axis="columns", min_count=1)
    return frame.assign(lower=frame["sys_lower"] - half, upper=frame["sys_upper"] + half, seconds=seconds)


def outcomes(frame: pd.DataFrame) -> list[Outcome]:
    """Return the records of a long table.

    Raises:
        UserError: a row is none of a record's.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    other = [name for name, dtype in RECORDS.items() if dtype != DTYPES[float]]
    plain = frame.astype(object).where(frame.notna() | ~frame.columns.isin(other), None)
    for row in plain.to_dict("records"):
        groups.setdefault((row["cell"], row["key"]), []).append(cast(dict[str, Any], row))
    try:
        return [Outcome.from_rows(rows) for rows in groups.values()]
    except ValidationError as error:
        raise UserError(f"these are no records: {explained(error)}") from None


def write_parquet(parts: pd.DataFrame | Iterable[pd.DataFrame], path: Path, table: Table = "records") -> None:
    """Write a table of records, curves or items, in one part or, what need not fit into memory, in many; or nothing."""
    schema = pa.schema(
        [pa.field(name, _ARROW[dtype]) for name, dtype in _TABLES[table].items()],
        metadata={"priorbench.table": table, "priorbench.schema": str(SCHEMA)},
    )
    with replacing(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for part in [parts] if isinstance(parts, pd.DataFrame) else parts:
            content = pa.Table.from_pandas(part, schema=schema, preserve_index=False)
            writer.write_table(content.replace_schema_metadata(schema.metadata))


def read_parquet(path: Path, table: Table = "records") -> pd.DataFrame:
    """Return what `write_parquet` wrote.

    Raises:
        UserError: the file cannot be read, holds another table, or has the schema of another version.
    """
    try:
        content = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a Parquet file that can be read: {error}") from None
    held, version = _stamp(content.schema)
    if held != table or version not in ("1", str(SCHEMA)):
        raise UserError(
            f"{path} holds {held or 'no table of bench'}, schema {version or 'unknown'};"
            f" {table}, schema 1 or {SCHEMA}, is what this version reads"
        )
    columns = _TABLES[table]
    frame = content.to_pandas()
    if version == "1":
        frame = frame.assign(**{name: value for name, value in EARLIER.items() if name in columns})
    return cast(pd.DataFrame, frame[list(columns)].astype(columns))


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


# ---------------------------------------------------------------- what belongs into one table


def select(
    candidates: Iterable[Outcome], plan: Plan, evaluation: str | None = None
) -> tuple[dict[str, Outcome], list[str]]:
    """Choose one record a cell, all of them comparable, and say in notes what is left out and why.

    Comparable are records on the same data, scored with the same settings: those of `evaluation`, else of the latest
    record. Of cells that are not planned those count that were trained under the same conditions as a planned one.

    Returns:
        Cell id -> its record; notes.
    """
    dated = sorted(candidates, key=lambda outcome: outcome.finished)
    planned = {cell.id for cell in plan.cells}
    contexts = {cell.setting.context for cell in plan.cells}
    notes = []
    if contexts:
        kin = [o for o in dated if o.cell in planned or o.setting.context in contexts]
        if cells := len({o.cell for o in dated} - {o.cell for o in kin}):
            trained = "a cell trained" if cells == 1 else f"{cells} cells trained"
            notes.append(f"left out: {trained} with another budget, other networks or data options than this grid's")
        dated = kin
    if not dated:
        return {}, notes

    evaluation = evaluation or dated[-1].scoring
    scored = [o for o in dated if o.scoring == evaluation]
    kept = {o.cell for o in scored}
    for o in _best(o for o in dated if o.cell not in kept).values():
        ways = ", ".join(
            f"{key} {_shown(ours)} instead of {_shown(wanted)}"
            for key, ours, wanted in differences(o.scoring, evaluation)
        )
        notes.append(f"left out: {o.name}, scored with {ways}")

    best = _best(scored)
    ranked = sorted(best.values(), key=lambda o: o.rank, reverse=True)
    data = next((o.dataset.sha256 for o in ranked if o.dataset.sha256), "")
    for o in [*best.values()]:
        if (digest := o.dataset.sha256) and digest != data:
            notes.append(f"left out: {o.name}, made from other data (SHA-256 {digest[:8]}... instead of {data[:8]}...)")
            del best[o.cell]
    return best, notes


def _best(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    best: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.cell not in best or outcome.rank >= best[outcome.cell].rank:
            best[outcome.cell] = outcome
    return best


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
