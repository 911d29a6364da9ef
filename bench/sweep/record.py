"""What a cell leaves: its record, from the request and the circumstances to the scores.

A record is one JSON object, and one model describes it: `Record`. What is written, how strictly it is read, and the
columns and rows of the long table all follow from its fields, so that a new one is a line here.

The first key of its file is `sha256`, of the bytes that follow that line, so that what was altered anywhere is not
read. Schema 1 had no such seal and fewer fields; it is read as well.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args
from weakref import WeakValueDictionary

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from bench import protocol, words
from bench.files import json_bytes, parsed
from bench.sweep.columns import Column, Leaf, canonical, kind, leaves
from bench.sweep.fingerprints import Fingerprints, Part
from bench.sweep.seal import opened, sealed

SCHEMA = 2
#: fields that came after schema 1, as they are in its records and until something fills them
LATER: dict[str, Any] = {
    "split": "test",
    "normalised": None,
    "schedule": None,
    "clip": None,
    "averaging": None,
    "warmup": None,
    "study": None,
    "restarts": 0,
    "device_kind": None,
    "digests": {},
    "execution": None,
    "tuned": None,
}
#: column -> what it holds in a table of schema 1, or of an earlier schema 2, which lacks it
EARLIER = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in LATER.items()}
EARLIER |= {"execution_captured": None, "execution_reason": None}
EARLIER |= {"schema": 1, "peak_tree_bytes": float("nan"), "epochs": float("nan")}

Failure = Literal["diverged", "out-of-memory", "timeout", "crashed", "node-lost", "cancelled", "error"]
Status = Literal["ok", "skipped", "pruned", Failure]
#: statuses of a cell that came to no scores
FAILED: tuple[str, ...] = get_args(Failure)
#: every final status
STATUSES: tuple[str, ...] = get_args(Status)
#: what `--retry-failed` runs again; a diverged cell is a finding, and the same seed diverges again
RETRIED = tuple(status for status in FAILED if status != "diverged")


class CorruptRecord(Exception):
    """A record's file does not hold a record, or cannot be read, which is the cause then; the message is the reason."""


class Gone(CorruptRecord):
    """A file that a record names is not there."""

    def __init__(self, reason: str = "it is gone") -> None:
        super().__init__(reason)


# ---------------------------------------------------------------- the model


class _Cleaned(dict[str, str]):
    """Text -> that text made plain: a large store has half a million texts, and a few hundred different ones."""

    def __missing__(self, text: str) -> str:
        if len(self) > 100_000:
            self.clear()
        plain = self[text] = words.plain(text)
        return plain


@functools.lru_cache(maxsize=4096)
def _named(text: str) -> str:
    if not words.is_name(text):
        raise ValueError(words.NAME)
    return text


#: text, cleaned when it is written and when it is read: whatever becomes of it, no terminal obeys it
Text = Annotated[str, AfterValidator(_Cleaned().__getitem__)]
#: what becomes a part of a file's name
Name = Annotated[str, AfterValidator(_named)]
#: what a column of integers can hold
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Words:
    """Takes the words of `json_bytes` for numbers that are not finite, besides numbers."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        words = core_schema.literal_schema(["NaN", "Infinity", "-Infinity"])
        return core_schema.union_schema(
            [handler(source), core_schema.no_info_after_validator_function(float, words)],
            mode="left_to_right",  # nearly all are numbers, and quickly read
            custom_error_type="no_number",
            custom_error_message="Input should be a valid number",
        )


#: any number, which a file holds as `json_bytes` writes it
Number = Annotated[float, _Words()]


class _Part(BaseModel):
    """Types are strict, and a field too many or too few is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Data(_Part):
    """A data set, with the version and SHA-256 of what was loaded, where it was."""

    name: Annotated[Name, Column("dataset")]
    version: Text | None
    sha256: Text | None
    options: dict[str, Any]


class Git(_Part):
    """The commit of the checkout that ran, and whether files in it differed."""

    commit: Text
    dirty: bool


