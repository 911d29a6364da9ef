"""Which cells were planned, and the code that cells use as it is now."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import bench.grid as grids
from bench.plugins import Kind, Plugin, Registry
from bench.protocol import UserError
from bench.report.cells import Outcome, Plan, Planned, Setting
from bench.sweep import receipts
from bench.sweep.fingerprints import Fingerprints, fingerprints
from bench.sweep.store import Store

#: names of strategy and data set, hyper-parameters and networks as JSON -> fingerprints of their code as it is now
Current = Callable[[str, str, str, str], Fingerprints | None]


def joined(plan: Plan, last: Plan) -> Plan:
    """Return a plan with the cells that the last run planned under the same conditions."""
    contexts, ids = {cell.setting.context for cell in plan.cells}, {cell.id for cell in plan.cells}
    more = [cell for cell in last.cells if cell.id not in ids and cell.setting.context in contexts]
    return replace(plan, cells=(*plan.cells, *more), extended=last.extended)


def of_stores(
    folders: Sequence[Path], name: str, registry: Registry, notes: list[str], loaded: grids.Grid | None = None
) -> Plan:
    """Return the cells that the grid.json of these stores hold, each once; `loaded` is a grid that it may be.

    A store may come from a stranger, and the registry should be closed to the FILEs that it names.
    """
    cells: dict[str, Planned] = {}
    title, latest = "", None
    for folder in folders:
        path = folder / "grid.json"
        try:
            content = Store(folder).planned()
            same = loaded if loaded and loaded.source == content else None
            plan = of(same or grids.expand(content, registry, name=name, where=str(path)))
        except (OSError, ValueError, UserError) as error:
            reason = str(error) if isinstance(error, UserError) else f"corrupt grid {path}: {error}"
            reason = f"there is no {path}" if isinstance(error, FileNotFoundError) else reason
            notes.append(f"{reason}, so that missing cells cannot be told")
        else:
            title = title or plan.title
            latest = replace(plan, extended=Store(folder).extended() or (latest.extended if latest else None))
            cells |= {cell.id: cell for cell in plan.cells}
    return replace(latest or Plan(), name=name, title=title, cells=tuple(cells.values()))


def of(grid: grids.Grid) -> Plan:
    """Return what a grid plans."""
    headline = grid.headline
    settings: dict[tuple[str, str], Setting] = {}  # by data set and label, which tell all cells apart but for the seed
    cells = []
    for cell in grid.cells:
        row = cell.dataset, cell.label
        if row not in settings:
            settings[row] = Setting.of(cell)
        cells.append(Planned(cell.id, settings[row], cell.seed, cell.label, cell.strategy, cell.dataset, cell.ledger))
    return Plan(grid.name, grid.title, tuple(cells), headline.metric, headline.same_within)


def command(grid: str, elsewhere: str, plan: Plan, loaded: grids.Grid | None) -> str:
    """Return how the missing cells of a plan are made."""
    text = f"`bench run --grid {grid}{elsewhere}` makes them"
    if loaded is None or {cell.id for cell in plan.cells} <= {cell.id for cell in loaded.cells}:
        return text
    return f"{text}, with the options of the last run"


class Code:
    """The code that cells use, as it is now.

    Args:
        registry: where plugins are found.
        plan: which of them a grid gave as a FILE.
    """

    def __init__(self, registry: Registry, plan: Plan) -> None:
        self._registry = registry
        self._files = {("strategy", cell.setting.strategy): cell.strategy for cell in plan.cells}
        self._files |= {("dataset", cell.setting.dataset): cell.dataset for cell in plan.cells}
        # read once a report: there may be thousands of records of the same code
        self.plugins, self._current = functools.cache(self._plugins), functools.cache(fingerprints)

    def _plugins(self, strategy: str, dataset: str, hyper: str, networks: str) -> tuple[Plugin, ...]:
        """Return the plugins that a cell uses; none where one is not here any more."""
        names: tuple[tuple[Kind, str], ...] = ("strategy", strategy), ("dataset", dataset)
        try:
            plugins = [self._registry.find(kind, self._files.get((kind, name), name)) for kind, name in names]
            return *plugins, *self._registry.parts(plugins[0], json.loads(hyper), json.loads(networks))
        except UserError:
            return ()

    def __call__(self, strategy: str, dataset: str, hyper: str, networks: str) -> Fingerprints | None:
        """Return the fingerprints; None where a plugin is not here: nobody can say whether it changed."""
        try:
            plugins = self.plugins(strategy, dataset, hyper, networks)
            return self._current(plugins) if plugins else None
        except UserError:
            return None

    def unchecked(self, records: Iterable[Outcome]) -> list[str]:
        """Return a sentence on the plugins of these records that have not passed `bench check`, if there are any."""
        cells = {record.code for record in records}
        plugins = dict.fromkeys(plugin for cell in sorted(cells) for plugin in self.plugins(*cell))
        names = [f"{plugin.traits.word} {plugin.name}" for plugin in plugins if not receipts.checked(plugin)]
        if not names:
            return []
        return [f"not known to keep the contracts, since `bench check` has not passed here: {', '.join(names)}"]


def marked(records: Sequence[Outcome], current: Current | None) -> list[Outcome]:
    """Return the records with `stale` and `plugin_changed` as `current` (see `stored.gather`) tells."""
    return [_marked(record, current) for record in records] if current else list(records)


def _marked(record: Outcome, current: Current) -> Outcome:
    now = current(*record.code)
    parts = record.changed(now) if now else []
    marks = {"stale": "fit" in parts or "evaluate" in parts, "plugin_changed": "plugin" in parts}
    return record if marks.items() <= vars(record).items() else record.model_copy(update=marks)
