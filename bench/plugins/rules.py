"""What the class of a plugin must be."""

from __future__ import annotations

import functools
import inspect
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from bench.plugins.foreign import reason
from bench.plugins.kinds import KINDS, Kind, OtherKindError, PluginError
from bench.plugins.settings import component_fields, options
from bench.protocol import Settings
from bench.words import listed

if TYPE_CHECKING:
    from bench.plugins.registry import Plugin


@functools.lru_cache(maxsize=1024)  # a module that was executed stays in any case
def class_in(plugin: Plugin, module: ModuleType) -> Any:
    """Return the one public class that a module defines and that has the methods of its kind.

    Raises:
        PluginError: there is none, or more than one.
    """
    classes = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
        if not _missing(plugin, value)
    ]
    rule = f"with {' and '.join(plugin.traits.methods)}"
    if not classes:
        raise OtherKindError(f"{plugin.file} defines no {plugin.traits.word}: a public class {rule}")
    if len(classes) > 1:
        names = listed(cls.__name__ for cls in classes)
        raise PluginError(f"{plugin.file} defines {len(classes)} public classes {rule}, not one: {names}")
    return classes[0]


def _missing(plugin: Plugin, cls: type) -> list[str]:
    return [method for method in plugin.traits.methods if not callable(getattr(cls, method, None))]


def checked(plugin: Plugin, cls: Any) -> type[Settings]:
    """Return `cls` if it keeps the rules of a plugin's class.

    Raises:
        PluginError: it does not.
    """
    if not (isinstance(cls, type) and issubclass(cls, Settings)):
        raise PluginError(f"{plugin.file}: {getattr(cls, '__name__', cls)} does not extend {plugin.traits.base}")
    if abstract := sorted(getattr(cls, "__abstractmethods__", ())) or _missing(plugin, cls):
        raise PluginError(f"{plugin.file}: {cls.__name__} does not define {listed(abstract)}")
    return cls


@functools.lru_cache(maxsize=1024)  # so does its class; every cell of a sweep loads its plugins
def check_fields(plugin: Plugin, cls: type[Settings]) -> None:
    """Refuse a class whose fields do not keep the rules.

    Raises:
        PluginError: which, and why.
    """
    for field in cls.model_fields:
        if field == "name":
            raise PluginError(f'{plugin.file}: {cls.__name__} has a field "name", which is the plugin\'s own name')
        for parent in cls.__mro__[1:]:
            if field in vars(parent) and field not in getattr(parent, "model_fields", {}):
                shadowed = f"{parent.__name__}.{field}"
                raise PluginError(f'{plugin.file}: the field "{field}" of {cls.__name__} shadows {shadowed}; rename it')
    for field, base in component_fields(cls).items():
        if not inspect.isabstract(base):
            rule = f"it must be {KINDS[cast(Kind, base.plugin)].base}, of which {base.__name__} may be the default"
            raise PluginError(f'{plugin.file}: the field "{field}" of {cls.__name__} is of one kind alone; {rule}')
    try:
        options(cls)
    except Exception as error:  # whatever a plugin's own types and default factories raise
        raise PluginError(
            f"{plugin.file}: the fields of {cls.__name__} cannot be described: {reason(error, plugin.file)}"
        ) from error
