"""The axes of a grid, data sets, networks, budgets and strategies: what stands at a point, and what tells it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from bench.ledger import Ledger
from bench.plugins import Kind, Registry, build, plain_name
from bench.plugins.settings import combinations, flat, validated
from bench.plugins.shapes import shown
from bench.protocol import Settings, UserError
from bench.words import listed

SettingsT = TypeVar("SettingsT", bound=Settings)
Blame = Callable[[str], str]  # a dotted key -> who wrote it, a file or a `--set`

OWN = ("networks", "train")  # what a [[strategy]] may change of the grid's tables, for its own row


def canonical(value: Any) -> str:
    """Return plain values as JSON that is equal where they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(settings: Settings) -> dict[str, Any]:
    """Return settings as plain (JSON) values."""
    return settings.model_dump(mode="json", round_trip=True)


@dataclass
class Point(Generic[SettingsT]):
    """One point on one axis of a grid.

    Attributes:
        name: the plugin, as `Registry.find` takes it; empty for networks and budget.
        values: what the grid says of it.
        settings: what stands at this point.
        differs: what tells it from the others (of the same name), by dotted key.
        changes: to `[networks]` and `[train]`, by these names.
        ledger: of the study that it comes from.
    """

    name: str
    values: dict[str, Any]
    settings: SettingsT
    differs: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    ledger: Ledger | None = None

    @property
    def full(self) -> dict[str, Any]:
        """Every value by its dotted key, and what it changes of other tables."""
        return flat(plain(self.settings)) | flat(self.changes)

    @property
    def telling(self) -> dict[str, Any]:
        """The values that tell it from its namesakes: all but those that a study has set."""
        chosen = self.ledger.chosen if self.ledger else {}
        return {key: value for key, value in self.full.items() if key not in chosen}


def tables(
    model: type[SettingsT], source: Mapping[str, Any], key: str, registry: Registry, blame: Blame
) -> list[Point[SettingsT]]:
    """Return the points of `[networks]` or `[train]`."""
    swept = combinations(source.get(key, {}), model, key, blame, registry.component)
    points = [Point("", values, validated(model, values, blame, key, registry.component)) for values in swept]
    return _distinct(points, key, blame)


def requests(kind: Kind, source: Mapping[str, Any], registry: Registry, blame: Blame) -> list[Point[Settings]]:
    """Return the points of the `[[dataset]]` or `[[strategy]]` tables, in the grid's order."""
    points = []
    for entry in entries(source, kind, blame("")):
        try:
            plugin = registry.find(kind, entry["name"])
            model = plugin.load()
        except UserError as error:
            raise UserError(f"{blame('')}: name in [[{kind}]]: {error}") from error
        key = f"{kind}.{plugin.name}"
        table = {name: value for name, value in entry.items() if name != "name"}
        changes, ledger = _own(table, model, key, blame) if kind == "strategy" else ({}, None)
        for values in combinations(table, model, key, blame, registry.component):
            settings = build(plugin, values, blame, registry.component)
            points.append(Point(entry["name"], values, settings, changes=changes, ledger=ledger))
    return _distinct(points, kind, blame)


def _own(table: dict[str, Any], model: type[Settings], key: str, blame: Blame) -> tuple[dict[str, Any], Ledger | None]:
    """Take from a [[strategy]] table what it changes of other tables and what tuning says of it, and return both."""
    changes = {name: table.pop(name) for name in OWN if name in table and name not in model.model_fields}
    for name, change in changes.items():
        if not isinstance(change, dict):
            raise UserError(f"{blame(f'{key}.{name}')}: {key}.{name} = {shown(change)} is not allowed; write a table")
    if "tuned" not in table or "tuned" in model.model_fields:
        return changes, None
    return changes, validated(Ledger, table.pop("tuned"), blame, f"{key}.tuned")


def changed(
    model: type[SettingsT], point: Point[SettingsT], row: Point[Any], key: str, registry: Registry, blame: Blame
) -> Point[SettingsT]:
    """Return a point of `[networks]` or `[train]` as a row of the grid changes it for itself."""
    if key not in row.changes:
        return point
    values = _merged(point.values, row.changes[key])
    return replace(point, values=values, settings=validated(model, values, blame, key, registry.component))


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables with single values of them changed."""
    merged = dict(values)
    for key, change in changes.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, change) if isinstance(inner, Mapping) and isinstance(change, Mapping) else change
    return merged


def _distinct(points: list[Point[SettingsT]], key: str, blame: Blame) -> list[Point[SettingsT]]:
    """Say of each point what tells it from its namesakes, and return them; two that nothing tells apart are refused."""
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    seen: set[tuple[str, str]] = set()
    for point in points:
        name = plain_name(point.name)
        if (same_as := (name, repr(sorted(point.full.items())))) in seen:
            place = f"{key}.{name}" if name else key
            same = listed(f"{path} = {shown(value)}" for path, value in flat(point.values).items())
            same = same if point.values else "its defaults"
            raise UserError(f"{blame(place)}: {place} is asked for twice with {same}; remove one")
        seen.add(same_as)
        groups.setdefault((name, point.ledger is not None), []).append(point.telling)
    prefix = "" if key == "strategy" else f"{key}."
    telling_all = {name: differences(group) for name, group in groups.items()}
    for point in points:
        telling = point.telling
        differing = telling_all[plain_name(point.name), point.ledger is not None]
        point.differs = {f"{prefix}{path}": telling[path] for path in differing if path in telling}
    return points


def differences(group: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values are not the same in all of the tables, in order."""
    keys = dict.fromkeys(key for values in group for key in values)
    return [key for key in keys if len({canonical(values.get(key)) for values in group}) > 1]


def label(strategy: Point[Any], *others: Point[Any]) -> str:
    """Return the strategy's name and what tells its row from the others: `vampprior[components=500,tuned]`."""
    differs = {key: value for point in (strategy, *others) for key, value in point.differs.items()}
    parts = [f"{key}={value if isinstance(value, str) else canonical(value)}" for key, value in differs.items()]
    parts += ["tuned"] * (strategy.ledger is not None)
    return plain_name(strategy.name) + (f"[{','.join(parts)}]" if parts else "")


def entries(source: Mapping[str, Any], kind: Kind, where: str) -> list[dict[str, Any]]:
    """Return the [[dataset]] or [[strategy]] tables, each with a `name`."""
    entries = source.get(kind)
    if entries is None or entries == []:
        raise UserError(f"{where}: [[{kind}]] is missing; a grid needs at least one such table")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{where}: {kind} = {shown(entries)} is not allowed; write [[{kind}]] tables, each with a name")
    for number, entry in enumerate(entries, 1):
        if "name" not in entry:
            raise UserError(f"{where}: name is missing in [[{kind}]] table {number}")
        if not isinstance(entry["name"], str):
            wrong = f"name = {shown(entry['name'])} in [[{kind}]] table {number} is not allowed"
            raise UserError(f"{where}: {wrong}; it must be one text")
    return entries
