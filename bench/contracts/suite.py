"""The suite: a plugin in, one verdict a contract out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.contracts import datasets, strategies
from bench.contracts.task import one_thread
from bench.contracts.verdicts import Verdict, judge
from bench.grid import literal_value
from bench.plugins import Kind, Plugin, PluginError, Registry, is_file
from bench.protocol import UserError
from bench.settings import listed, nearest, options, shown

__all__ = ["Verdict", "check", "find", "values"]

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
    if not Path(file).expanduser().is_file():
        raise UserError(f"the plugin file {file} does not exist")
    errors = []
    for kind in KINDS:
        plugin = registry.find(kind, file)
        try:
            plugin.load()
            return plugin
        except PluginError as error:
            errors.append(error)
    # a file of one kind is told that it defines nothing of the other; what is wrong with it is the other error
    told = [error for error in errors if "defines no " not in str(error)]
    if told:
        raise told[0]
    raise PluginError(
        f"{plugin.file} defines no plugin: a public class with fit and evaluate (a strategy), or with load and "
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


def check(
    plugin: Plugin,
    values: Mapping[str, Any] | None = None,
    *,
    data: Path | None = None,
    limit: float = strategies.LIMIT,
) -> Iterator[Verdict]:
    """Give the verdict on each contract of a plugin's kind, in turn.

    Args:
        plugin: what to check; it loads.
        values: hyper-parameters or options in place of the defaults.
        data: the folder of data sets; by default an empty one.
        limit: seconds after which a process that trains a strategy on the small task is ended.

    Raises:
        UserError: a field has no default and no value is given.
    """
    values = values or {}
    for option in options(plugin.load()):
        if option.required and not _given(values, option.key):
            raise UserError(f"{option.key} of {plugin.name} has no default; give it with --set {option.key}=VALUE")
    with one_thread(), tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
        if plugin.kind == "strategy":
            strategy = strategies.Subject(plugin, values, Path(folder), limit)
            yield from judge(strategies.CONTRACTS, strategy, plugin.file)
        else:
            dataset = datasets.Subject(plugin, values, data or Path(folder), Path(folder))
            yield from judge(datasets.CONTRACTS, dataset, plugin.file)


def _given(values: Mapping[str, Any], key: str) -> bool:
    """Return whether nested values have something at a dotted key."""
    found: Any = values
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return True
