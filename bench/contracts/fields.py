"""The contract on a plugin's fields: described, bounded, validated, and tuned within their bounds."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

from bench.contracts.verdicts import WHERE, Breach, Subject
from bench.plugins import PluginError
from bench.plugins.settings import Option, assign, component_fields, options
from bench.plugins.shapes import Shape, shown
from bench.protocol import Settings, UserError

UNKNOWN = "no_such_key"
WRONG: Mapping[str, list[Any]] = {"integer": ["1", 1.5], "number": ["1", math.inf], "boolean": ["true", 1]}


def check(subject: Subject) -> str:
    """Check the fields of a plugin, those of nested tables included.

    The fields of an energy that a strategy uses are for that energy's own contract.
    """
    cls = subject.plugin.load()
    try:
        settings = subject.build()
    except UserError as error:
        raise Breach(f"the defaults are not valid: {error}") from error
    _check_round_trip(subject, settings)
    parts = component_fields(cls)
    fields = [field for field in options(cls) if field.key.partition(".")[0] not in parts]
    for table in sorted({field.key.rpartition(".")[0] for field in fields} | {*parts, ""}):
        _check_refused(subject, f"{table}.{UNKNOWN}".strip("."), 1, "though there is no such key")
    for part in parts:
        if not (cls.model_fields[part].description or "").strip():
            raise Breach(f"{part} has no description")
        _check_refused(subject, f"{part}.kind", UNKNOWN, "though there is no such kind")
    for field in fields:
        place = Shape.of(cls).at(*field.key.split("."))
        assert place is not None, "every field is in its model's schema"
        if not field.description.strip():
            raise Breach(f"{field.key} has no description")
        if place.sorts in ({"integer"}, {"number"}) and not field.bounds:
            raise Breach(f"{field.key} has no bound; give the least or the greatest value that makes sense")
        for value, why in _wrong(place, field):
            _check_refused(subject, field.key, value, why)
        _check_search(subject, field, whole=place.sorts == {"integer"})
    number = len(fields) + len(parts)
    return f"{number} field{'s' * (number != 1)}; defaults are valid, wrong values are refused"


def _check_round_trip(subject: Subject, settings: Settings) -> None:
    """Check that a cell's record, which holds the values as JSON, gives the same plugin again."""
    plain = settings.model_dump(mode="json", round_trip=True)
    try:
        again = subject.build(plain)
    except UserError as error:
        raise Breach(f"its own values, written as JSON, are refused: {error}") from error
    if again.model_dump(mode="json", round_trip=True) != plain:
        raise Breach("its values, written as JSON and read again, are others")


def _build(subject: Subject, key: str, value: Any) -> None:
    """Build the plugin with another value at a dotted key."""
    changed = copy.deepcopy(dict(subject.values))
    assign(changed, key.split("."), value, WHERE)
    subject.build(changed)


# ---------------------------------------------------------------- wrong values


def _check_refused(subject: Subject, key: str, value: Any, why: str) -> None:
    try:
        _build(subject, key, value)
    except PluginError as error:
        raise Breach(f"{key} = {shown(value)} is not refused in a sentence: {error}") from error
    except UserError as error:
        if "\n" in str(error):
            raise Breach(f"{key} = {shown(value)} is refused in more than one line") from error
    else:
        raise Breach(f"{key} = {shown(value)} is accepted, {why}")


def _wrong(place: Shape, field: Option) -> Iterator[tuple[Any, str]]:
    """Give values that a field must refuse, and why."""
    if not place.sorts & {"object", "any"}:
        yield {UNKNOWN: 1}, f"though it is {field.type}, not a table"
    if len(place.sorts) == 1:
        for value in WRONG.get(next(iter(place.sorts)), []):
            yield value, f"though it must be {field.type}{' and finite' if value == math.inf else ''}"
    wrong: list[Any] = []
    for node in place.members:
        wrong += _outside(node)
        if isinstance(field.default, list) and field.default and isinstance(node.get("items"), Mapping):
            wrong += [[value, *field.default[1:]] for value in _outside(node["items"])]
        if node.get("minItems", 0) > 0:
            wrong.append([])
    for value in wrong:
        yield value, f"though it must be {field.bounds}"


def _outside(node: Mapping[str, Any]) -> Iterator[float]:
    """Give the values next to the bounds of a number, on the wrong side."""
    for key, step in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
        if key in node:
            yield node[key] + step


# ---------------------------------------------------------------- tuning


def _check_search(subject: Subject, field: Option, *, whole: bool) -> None:
    """Check that a search range is one, and that its ends (or its choices) are allowed; of integers where `whole`."""
    if field.search is None:
        return
    low, high, choices = field.search["low"], field.search["high"], field.search["choices"]
    if (choices is None) == (low is None or high is None):
        raise Breach(f"{field.key} is tuned over neither a range (low and high) nor choices, or over both")
    if choices is None and not low < high:
        raise Breach(f"{field.key} is tuned from {low} to {high}, which is no range")
    if field.search["log"] and not (low is not None and low > 0):
        raise Breach(f"{field.key} is tuned on a logarithmic scale from {low}, which is not above 0")
    for value in choices if choices is not None else (low, high):
        try:
            integer = whole and isinstance(value, float) and value.is_integer()
            _build(subject, field.key, int(value) if integer else value)
        except UserError as error:
            raise Breach(f"{field.key} is tuned over a value that it refuses: {error}") from error
