"""What a settings model allows: its fields in words, its mistakes as one sentence each, sweeps over its fields.

Types and bounds are read from the model's JSON schema, so that whatever pydantic validates can also be said.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from bench.protocol import Search, Settings, UserError

__all__ = ["Option", "Shape", "combinations", "listed", "nearest", "options", "shown", "validated"]

SettingsT = TypeVar("SettingsT", bound=Settings)

# ---------------------------------------------------------------- words


def listed(names: Iterable[str]) -> str:
    """Return `a, b, c`, or `none`."""
    return ", ".join(names) or "none"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the name that is most like `name`, or nothing."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f'; did you mean "{found[0]}"?' if found else ""


def shown(value: Any) -> str:
    """Return a value as a grid would write it, cut after 60 characters."""
    text = json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


_TYPES = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "table",
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matching {}",
}


@functools.cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


@dataclass(frozen=True)
class Shape:
    """A place in a settings model: a field, a table or an item of a list; read from the model's JSON schema."""

    node: Mapping[str, Any]
    definitions: Mapping[str, Any]

    @classmethod
    def of(cls, model: type[BaseModel]) -> Shape:
        """Return the shape of a whole model."""
        schema = _schema(model)
        return cls(schema, schema.get("$defs", {}))

    def _members(self, node: Mapping[str, Any] | None = None) -> Iterator[Mapping[str, Any]]:
        """Give the members of a union (else the node itself) with references followed, without null."""
        node = self.node if node is None else node
        if "$ref" in node:
            yield from self._members(self.definitions[node["$ref"].rpartition("/")[2]])
        elif "anyOf" in node or "oneOf" in node:
            for member in node.get("anyOf") or node["oneOf"]:
                yield from self._members(member)
        elif node.get("type") != "null":
            yield node

    def at(self, key: str | int) -> Shape | None:
        """Return the shape under a table's key or a list's index; None where there is none."""
        found = []
        for member in self._members():
            if isinstance(key, int):
                places = member.get("prefixItems", [])
                found.append(places[key] if key < len(places) else member.get("items"))
            else:
                found.append(member.get("properties", {}).get(key, member.get("additionalProperties")))
        nodes = [node for node in found if isinstance(node, Mapping)]
        return Shape({"anyOf": nodes}, self.definitions) if nodes else None

    def given(self, values: Any) -> Shape:
        """Return the tables of a union that `values` does not contradict: those of its `kind`; all if none is left."""

        def fits(member: Mapping[str, Any]) -> bool:
            places = member.get("properties", {})
            texts = {
                key: place.get("enum", [place["const"]] if "const" in place else None) for key, place in places.items()
            }
            return all(values[key] in choices for key, choices in texts.items() if choices and key in values)

        members = [member for member in self._members() if isinstance(values, Mapping) and fits(member)]
        return Shape({"anyOf": members}, self.definitions) if members else self

    @property
    def keys(self) -> list[str]:
        """The keys of a table."""
        return list(dict.fromkeys(key for member in self._members() for key in member.get("properties", {})))

    @property
    def depth(self) -> int:
        """How many lists are nested here: 0 for a single value, 1 for a list of single values."""
        depths = [0]
        for member in self._members():
            if member.get("type") == "array":
                depths.append(1 + Shape({"anyOf": _items(member)}, self.definitions).depth)
        return max(depths)

    @property
    def choices(self) -> list[str]:
        """The texts that may stand here, where only some may."""
        found = (choice for member in self._members() for choice in member.get("enum", [member.get("const")]))
        return [choice for choice in found if isinstance(choice, str)]

    @property
    def type(self) -> str:
        """The type in words: `integer`, `one of "a", "b"`, `list of numbers`, `table`."""
        return " or ".join(dict.fromkeys(self._type(member) for member in self._members())) or "any value"

    def _type(self, node: Mapping[str, Any]) -> str:
        if "const" in node:
            return shown(node["const"])
        if "enum" in node:
            return f"one of {', '.join(shown(choice) for choice in node['enum'])}"
        if node.get("type") == "array":
            items = Shape({"anyOf": _items(node)}, self.definitions).type
            return f"list of {items}s" if items in ("integer", "number", "table") else f"list of {items}"
        return _TYPES.get(node.get("type", ""), "any value")

    @property
    def bounds(self) -> str:
        """The bounds in words: `above 0 and at most 10`, `2 items, each at least 0`; empty without."""
        return " or ".join(dict.fromkeys(filter(None, (self._bounds(member) for member in self._members()))))

    def _bounds(self, node: Mapping[str, Any]) -> str:
        parts = [" and ".join(words.format(node[key]) for key, words in _BOUNDS.items() if key in node)]
        low, high = node.get("minItems"), node.get("maxItems")
        if low is not None and high is not None:
            parts.append(f"{low} items" if low == high else f"{low} to {high} items")
        elif low or high:
            parts.append(f"at least {low} item{'s' * (low != 1)}" if low else f"at most {high} item{'s' * (high != 1)}")
        each = Shape(node["items"], self.definitions).bounds if isinstance(node.get("items"), Mapping) else ""
        return ", ".join([*filter(None, parts), *([f"each {each}"] if each else [])])

    @property
    def allowed(self) -> str:
        """What may stand here, as the end of `it must be ...`."""
        words = self.type
        if not words.startswith(("one of", "text", "true", "any", '"')):
            words = f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
        return f"{words}, {self.bounds}" if self.bounds else words


