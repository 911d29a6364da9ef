"""Which plugin is to be checked, with which values. Nothing here imports torch, so that a mistake is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.grid import literal_value
from bench.plugins import Kind, Plugin, PluginError, Registry, is_file, plain_name
from bench.plugins.settings import listed, nearest, shown
from bench.protocol import UserError

KINDS: Sequence[Kind] = ("strategy", "dataset")


def find(registry: Registry, name_or_file: str) -> Plugin:
    """Return the strategy or data set with this NAME or in this FILE; a file's kind is that of the class it defines.

    Raises:
        PluginError: it does not load.
        UserError: there is none, with the nearest name; or a name is that of a strategy and of a data set.
    """
    if is_file(name_or_file):
        return _by_contents(registry, name_or_file)
    kinds = [kind for kind in KINDS if name_or_file in registry.names(kind)]
    if len(kinds) > 1:
        raise UserError(f'"{name_or_file}" is a strategy and a data set; give the FILE of the one to check')
    if not kinds:
        names = [name for kind in KINDS for name in registry.names(kind)]
        hint = nearest(name_or_file, names) or ";"
        raise UserError(f'unknown strategy or data set "{name_or_file}"{hint} known: {listed(names)}')
    plugin = registry.find(kinds[0], name_or_file)
    plugin.load()
    return plugin


def _by_contents(registry: Registry, file: str) -> Plugin:
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise UserError(f"the plugin file {file} does not exist")
    errors = []
    for kind in KINDS:
        try:
            Plugin(kind, plain_name(file), str(path.parent), path).load()
        except PluginError as error:
            errors.append(error)
        else:
            return registry.find(kind, file)  # which knows of other claims to the name
    # a file of one kind is told that it defines nothing of the other; what is wrong with it is the other error
    told = [error for error in errors if "defines no " not in str(error)]
    if told:
        raise told[0]
    raise PluginError(
        f"{path} defines no plugin: a public class with fit and evaluate (a strategy), or with load and "
        "prepare (a data set)"
    )


def values(settings: Sequence[str]) -> dict[str, Any]:
    """Return nested values from `--set` texts: `energy.hidden=8` is `{"energy": {"hidden": 8}}`.

    Raises:
        UserError: a text is no KEY=VALUE.
    """
    found: dict[str, Any] = {}
    for text in settings:
        key, equals, literal = (part.strip() for part in text.partition("="))
        *tables, last = key.split(".")
        if not equals or not all((*tables, last)):
            raise UserError(f"--set {text}: write KEY=VALUE, such as energy.hidden=8")
        table = found
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UserError(f"--set {text}: {name} is {shown(table)}, not a table")
        table[last] = literal_value(text, literal)
    return found
