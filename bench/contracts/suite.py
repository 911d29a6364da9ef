"""The suite: a plugin in, one verdict a contract out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.contracts import datasets, strategies
from bench.contracts.task import one_thread
from bench.contracts.verdicts import Verdict, judge
from bench.plugins import Plugin
from bench.plugins.settings import options
from bench.protocol import UserError


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