def _items(array: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schemas that the items of an array may have."""
    return [*array.get("prefixItems", []), *([array["items"]] if isinstance(array.get("items"), Mapping) else [])]


# ---------------------------------------------------------------- the fields of a model


@dataclass(frozen=True)
class Option:
    """One field of a plugin: a hyper-parameter of a strategy or an option of a data set.

    Attributes:
        key: its key in a grid, dotted where tables nest: `energy.hidden`.
        type: in words: `integer`, `number`, `one of "gibbs", "langevin"`, `list of integers`, ...
        default: as JSON; None where `required`.
        required: it has no default.
        bounds: in words: `above 0 and at most 10`; empty without.
        description: what it means.
        search: `{low, high, log, choices}` where it can be tuned (`protocol.Search`), else None.
    """

    key: str
    type: str
    default: Any
    required: bool
    bounds: str
    description: str
    search: dict[str, Any] | None


@functools.cache
def options(model: type[BaseModel]) -> tuple[Option, ...]:
    """Return the fields of a model in their order; those of a nested settings model follow in its place."""
    return tuple(_options(model, "", {}))


def _options(model: type[BaseModel], prefix: str, defaults: Mapping[str, Any]) -> Iterator[Option]:
    shape = Shape.of(model)
    for key, field in model.model_fields.items():
        required = field.is_required() and key not in defaults
        own = None if field.is_required() else to_jsonable_python(field.get_default(call_default_factory=True))
        default = defaults.get(key, own)
        nested = _table(field.annotation)
        if nested is not None:
            yield from _options(nested, f"{prefix}{key}.", default if isinstance(default, Mapping) else {})
            continue
        place = shape.at(key)
        assert place is not None, "every field is in its model's schema"
        if "uniqueItems" in str(place.node):
            raise TypeError(f"{prefix}{key} is a set, which has no order that an id could rest on; use a list")
        search = next((to_jsonable_python(item) for item in field.metadata if isinstance(item, Search)), None)
        yield Option(f"{prefix}{key}", place.type, default, required, place.bounds, field.description or "", search)


def _table(annotation: Any) -> type[BaseModel] | None:
    """Return the one settings model that a field holds (perhaps optionally), or None."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    members = [member for member in typing.get_args(annotation) if member is not type(None)] if union else [annotation]
    if len(members) == 1 and isinstance(members[0], type) and issubclass(members[0], BaseModel):
        return members[0]
    return None


# ---------------------------------------------------------------- validation


def validated(
    model: type[SettingsT], values: Mapping[str, Any], where: str | Callable[[str], str], prefix: str
) -> SettingsT:
    """Return an instance of `model`.

    Args:
        model: what to build.
        values: plain (TOML or JSON) values. A nested table changes the field's default, key by key.
        where: what the error starts with, such as a file; or a function that says who wrote a dotted key.
        prefix: the dotted key of the whole table, such as `train`.

    Raises:
        UserError: one sentence with `where`, the key, and what is allowed there.
    """
    complete = _filled(model, values)
    try:
        # as JSON, because TOML's types are JSON's: arrays for tuples, text for paths, no Python objects
        return model.model_validate_json(json.dumps(complete, default=str))
    except ValidationError as error:
        details = error.errors(include_url=False)
        # a misspelt key often comes with a second complaint, that the right one is missing
        first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
        key, sentence = _sentence(Shape.of(model), complete, first, prefix)
        raise UserError(f"{where(key) if callable(where) else where}: {sentence}") from error


def _filled(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Complete nested tables from the default of their field, which may differ from the defaults of its class."""
    complete = dict(values)
    for key, field in model.model_fields.items():
        nested, value = _table(field.annotation), complete.get(key)
        if nested is not None and isinstance(value, Mapping):
            default = field.get_default(call_default_factory=True)
            given = default.model_dump(mode="json", round_trip=True) if isinstance(default, nested) else {}
            complete[key] = _filled(nested, {**given, **value})
    return complete


def _keys(values: Any, detail: ErrorDetails) -> list[str | int]:
    """Return the keys and indices that lead to a validation error in `values`."""
    keys: list[str | int] = []
    cursor: Any = values
    last = len(detail["loc"]) - 1
    for position, part in enumerate(detail["loc"]):
        table = isinstance(cursor, Mapping) and part in cursor
        item = isinstance(cursor, list) and isinstance(part, int)
        # other parts name a member of a union, not a place in the values
        if table or item or position == 0 or (detail["type"] == "missing" and position == last):
            keys.append(part)
            cursor = cursor[part] if table else next(iter(cursor[part:]), None) if item else None
    return keys


def _sentence(shape: Shape, values: Any, detail: ErrorDetails, prefix: str) -> tuple[str, str]:
    """Return the dotted key of a validation error and what is wrong there, without where."""
    keys = _keys(values, detail)
    key = prefix + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in keys)
    place: Shape | None = shape
    parent = shape
    cursor = values
    for part in keys:
        parent = place.given(cursor) if place else parent
        place = parent.at(part) if place else None
        cursor = cursor.get(part) if isinstance(cursor, Mapping) else None

    if detail["type"] == "extra_forbidden":
        hint = nearest(str(keys[-1]), parent.keys)
        return key, f"unknown key {key}{hint or ';'} allowed: {listed(parent.keys)}"
    if detail["type"].startswith("union_tag"):  # a table that may be of several kinds, and says a wrong one or none
        tag = detail["ctx"]["discriminator"].strip("'")
        key, place = f"{key}.{tag}", place.at(tag) if place else None
        detail["type"] = "missing" if detail["type"] == "union_tag_not_found" else detail["type"]
        detail["input"] = detail["ctx"].get("tag")
    if detail["type"] == "missing":
        return key, f"{key} is missing; it must be {place.allowed if place else 'given'}"
    if detail["type"] in ("value_error", "assertion_error"):
        reason = " ".join(str(detail["ctx"]["error"]).split())
        return key, f"{key} = {shown(detail['input'])}: {reason}" if keys else f"{key}: {reason}"
    wrong = f"{key} = {shown(detail['input'])} is not allowed"
    if detail["type"] == "finite_number":
        return key, f"{wrong}; it must be a finite number"
    if place is None or place.type == "any value":
        return key, f"{wrong}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
    hint = nearest(str(detail["input"]), place.choices)
    return key, f"{wrong}{hint or ';'} it must be {place.allowed}"


# ---------------------------------------------------------------- sweeps


def combinations(values: Any, shape: Shape, key: str, where: Callable[[str], str]) -> list[dict[str, Any]]:
    """Return every table that a table with sweeps stands for, the last key varying fastest.

    A list where a single value (or table) may stand is swept; a field that is a list is swept by a list of lists.

    Args:
        values: a table, or a list of tables.
        shape: of the settings model that the tables are for.
        key: the table's dotted key.
        where: who wrote a dotted key, for errors.

    Raises:
        UserError: a sweep over nothing, or something that is no table.
    """
    tables = values if isinstance(values, list) else [values]
    if not tables:
        raise UserError(f"{where(key)}: {key} = [] sweeps over nothing; it must be a table, or a list of tables")
    found = []
    for table in tables:
        if not isinstance(table, dict):
            raise UserError(f"{where(key)}: {key} = {shown(table)} is not allowed; it must be a table")
        places = {name: shape.given(table).at(name) for name in table}
        choices = [_choices(value, places[name], f"{key}.{name}", where) for name, value in table.items()]
        found += [dict(zip(table, chosen, strict=True)) for chosen in itertools.product(*choices)]
    return found


def _choices(value: Any, place: Shape | None, key: str, where: Callable[[str], str]) -> list[Any]:
    """Return the single values that a value stands for at one place."""
    if place is None:
        return [value]  # an unknown key, which validation complains of
    swept = isinstance(value, list) and _depth(value) > place.depth
    if value == [] and swept:
        raise UserError(f"{where(key)}: {key} = [] sweeps over nothing; it must be {place.allowed}, or a list of such")
    choices: list[Any] = []
    for single in value if swept else [value]:
        choices += combinations(single, place, key, where) if isinstance(single, dict) and place.keys else [single]
    return choices


def _depth(value: Any) -> int:
    return 1 + max((_depth(item) for item in value), default=0) if isinstance(value, list) else 0