class Execution(_Part):
    """How steps of training were taken (`bench.protocol.Execution`)."""

    captured: bool
    reason: Text


class Score(_Part):
    """A `bench.protocol.Score` with its metric."""

    metric: Text
    unit: Text
    better: Literal["lower", "higher", "neither"]
    version: Annotated[Integer, Column("metric_version")]
    value: Number
    n: Integer
    estimator: Text
    stderr_mc: Number
    stderr_images: Number
    stderr: Number
    sys_lower: Number
    sys_upper: Number
    unreliable: Text

    @classmethod
    def of(cls, score: protocol.Score) -> Self:
        """Return a score in plain types, whatever library made it; a value that is no number is marked unreliable."""
        values = {**vars(score.metric), **vars(score), "metric": score.metric.name, "stderr": score.stderr}
        plain = {name: plainly(values[name]) for name, plainly in _kinds(cls).items()}
        infinite = "" if abs(plain["value"]) < float("inf") else "not a finite number"
        return cls(**plain | {"unreliable": plain["unreliable"] or infinite})


@functools.cache
def _kinds(model: type[_Part]) -> dict[str, Any]:
    """Return the plain type of each field."""
    return {name: kind(info.annotation) for name, info in model.model_fields.items()}


class Point(_Part):
    """A point of a training curve, which lies beside the record."""

    epoch: Integer
    step: Integer
    metric: Text
    value: Number | None


#: what a cell took altogether
SECONDS = ("fit_seconds", "evaluate_seconds", "overhead_seconds")
#: and, where training could end early, how many epochs it took
RESOURCES = (*SECONDS, "epochs", "warmup_seconds", "peak_host_bytes", "peak_device_bytes", "peak_tree_bytes")

#: settings in a record or, in a column, canonical JSON
Settings = dict[str, Any]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(_Part):
    """What a cell left.

    Settings are as they were, not as a model of now would have them. What `circumstances.provenance` gives is None
    where it is not known, and so is `last_step` where there was no step.

    Attributes:
        format: the schema in which it was written; in its file and table, `schema`.
        split: that was scored.
        normalised: what a check of a prior that calls itself normalised came to, the fields of a
            `protocol.Normalisation`; None where there was none.
        schedule, clip, averaging, warmup: how it was trained besides `budget`, settings; None where in no way.
        study: the tuning study that its hyper-parameters come from: its outcome, or one of its trials; else None.
        tuned: what that study set, by dotted key; None without one.
        restarts: how many attempts at the cell right before this one were interrupted or lost.
        device_kind: `cpu`, or what the GPU calls itself.
        execution: how steps of training were taken; None where there were none, or before it was recorded.
        digests: `state` (from which it was scored), `arrays`, `curves` -> SHA-256 of the file, where there is one.
    """

    format: Annotated[Literal[1, 2], Field(alias="schema"), Column("schema")]
    grid: Name
    cell: Name
    dataset: Annotated[Data, Column("dataset")]
    strategy: Name
    label: Text
    hyper: dict[str, Any]
    seed: Integer
    networks: dict[str, Any]
    budget: dict[str, Any]
    evaluation: dict[str, Any]
    split: Literal["test", "validation"]
    schedule: Settings | None
    clip: Settings | None
    averaging: Settings | None
    warmup: Settings | None
    study: Text | None
    status: Status
    reason: Text
    last_step: Integer | None
    attempt: Integer
    restarts: Integer
    scores: list[Score]
    normalised: Settings | None
    stability: dict[Text, Number]
    resources: Annotated[dict[Text, Number], Column(keys=RESOURCES)]
    device: Text | None
    device_kind: Text | None
    torch: Text | None
    python: Text | None
    platform: Text | None
    git: Git | None
    fingerprints: Annotated[Fingerprints, Column("fingerprint")]
    digests: dict[str, Sha256]
    # not every record of schema 2 has these
    execution: Execution | None = None
    tuned: Settings | None = None
    started: Text
    finished: Text

    @classmethod
    def read(cls, content: bytes, cell: str) -> Self:
        """Return the record of `cell` that a file holds.

        Raises:
            CorruptRecord: it holds none.
        """
        content, seal = _content(content)
        record: Self | None = _held.get((cls, seal))
        try:
            if record is None:
                record = cls.model_validate_json(content)
                if seal:
                    _held[cls, seal] = record
        except ValidationError as error:
            raise CorruptRecord("it is empty" if not content else explained(error)) from None
        if record.cell != cell:
            raise CorruptRecord("its `cell` is wrong: it is that of another folder")
        return record

    def changed(self, now: Fingerprints) -> list[Part]:
        """Return what has changed since, in code; that numbers are equal is known of cells that end well alone."""
        return self.fingerprints.changed(now, equal=self.status == "ok")

    def json_bytes(self) -> bytes:
        """Return the content of a record's file."""
        return sealed(self.model_dump_json(by_alias=True, indent=1).encode() + b"\n")

    @classmethod
    def from_rows(cls, shared: Mapping[str, Any], scores: Sequence[Sequence[Any]]) -> Self:
        """Return the record that has these rows; what has no column is lost.

        Args:
            shared: a row, for what they have alike.
            scores: what a row holds in `score_columns`, for each that has a metric.

        Raises:
            ValidationError: there is none.
        """
        content: dict[str, Any] = {}
        for leaf in leaves(cls):
            if leaf.path[0] != "scores":
                leaf.put(content, shared[leaf.column])
        for name in _nested(cls):
            if name in content and all(value is None for value in content[name].values()):
                content[name] = None
        content["schema"] = content.pop("format")
        names = [leaf.path[1] for leaf in score_columns(cls)]
        content["scores"] = [dict(zip(names, score, strict=True)) for score in scores]
        return cls.model_validate_json(json_bytes(content))


