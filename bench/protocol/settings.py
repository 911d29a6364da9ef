"""What every settings model is, and what a plugin adds to one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isabstract
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, model_serializer
from pydantic_core import core_schema


class Settings(BaseModel):
    """A validated, frozen model: types are strict, infinities and unknown keys are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


@dataclass(frozen=True)
class Search:
    """The range in which a hyper-parameter is tuned; put into a field's `Annotated` metadata."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: Sequence[Any] | None = None


class Component(Settings):
    """A part of a model that a plugin brings: a settings class that a grid names by `kind`, its own fields beside that.

    Where a settings model has a field of one of the base classes below, a table there is validated by the class that
    its `kind` names. Validation finds that class by its context, which is `plugins.Registry.component`.

    Attributes:
        plugin: the kind of plugin that brings it.
        name: set by the registry; `kind` in a table.
        usual: the kind of a table that names none.
        capturable: whether what it builds does nothing in a step of training but on the device
            (`bench.strategy.Strategy.capturable`). It counts for the very class that says so.
    """

    plugin: ClassVar[str] = ""
    name: ClassVar[str] = ""
    usual: ClassVar[str] = ""
    capturable: ClassVar[bool] = False

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let a field of a base class take a table of any kind; the kinds themselves are settings like others."""
        schema = handler(source)
        return core_schema.with_info_wrap_validator_function(cls._by_kind, schema) if isabstract(cls) else schema

    @classmethod
    def _by_kind(cls, value: Any, handler: Callable[[Any], Any], info: core_schema.ValidationInfo) -> Any:
        if not isinstance(value, Mapping):
            return handler(value)
        kind = value.get("kind", cls.usual)
        if info.context is None:
            raise ValueError(f"the kind {kind!r} is a plugin's, and there is nothing to find plugins with")
        fields = json.dumps({key: field for key, field in value.items() if key != "kind"}, default=str)
        # as JSON, like the whole: only so are TOML's arrays tuples and its text paths
        return info.context(cls, kind).model_validate_json(fields, context=info.context)

    @model_serializer(mode="plain")
    def _with_kind(self) -> dict[str, Any]:
        return {"kind": self.name, **{field: getattr(self, field) for field in type(self).model_fields}}
