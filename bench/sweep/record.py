"""What a cell leaves: its record, from the request and the circumstances to the scores.

A record is one JSON object, and one model describes it: `Record`. What is written, how strictly it is read, and the
columns and rows of the long table all follow from its fields, so that a new one is a line here.
"""

from __future__ import annotations

import functools
import json
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import bench
from bench import protocol
from bench.sweep.fingerprints import Fingerprints

SCHEMA = 1

Failure = Literal["diverged", "out-of-memory", "timeout", "crashed", "node-lost", "cancelled", "error"]
Status = Literal["ok", "skipped", Failure]
#: statuses of a cell that came to no scores
FAILED: tuple[str, ...] = get_args(Failure)
#: every final status
STATUSES: tuple[str, ...] = get_args(Status)
#: what `--retry-failed` runs again; a diverged cell is a finding, and the same seed diverges again
RETRIED = tuple(status for status in FAILED if status != "diverged")


class CorruptRecord(Exception):
    """A record's file does not hold a record; the message is the reason."""


# ---------------------------------------------------------------- the model


@dataclass(frozen=True)
class Column:
    """How a field goes into the long table, where that does not follow from its name and type.

    Attributes:
        name: of the column, or what the columns of a nested model begin with.
        keys: the keys of a mapping that have a column each; what else it holds is not in the table.
    """

    name: str = ""
    keys: Sequence[str] | None = None


class _Part(BaseModel):
    """Types are strict, and a field too many or too few is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Data(_Part):
    """A data set, with the version and SHA-256 of what was loaded, where it was."""

    name: Annotated[str, Column("dataset")]
    version: str | None
    sha256: str | None
    options: dict[str, Any]


class Git(_Part):
    """The commit of the checkout that ran, and whether files in it differed."""

    commit: str
    dirty: bool


class Score(_Part):
    """A `bench.protocol.Score` with its metric."""

    metric: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    version: Annotated[int, Column("metric_version")]
    value: float
    n: int
    estimator: str
    stderr_mc: float
    stderr_images: float
    stderr: float
    sys_lower: float
    sys_upper: float
    unreliable: str

    @classmethod
    def of(cls, score: protocol.Score) -> Self:
        """Return a score in plain types, whatever library made it; a value that is no number is marked unreliable."""
        values = {**vars(score.metric), **vars(score), "metric": score.metric.name, "stderr": score.stderr}
        plain = {name: _kind(info.annotation)(values[name]) for name, info in cls.model_fields.items()}
        infinite = "" if abs(plain["value"]) < float("inf") else "not a finite number"
        return cls(**plain | {"unreliable": plain["unreliable"] or infinite})


class Point(_Part):
    """A point of a training curve, which lies beside the record."""

    epoch: int
    step: int
    metric: str
    value: float | None


#: what a cell took altogether
SECONDS = ("fit_seconds", "evaluate_seconds", "overhead_seconds")
RESOURCES = (*SECONDS, "warmup_seconds", "peak_host_bytes", "peak_device_bytes")


class Record(_Part):
    """What a cell left.

    Settings are as they were, not as a model of now would have them. What `provenance` gives is None where it is not
    known, and so is `last_step` where there was no step.
    """

    format: Annotated[Literal[1], Field(alias="schema"), Column(keys=())]
    grid: str
    cell: str
    dataset: Annotated[Data, Column("dataset")]
    strategy: str
    label: str
    hyper: dict[str, Any]
    seed: int
    networks: dict[str, Any]
    budget: dict[str, Any]
    evaluation: dict[str, Any]
    status: Status
    reason: str
    last_step: int | None
    attempt: int
    scores: list[Score]
    stability: dict[str, float]
    resources: Annotated[dict[str, float], Column(keys=RESOURCES)]
    device: str | None
    torch: str | None
    python: str | None
    platform: str | None
    git: Git | None
    fingerprints: Annotated[Fingerprints, Column("fingerprint")]
    started: str
    finished: str

    @classmethod
    def read(cls, content: bytes, cell: str) -> Self:
        """Return the record of `cell` that a file holds.

        Raises:
            CorruptRecord: it holds none.
        """
        try:
            record = cls.model_validate_json(content)
        except ValidationError as error:
            raise CorruptRecord("it is empty" if not content else explained(error)) from None
        if record.cell != cell:
            raise CorruptRecord("its `cell` is wrong: it is that of another folder")
        return record

    def json_bytes(self) -> bytes:
        """Return the content of a record's file."""
        return json_bytes(self.model_dump(mode="json", by_alias=True))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give the record's rows of the long table: one for each score, or one without a metric."""
        for score in (self.scores if self.status == "ok" else ()) or (None,):
            yield {leaf.column: leaf.value(self, score) for leaf in _leaves(type(self))}

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Return the record that has these rows; what has no column is lost.

        Raises:
            ValidationError: there is none.
        """
        leaves = _leaves(cls)
        content: dict[str, Any] = {"schema": SCHEMA}
        for leaf in leaves:
            if leaf.path[0] != "scores":
                leaf.put(content, rows[0][leaf.column])
        for name in {leaf.path[0] for leaf in leaves if len(leaf.path) > 1 and not leaf.entry}:
            if name in content and all(value is None for value in content[name].values()):
                content[name] = None
        content["scores"] = [
            {leaf.path[1]: row[leaf.column] for leaf in leaves if leaf.path[0] == "scores"}
            for row in rows
            if row["metric"] is not None
        ]
        return cls.model_validate_json(json.dumps(content))


def explained(error: ValidationError) -> str:
    """Return what is wrong with a file, for the first thing that is."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"it is not whole JSON ({first['ctx']['error']})"
    if first["loc"] == ("schema",) or (first["type"] == "model_type" and not first["loc"]):
        return f"it has no `schema` {SCHEMA}"
    # a name in a file may be anything, and this goes to the terminal
    place = "".join(sign if sign.isprintable() else "?" for sign in ".".join(map(str, first["loc"])))
    return f"`{place}`: {first['msg'].lower()}" if place else first["msg"].lower()


