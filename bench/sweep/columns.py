"""The columns of a model's long table, which follow from its fields and their types."""

from __future__ import annotations

import functools
import json
import marshal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from bench.files import finite

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_MOST = 4096  # texts that are kept: the records of a grid have few settings in all
_read = functools.lru_cache(maxsize=_MOST)(json.loads)


_texts: dict[bytes, str] = {}  # settings as Python writes them -> as JSON


def canonical(settings: Mapping[str, Any]) -> str:
    """Return settings as JSON that is equal where they are."""
    try:
        key = marshal.dumps(cast(dict[str, Any], settings), 2)  # unlike equality, it tells 1 from 1.0 and from true
    except ValueError:  # not of plain types
        return _encoded(settings)
    text = _texts.get(key)
    if text is None:
        if len(_texts) >= _MOST:
            _texts.clear()
        text = _texts[key] = _encoded(settings)
    return text


def _encoded(settings: Mapping[str, Any]) -> str:
    try:
        return _CANONICAL.encode(settings)
    except ValueError:
        return _CANONICAL.encode(finite(settings))


@dataclass(frozen=True)
class Column:
    """How a field goes into the long table, where that does not follow from its name and type.

    Attributes:
        name: of the column, or what the columns of a nested model begin with.
        keys: the keys of a mapping that have a column each; what else it holds is not in the table.
    """

    name: str = ""
    keys: Sequence[str] | None = None


#: type of a field -> type of its column; of any other, canonical JSON
DTYPES: dict[Any, str] = {str: "string", int: "Int64", float: "float64", bool: "boolean"}


@dataclass(frozen=True)
class Leaf:
    """A column, and where its value lies in a record: the names of fields, the last of which may be a mapping's key."""

    column: str
    dtype: str
    path: tuple[str, ...]
    settings: bool = False
    entry: bool = False

    def value(self, record: Any, score: Any) -> Any:
        """Return what the column holds in the row of a record and one of its scores, or None."""
        value: Any = score if self.path[0] == "scores" else getattr(record, self.path[0])
        for name in self.path[1:]:
            value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        return canonical(value) if self.settings and value is not None else value

    def values(self, parts: Sequence[Any]) -> list[Any]:
        """Return what the column holds for records, or, of a score's column, for scores, where None stands for none."""
        score = self.path[0] == "scores"
        values = list(parts) if score else [getattr(part, self.path[0]) for part in parts]
        for name in self.path[1:]:
            values = [value.get(name) if isinstance(value, dict) else getattr(value, name, None) for value in values]
        return [None if value is None else canonical(value) for value in values] if self.settings else values

    def put(self, content: dict[str, Any], value: Any) -> None:
        """Put what a column holds into the place of a record that it comes from; settings are shared, not copied."""
        for name in self.path[:-1]:
            content = content.setdefault(name, {})
        if not self.entry or value == value:  # a number that is not there is NaN in a table
            content[self.path[-1]] = _read(value) if self.settings and value is not None else value


def columns(model: type[BaseModel]) -> dict[str, str]:
    """Return the columns of a model's table and their types, as pandas names them."""
    return {leaf.column: leaf.dtype for leaf in leaves(model)}


@functools.cache
def leaves(model: type, path: tuple[str, ...] = (), prefix: str = "") -> tuple[Leaf, ...]:
    """Return the columns of a model or dataclass at `path` of a record, in order."""
    if issubclass(model, BaseModel):
        fields = {name: (info.annotation, info.metadata) for name, info in model.model_fields.items()}
    else:
        fields = {name: (annotation, []) for name, annotation in get_type_hints(model).items()}
    columns: list[Leaf] = []
    for name, (annotation, marks) in fields.items():
        mark = next((mark for mark in marks if isinstance(mark, Column)), Column())
        sort, place = kind(annotation), (*path, name)
        if mark.keys is not None:
            columns += [Leaf(key, "float64", (*place, key), entry=True) for key in mark.keys]
        elif sort is list:
            columns += leaves(get_args(annotation)[0], place)
        elif sort in (*DTYPES, dict):
            columns.append(Leaf(mark.name or prefix + name, DTYPES.get(sort, "string"), place, sort is dict))
        else:
            columns += leaves(sort, place, f"{mark.name or name}_")
    return tuple(columns)


def kind(annotation: Any) -> Any:
    """Return the type that an annotation stands for, None aside."""
    if get_origin(annotation) in (UnionType, Union):
        (annotation,) = (choice for choice in get_args(annotation) if choice is not NoneType)
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return type(get_args(annotation)[0])
    return get_origin(annotation) or annotation
