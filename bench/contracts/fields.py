"""The contract on a plugin's fields: described, bounded, validated, and tuned within their bounds."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

from bench.contracts.verdicts import Breach
from bench.plugins import Plugin, PluginError, build
from bench.plugins.settings import Option, Shape, options, shown
from bench.protocol import Settings, UserError

WHERE = "check"
UNKNOWN = "no_such_key"


def check(plugin: Plugin, values: Mapping[str, Any]) -> str:
    """Check the fields of a plugin, those of nested tables included.

    Args:
        plugin: a strategy or data set.
        values: what stands in place of the fields' defaults.
    """
    cls = plugin.load()
    try:
        settings = build(plugin, values, WHERE)
    except UserError as error:
        raise Breach(f"the defaults are not valid: {error}") from error
    _check_round_trip(plugin, settings)
    found = options(cls)
    tables = {key.rpartition(".")[0] for key in (option.key for option in found)} | {""}
    for table in sorted(tables):
        _check_refused(plugin, values, f"{table}.{UNKNOWN}".strip("."), 1, "though there is no such key")
    for option in found:
        if not option.description.strip():
            raise Breach(f"{option.key} has no description")
        if option.type in ("integer", "number") and not option.bounds:
            raise Breach(f"{option.key} has no bound; give the least or the greatest value that makes sense")
        for value, why in _wrong(cls, option):
            _check_refused(plugin, values, option.key, value, why)
        _check_search(plugin, values, option)
    return f"{len(found)} field{'s' * (len(found) != 1)}; defaults are valid, wrong values are refused"


def _check_round_trip(plugin: Plugin, settings: Settings) -> None:
    """Check that a cell's record, which holds the values as JSON, gives the same plugin again."""
    plain = settings.model_dump(mode="json", round_trip=True)
    try:
        again = build(plugin, plain, WHERE)
    except UserError as error:
        raise Breach(f"its own values, written as JSON, are refused: {error}") from error
    if again.model_dump(mode="json", round_trip=True) != plain:
        raise Breach("its values, written as JSON and read again, are others")


# ---------------------------------------------------------------- wrong values


def _check_refused(plugin: Plugin, values: Mapping[str, Any], key: str, value: Any, why: str) -> None:
    try:
        build(plugin, _changed(values, key, value), WHERE)
    except PluginError as error:
        raise Breach(f"{key} = {shown(value)} is not refused in a sentence: {error}") from error
    except UserError as error:
        if "\n" in str(error):
            raise Breach(f"{key} = {shown(value)} is refused in more than one line") from error
    else:
        raise Breach(f"{key} = {shown(value)} is accepted, {why}")


def _wrong(cls: type[Settings], option: Option) -> Iterator[tuple[Any, str]]:
    """Give values that a field must refuse, and why."""
    if "table" not in option.type and "any value" not in option.type:
        yield {UNKNOWN: 1}, f"though it is {option.type}, not a table"
    wrong_types: dict[str, list[Any]] = {"integer": ["1", 1.5], "number": ["1", math.inf], "true or false": ["true", 1]}
    for value in wrong_types.get(option.type, ()):
        yield value, f"though it must be {option.type}{' and finite' if value == math.inf else ''}"
    for node in _leaves(cls, option.key):
        for value in _outside(node):
            yield value, f"though it must be {option.bounds}"
        if isinstance(option.default, list) and option.default and isinstance(node.get("items"), Mapping):
            for value in _outside(node["items"]):
                yield [value, *option.default[1:]], f"though it must be {option.bounds}"
        if node.get("minItems", 0) > 0:
            yield [], f"though it must be {option.bounds}"


def _outside(node: Mapping[str, Any]) -> Iterator[float]:
    """Give the values next to the bounds of a number, on the wrong side."""
    for key, step in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
        if key in node:
            yield node[key] + step


def _leaves(cls: type[Settings], key: str) -> Iterator[Mapping[str, Any]]:
    """Give the JSON schemas that stand at a dotted key, one for each type of a union."""
    place: Shape | None = Shape.of(cls)
    for part in key.split("."):
        place = place.at(part) if place else None
    nodes = [place.node] if place else []
    while nodes:
        node = nodes.pop()
        inner = node.get("anyOf") or node.get("oneOf")
        if inner:
            nodes += inner
        else:
            yield node


def _changed(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return nested `values` with another value at a dotted key."""
    changed = copy.deepcopy(dict(values))
    *tables, last = key.split(".")
    table = changed
    for name in tables:
        table = table.setdefault(name, {})
    table[last] = value
    return changed


# ---------------------------------------------------------------- tuning


def _check_search(plugin: Plugin, values: Mapping[str, Any], option: Option) -> None:
    """Check that a search range is one, and that its ends (or its choices) are allowed."""
    search = option.search
    if search is None:
        return
    low, high, choices = search["low"], search["high"], search["choices"]
    if (choices is None) == (low is None or high is None):
        raise Breach(f"{option.key} is tuned over neither a range (low and high) nor choices, or over both")
    if choices is None and not low < high:
        raise Breach(f"{option.key} is tuned from {low} to {high}, which is no range")
    if search["log"] and not (low is not None and low > 0):
        raise Breach(f"{option.key} is tuned on a logarithmic scale from {low}, which is not above 0")
    for value in choices if choices is not None else (low, high):
        whole = option.type == "integer" and isinstance(value, float) and value.is_integer()
        try:
            build(plugin, _changed(values, option.key, int(value) if whole else value), WHERE)
        except UserError as error:
            raise Breach(f"{option.key} is tuned over a value that it refuses: {error}") from error