@functools.cache
def score_columns(model: type[Record]) -> tuple[Leaf, ...]:
    """Return the columns that differ between the rows of one record: those of a score."""
    return tuple(leaf for leaf in leaves(model) if leaf.path[0] == "scores")


@functools.cache
def _nested(model: type[Record]) -> frozenset[str]:
    """Return the fields of a record that have columns of their own, but for mappings."""
    return frozenset(leaf.path[0] for leaf in leaves(model) if len(leaf.path) > 1 and not leaf.entry)


#: class and SHA-256 -> a record that somebody holds: what has the same bytes is the same, and is not parsed again
_held: WeakValueDictionary[tuple[type[Record], bytes], Any] = WeakValueDictionary()


def _content(content: bytes) -> tuple[bytes, bytes]:
    """Return the JSON of a record from what its file holds, and its SHA-256 as far as the file itself says it.

    That of schema 1 has the fields that came later, and no SHA-256.

    Raises:
        CorruptRecord: it is not what was written.
    """
    try:
        content, seal = opened(content)
    except ValueError as error:
        raise CorruptRecord(str(error)) from None
    if seal:
        return content, seal
    try:
        earlier = parsed(content)
    except ValueError:
        return content, b""  # the model says what is wrong
    if not isinstance(earlier, dict) or earlier.get("schema") not in (1, SCHEMA):
        return content, b""
    if earlier["schema"] == SCHEMA:
        raise CorruptRecord("its first line is not its SHA-256")
    return json.dumps(earlier | LATER).encode(), b""


def explained(error: ValidationError) -> str:
    """Return what is wrong with a file, for the first thing that is."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"it is not whole JSON ({first['ctx']['error']})"
    if first["loc"] == ("schema",) or (first["type"] == "model_type" and not first["loc"]):
        return f"it has no `schema` 1 or {SCHEMA}"
    # a name in a file may be anything, and this goes to the terminal
    place = words.shortened(words.plain(".".join(map(str, first["loc"]))), 60)
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"`{place}`: {message}" if place else message


def one_line(text: str, limit: int = 500) -> str:
    """Return `text` on one line, cut to `limit` characters; what a terminal would obey or is no text is `?`."""
    line = " ".join(words.plain(text).split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


# ---------------------------------------------------------------- settings in a record


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
