"""What may stand at a place in a settings model, in words.

Types and bounds are read from the model's JSON schema, so that whatever pydantic validates can also be said.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from bench import words


def shown(value: Any) -> str:
    """Return a value as a grid would write it, cut after 60 characters."""
    try:
        text = words.plain(json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False))
    except (ValueError, RecursionError):  # an integer of thousands of digits, or nested without end
        return "a value too long to show"
    return text if len(text) <= 60 else f"{text[:57]}..."


#: how an error names an argument, and the value that it has: as it was typed on the command line, or given in Python
Spelling = Callable[..., str]


def typed(name: str, value: Any = None) -> str:
    """Return `--jobs`, or `--jobs 3`."""
    option = {"strategies": "strategy", "datasets": "dataset"}.get(name, name.replace("_", "-"))
    return f"--{option}" if value is None else f"--{option} {value}"


def passed(name: str, value: Any = None) -> str:
    """Return `jobs`, or `jobs=3`."""
    return name if value is None else f"{name}={value!r}"


#: what stands at a place -> its words, and their article after `it must be`
_SORTS = {
    "integer": ("integer", "an "),
    "number": ("number", "a "),
    "string": ("text", ""),
    "boolean": ("true or false", ""),
    "object": ("table", "a "),
    "array": ("list", "a "),
    "any": ("any value", ""),
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


def _members(nodes: Iterable[Any], definitions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give the schemas that nodes stand for, with references followed and unions opened, without null."""
    for node in nodes:
        if not isinstance(node, Mapping):
            continue  # `additionalProperties` may be true or false
        if "$ref" in node:
            yield from _members([definitions[node["$ref"].rpartition("/")[2]]], definitions)
        elif union := node.get("anyOf") or node.get("oneOf"):
            yield from _members(union, definitions)
        elif node.get("type") != "null":
            yield node


@functools.cache
def _schema(model: type[BaseModel]) -> Mapping[str, Any]:
    """Return a model's JSON schema, which takes longer to make than a model to validate."""
    return model.model_json_schema()


def _sort(node: Mapping[str, Any]) -> str:
    """Return what a schema is of: `choice` (of some values alone) or a key of `_SORTS`."""
    if "const" in node or "enum" in node:
        return "choice"
    return node["type"] if node.get("type") in _SORTS else "any"