def json_bytes(content: Any) -> bytes:
    """Return the content of a file of the store."""
    return (json.dumps(content, indent=1) + "\n").encode()


# ---------------------------------------------------------------- its columns

#: type of a field -> type of its column; of any other, canonical JSON
DTYPES: dict[Any, str] = {str: "string", int: "Int64", float: "float64", bool: "boolean"}


@dataclass(frozen=True)
class _Leaf:
    """A column, and where its value lies in a record: the names of fields, the last of which may be a mapping's key."""

    column: str
    dtype: str
    path: tuple[str, ...]
    settings: bool = False
    entry: bool = False

    def value(self, record: Record, score: Score | None) -> Any:
        value: Any = score if self.path[0] == "scores" else getattr(record, self.path[0])
        for name in self.path[1:]:
            value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        return canonical(value) if self.settings else value

    def put(self, content: dict[str, Any], value: Any) -> None:
        for name in self.path[:-1]:
            content = content.setdefault(name, {})
        if not self.entry or value == value:  # a number that is not there is NaN in a table
            content[self.path[-1]] = json.loads(value) if self.settings else value


def columns(model: type[BaseModel]) -> dict[str, str]:
    """Return the columns of a model's table and their types, as pandas names them."""
    return {leaf.column: leaf.dtype for leaf in _leaves(model)}


@functools.cache
def _leaves(model: type, path: tuple[str, ...] = (), prefix: str = "") -> tuple[_Leaf, ...]:
    if issubclass(model, BaseModel):
        fields = {name: (info.annotation, info.metadata) for name, info in model.model_fields.items()}
    else:
        fields = {name: (annotation, []) for name, annotation in get_type_hints(model).items()}
    leaves: list[_Leaf] = []
    for name, (annotation, marks) in fields.items():
        mark = next((mark for mark in marks if isinstance(mark, Column)), Column())
        kind, place = _kind(annotation), (*path, name)
        if mark.keys is not None:
            leaves += [_Leaf(key, "float64", (*place, key), entry=True) for key in mark.keys]
        elif kind is list:
            leaves += _leaves(get_args(annotation)[0], place)
        elif kind in (*DTYPES, dict):
            leaves.append(_Leaf(mark.name or prefix + name, DTYPES.get(kind, "string"), place, kind is dict))
        else:
            leaves += _leaves(kind, place, f"{mark.name or name}_")
    return tuple(leaves)


def _kind(annotation: Any) -> Any:
    """Return the type that an annotation stands for, None aside."""
    if get_origin(annotation) is UnionType:
        (annotation,) = (choice for choice in get_args(annotation) if choice is not NoneType)
    if get_origin(annotation) is Literal:
        return type(get_args(annotation)[0])
    return get_origin(annotation) or annotation


# ---------------------------------------------------------------- circumstances


def now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def one_line(text: str, limit: int = 500) -> str:
    """Return `text` on one line, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def provenance(device: str) -> dict[str, Any]:
    """Return what every record of a sweep says about where it was made; no torch is imported for it."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = None
    return {
        "device": device,
        "torch": torch,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": _git(),
    }


@functools.cache
def _git() -> dict[str, Any] | None:
    """Return commit and dirty flag of the checkout that `bench` is imported from, or None if it is installed."""
    root = Path(bench.__file__).resolve().parents[1]

    def ask(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", *arguments]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # an installed copy may lie inside somebody else's repository: only one that tracks this package counts
        ask("ls-files", "--error-unmatch", "bench/__init__.py")
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


# ---------------------------------------------------------------- settings in a record


def canonical(settings: Mapping[str, Any]) -> str:
    """Return settings as JSON that is equal where they are."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


@functools.lru_cache(maxsize=4096)
def normal(model: type[protocol.Settings], text: str) -> str | None:
    """Return settings as canonical JSON of the model as it is now; None where it does not know them.

    A setting that came later has its default in earlier records.
    """
    try:
        return canonical(model.model_validate_json(text).model_dump(mode="json"))
    except ValidationError:
        return None


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give (dotted key, value) of nested settings."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(before: str, after: str) -> Iterable[tuple[str, Any, Any]]:
    """Give key, value before and value after of what differs between two settings, JSON; None where there is none."""
    old, new = dict(flat(json.loads(before))), dict(flat(json.loads(after)))
    keys = dict.fromkeys([*new, *old])
    return [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
