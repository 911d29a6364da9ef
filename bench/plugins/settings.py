"""What a settings model allows: its fields in words, its mistakes as one sentence each, sweeps over its fields."""

from __future__ import annotations

import functools
import itertools
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from bench.plugins.shapes import Shape, shown
from bench.protocol import Component, Search, Settings, UserError
from bench.words import listed, nearest

MOST_POINTS = 1000  # of one axis of a grid

SettingsT = TypeVar("SettingsT", bound=Settings)

#: (base class, NAME or FILE) -> the class of a component of that kind: `Registry.component`
Components = Callable[[type[Component], str], type[Component]]

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
        if nested is not None and issubclass(nested, Component):
            kind = default["kind"] if isinstance(default, Mapping) else nested.usual
            words = f"{field.description or ''}; a kind of {nested.plugin}, with fields of its own".removeprefix("; ")
            yield Option(f"{prefix}{key}.kind", "text", kind, required, "", words, None)
            nested = type(field.default) if isinstance(field.default, nested) else nested
        if nested is not None:
            yield from _options(nested, f"{prefix}{key}.", default if isinstance(default, Mapping) else {})
            continue
        place = shape.at(key)
        assert place is not None, "every field is in its model's schema"
        if place.unordered:
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


@functools.lru_cache(maxsize=1024)  # every cell of a sweep asks, of few models
def _inner(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the fields of a model that hold a table, with the settings model of each."""
    tables = {key: _table(field.annotation) for key, field in model.model_fields.items()}
    return {key: table for key, table in tables.items() if table is not None}


# ---------------------------------------------------------------- validation


def validated(
    model: type[SettingsT],
    values: Mapping[str, Any],
    where: str | Callable[[str], str],
    prefix: str,
    components: Components | None = None,
) -> SettingsT:
    """Return an instance of `model`.

    Args:
        model: what to build.
        values: plain (TOML or JSON) values. A nested table changes the field's default, key by key.
        where: what the error starts with, such as a file; or a function that says who wrote a dotted key.
        prefix: the dotted key of the whole table, such as `train`.
        components: finds the classes of components, where the model has any.

    Raises:
        UserError: one sentence with `where`, the key, and what is allowed there.
    """
    writer = where if callable(where) else lambda key: where
    if not isinstance(values, Mapping):
        raise UserError(f"{writer(prefix)}: {prefix} = {shown(values)} is not allowed; it must be a table")
    complete = _filled(model, values)
    try:
        # as JSON, because TOML's types are JSON's: arrays for tuples, text for paths, no Python objects
        return model.model_validate_json(json.dumps(complete, default=str), context=components)
    except Exception as error:
        shape = shape_of(model, complete, writer, prefix, components)  # refuses a wrong kind in better words
        if not isinstance(error, ValidationError):
            raise
        details = error.errors(include_url=False)
        # a misspelt key often comes with a second complaint, that the right one is missing
        first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
        key, sentence = _sentence(shape, complete, first, prefix)
        raise UserError(f"{writer(key)}: {sentence}") from error


def _filled(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Complete nested tables from the default of their field, which may differ from the defaults of its class."""
    complete = dict(values)
    for key, nested in _inner(model).items():
        field = model.model_fields[key]
        component = nested if issubclass(nested, Component) else None
        value = complete.get(key, {} if component and field.is_required() else None)
        if not isinstance(value, Mapping):
            continue
        default = field.get_default(call_default_factory=True)
        standing = default.model_dump(mode="json", round_trip=True) if isinstance(default, nested) else {}
        if component:
            kind = value.get("kind", standing.get("kind", component.usual))
            complete[key] = {**(standing if kind == standing.get("kind") else {}), **value, "kind": kind}
        else:
            complete[key] = _filled(nested, {**standing, **value})
    return complete


def component_fields(model: type[BaseModel]) -> dict[str, type[Component]]:
    """Return the fields of a model that hold components, by name, with the base class of each."""
    return {key: table for key, table in _inner(model).items() if issubclass(table, Component)}


def shape_of(
    model: type[BaseModel],
    values: Mapping[str, Any],
    where: Callable[[str], str],
    prefix: str,
    components: Components | None,
) -> Shape:
    """Return the shape of a model in which every component is of the kind that `values` name.

    Raises:
        UserError: there is no such kind.
    """
    shape = Shape.of(model)
    for field, base in component_fields(model).items():
        table = values.get(field)
        kind = table.get("kind") if isinstance(table, Mapping) else None
        if kind is None or components is None:
            continue
        key = f"{prefix}.{field}.kind"
        if not isinstance(kind, str):
            raise UserError(f"{where(key)}: {key} = {shown(kind)} is not allowed; it must be text")
        try:
            shape = shape.with_table(field, components(base, kind), "kind")
        except UserError as error:
            raise UserError(f"{where(key)}: {key} = {shown(kind)} is not allowed: {error}") from error
    return shape


def _sentence(shape: Shape, values: Any, detail: ErrorDetails, prefix: str) -> tuple[str, str]:
    """Return the dotted key of a validation error and what is wrong there, without where."""
    key, parent, cursor, holder = prefix, shape, values, values
    place: Shape | None = shape
    for position, part in enumerate(detail["loc"], 1):
        table = isinstance(cursor, Mapping) and part in cursor
        item = isinstance(cursor, list) and isinstance(part, int)
        # other parts name a member of a union, not a place in the values
        if table or item or position == 1 or (detail["type"] == "missing" and position == len(detail["loc"])):
            key += f"[{part}]" if isinstance(part, int) else f".{part}"
            parent = place.fitting(cursor) if place else parent
            place = parent.at(part) if place else None
            holder = cursor
            cursor = cursor[part] if table else next(iter(cursor[part:]), None) if item else None

    if detail["type"] == "extra_forbidden":
        hint = nearest(str(detail["loc"][-1]), parent.keys)
        kind = holder.get("kind") if isinstance(holder, Mapping) else None
        of = f" with kind = {shown(kind)}" * (kind is not None and not hint)  # the key may be another kind's
        return key, f"unknown key {key}{of}{hint or ';'} allowed: {listed(parent.keys)}"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        # a table that may be of several kinds, and says a wrong one or none
        tag = detail["ctx"]["discriminator"].strip("'")
        key, place = f"{key}.{tag}", place.at(tag) if place else None
        detail["type"] = "missing" if detail["type"] == "union_tag_not_found" else detail["type"]
        detail["input"] = detail["ctx"].get("tag")
    if detail["type"] == "missing":
        return key, f"{key} is missing; it must be {place.allowed if place else 'given'}"
    if detail["type"] in ("value_error", "assertion_error"):
        reason = " ".join(str(detail["ctx"]["error"]).split())
        return key, f"{key} = {shown(detail['input'])}: {reason}" if detail["loc"] else f"{key}: {reason}"
    wrong = f"{key} = {shown(detail['input'])} is not allowed"
    if detail["type"] == "finite_number":
        return key, f"{wrong}; it must be a finite number"
    if place is None or place.sorts == {"any"}:
        return key, f"{wrong}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
    hint = nearest(str(detail["input"]), place.choices)
    return key, f"{wrong}{hint or ';'} it must be {place.allowed}"


# ---------------------------------------------------------------- sweeps


def combinations(
    values: Any,
    model: type[BaseModel],
    key: str,
    where: Callable[[str], str],
    components: Components | None = None,
) -> list[dict[str, Any]]:
    """Return every table that a table with sweeps stands for, the last key varying fastest.

    A list where a single value (or table) may stand is swept; a field that is a list is swept by a list of lists.

    Args:
        values: a table, or a list of tables.
        model: the settings model that the tables are for.
        key: the table's dotted key.
        where: who wrote a dotted key, for errors.
        components: as in `validated`.

    Raises:
        UserError: a sweep over nothing, or something that is no table.
    """
    points: list[dict[str, Any]] = []
    for table in _tables(values, key, where):
        for single in _single_kinds(table, model, key, where):
            shape = shape_of(model, _filled(model, single), where, key, components)
            points += _combined([single], shape, key, where)
    return points


def _tables(values: Any, key: str, where: Callable[[str], str]) -> list[dict[str, Any]]:
    tables = values if isinstance(values, list) else [values]
    if not tables:
        raise UserError(f"{where(key)}: {key} = [] sweeps over nothing; it must be a table, or a list of tables")
    for table in tables:
        if not isinstance(table, dict):
            raise UserError(f"{where(key)}: {key} = {shown(table)} is not allowed; it must be a table")
    return tables


def _product(choices: Iterable[Sequence[Any]], key: str, where: Callable[[str], str]) -> Iterator[tuple[Any, ...]]:
    """Give every combination of choices, once there are found to be no more than a grid may have."""
    choices = list(choices)
    if (number := math.prod(map(len, choices))) > MOST_POINTS:
        raise UserError(f"{where(key)}: {key} sweeps over {number:,} points; it must be {MOST_POINTS:,} at most")
    return itertools.product(*choices)


def _single_kinds(
    table: Mapping[str, Any], model: type[BaseModel], key: str, where: Callable[[str], str]
) -> Iterator[dict[str, Any]]:
    """Give the tables that a table stands for in which every component has one kind: fields depend on the kind."""
    choices: dict[str, list[Any]] = {}
    for field in component_fields(model).keys() & table.keys():
        value = table[field]
        choices[field] = []
        for part in _tables(value, f"{key}.{field}", where) if isinstance(value, list) else [value]:
            kinds = part.get("kind") if isinstance(part, dict) else None
            if kinds == []:
                raise UserError(f"{where(key)}: {key}.{field}.kind = [] sweeps over nothing")
            choices[field] += [{**part, "kind": kind} for kind in kinds] if isinstance(kinds, list) else [part]
    for chosen in _product(choices.values(), key, where):
        yield {**table, **dict(zip(choices, chosen, strict=True))}


def _combined(values: Any, shape: Shape, key: str, where: Callable[[str], str]) -> list[dict[str, Any]]:
    points = []
    for table in _tables(values, key, where):
        places = {name: shape.fitting(table).at(name) for name in table}
        choices = [_choices(value, places[name], f"{key}.{name}", where) for name, value in table.items()]
        points += [dict(zip(table, chosen, strict=True)) for chosen in _product(choices, key, where)]
    return points


def _choices(value: Any, place: Shape | None, key: str, where: Callable[[str], str]) -> list[Any]:
    """Return the single values that a value stands for at one place."""
    if place is None:
        return [value]  # an unknown key, which validation complains of
    swept = isinstance(value, list) and _depth(value) > place.depth
    if value == [] and swept:
        raise UserError(f"{where(key)}: {key} = [] sweeps over nothing; it must be {place.allowed}, or a list of such")
    choices: list[Any] = []
    for single in value if swept else [value]:
        choices += _combined(single, place, key, where) if isinstance(single, dict) and place.keys else [single]
    return choices


def _depth(value: Any) -> int:
    return 1 + max((_depth(item) for item in value), default=0) if isinstance(value, list) else 0


# ---------------------------------------------------------------- dotted keys


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the single values of nested tables by dotted key; an empty table is one."""
    singles: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat(value) if isinstance(value, Mapping) else {}
        singles |= {f"{key}.{path}": item for path, item in inner.items()} if inner else {key: value}
    return singles


def assign(table: dict[str, Any], keys: Sequence[str], value: Any, writer: str) -> None:
    """Put a value under keys of nested tables, which are made where they are missing.

    Raises:
        UserError: there is something else where a table should be; the sentence starts with `writer`.
    """
    for depth, key in enumerate(keys[:-1], 1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise UserError(f"{writer}: {'.'.join(keys[:depth])} is {shown(table)}, not a table; set it whole")
    table[keys[-1]] = value