@dataclass(frozen=True)
class Shape:
    """A place in a settings model: a field, a table or an item of a list; read from the model's JSON schema.

    Attributes:
        members: the schemas of which one must hold; more than one at a union.
        definitions: what references name.
    """

    members: tuple[Mapping[str, Any], ...]
    definitions: Mapping[str, Any]

    @classmethod
    @functools.cache
    def of(cls, model: type[BaseModel]) -> Shape:
        """Return the shape of a whole model."""
        schema = _schema(model)
        definitions = schema.get("$defs", {})
        return cls(tuple(_members([schema], definitions)), definitions)

    def with_table(self, field: str, model: type[BaseModel], *texts: str) -> Shape:
        """Return the same shape with a table of `model` at a field, which has the further keys `texts`."""
        schema, (member,) = _schema(model), self.members
        table = {**schema, "properties": {**{key: {"type": "string"} for key in texts}, **schema.get("properties", {})}}
        member = {**member, "properties": {**member["properties"], field: table}}
        return Shape((member,), {**self.definitions, **schema.get("$defs", {})})

    def _under(self, nodes: Iterable[Any]) -> Shape:
        return Shape(tuple(_members(nodes, self.definitions)), self.definitions)

    def at(self, *keys: str | int) -> Shape | None:
        """Return the shape under keys of tables and indices of lists, one in another; None where there is none."""
        place = self
        for key in keys:
            nodes = []
            for member in place.members:
                if isinstance(key, int):
                    first = member.get("prefixItems", [])
                    nodes.append(first[key] if key < len(first) else member.get("items"))
                else:
                    nodes.append(member.get("properties", {}).get(key, member.get("additionalProperties")))
            if not any(isinstance(node, Mapping) for node in nodes):
                return None
            place = self._under(nodes)
        return place

    def _items(self, node: Mapping[str, Any]) -> Shape:
        """Return what may stand in a list, or under any key of a table."""
        return self._under([*node.get("prefixItems", []), node.get("items"), node.get("additionalProperties")])

    def fitting(self, values: Any) -> Shape:
        """Return the tables of a union that `values` does not contradict: those of its `kind`; all if none is left."""
        if not isinstance(values, Mapping):
            return self
        members = []
        for member in self.members:
            texts = {key: _choices_of(place) for key, place in member.get("properties", {}).items() if key in values}
            if all(values[key] in choices for key, choices in texts.items() if choices):
                members.append(member)
        return Shape(tuple(members), self.definitions) if members else self

    @property
    def sorts(self) -> set[str]:
        """What may stand here: JSON's `integer`, `number`, `string`, `boolean`, `object`, `array`; `choice`; `any`."""
        return {_sort(member) for member in self.members} or {"any"}

    @property
    def keys(self) -> list[str]:
        """The keys of a table."""
        return list(dict.fromkeys(key for member in self.members for key in member.get("properties", {})))

    @property
    def depth(self) -> int:
        """How many lists are nested here: 0 for a single value, 1 for a list of single values."""
        lists = (member for member in self.members if _sort(member) == "array")
        return max((1 + self._items(member).depth for member in lists), default=0)

    @property
    def unordered(self) -> bool:
        """Whether a set may stand here, or in a list or table here."""
        return any(member.get("uniqueItems") or self._items(member).unordered for member in self.members)

    @property
    def choices(self) -> list[str]:
        """The texts that may stand here, where only some may."""
        return [choice for member in self.members for choice in _choices_of(member) if isinstance(choice, str)]

    @property
    def type(self) -> str:
        """The type in words: `integer`, `one of "a", "b"`, `list of numbers`, `table`."""
        return " or ".join(dict.fromkeys(self._type(member) for member in self.members)) or "any value"

    def _type(self, node: Mapping[str, Any]) -> str:
        sort = _sort(node)
        if sort == "choice":
            return f"{'one of ' * ('enum' in node)}{', '.join(map(shown, _choices_of(node)))}"
        if sort != "array":
            return _SORTS[sort][0]
        items = self._items(node)
        plural = len(items.sorts) == 1 and items.sorts <= {"integer", "number", "object"}
        return f"list of {items.type}{'s' * plural}"

    @property
    def bounds(self) -> str:
        """The bounds in words: `above 0 and at most 10`, `2 items, each at least 0`; empty without."""
        return " or ".join(dict.fromkeys(filter(None, (self._bounds(member) for member in self.members))))

    def _bounds(self, node: Mapping[str, Any]) -> str:
        parts = [" and ".join(words.format(node[key]) for key, words in _BOUNDS.items() if key in node)]
        low, high = node.get("minItems"), node.get("maxItems")
        if low is not None and high is not None:
            parts.append(f"{low} items" if low == high else f"{low} to {high} items")
        elif low or high:
            parts.append(f"at least {low} item{'s' * (low != 1)}" if low else f"at most {high} item{'s' * (high != 1)}")
        if item := self._under([node.get("items")]).bounds:
            parts.append(f"each {item}")
        return ", ".join(filter(None, parts))

    @property
    def allowed(self) -> str:
        """What may stand here, as the end of `it must be ...`."""
        article = next((_SORTS.get(_sort(member), ("", ""))[1] for member in self.members), "")
        return f"{article}{self.type}{', ' * bool(self.bounds)}{self.bounds}"


def _choices_of(node: Mapping[str, Any]) -> list[Any]:
    """Return the values that a schema allows, where it lists them."""
    return [node["const"]] if "const" in node else node.get("enum", [])
