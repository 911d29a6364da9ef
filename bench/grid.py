"""Turns a grid, a TOML file of data sets x strategies x hyper-parameters x seeds, into cells with ids.

A list where a single value may stand is swept. A field that is a list itself is swept by a list of lists.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from bench.plugins import Kind, Registry, build, is_file, plain_name
from bench.plugins.settings import Shape, combinations, listed, nearest, shown, validated
from bench.profile import Slurm
from bench.protocol import Budget, Dataset, Evaluation, Networks, Settings, UserError

__all__ = ["Cell", "Grid", "embedded", "expand", "identify", "literal_value", "load"]

SettingsT = TypeVar("SettingsT", bound=Settings)
Blame = Callable[[str], str]  # a dotted key -> who wrote it, a file or a `--set`

_EMBEDDED = Path(__file__).with_name("grids")
_KEYS = ("title", "seeds", "dataset", "networks", "train", "evaluate", "strategy", "slurm")


@dataclass(frozen=True)
class Cell:
    """One point of a grid: one data set, one strategy with resolved hyper-parameters, one seed. It can be pickled.

    Attributes:
        id: 12 hex digits of the SHA-256 of `request` as canonical JSON.
        dataset: what `Registry.find` takes: a NAME, or the absolute path of a FILE where the grid gave one.
        options: the data set's options, defaults filled in, plain (JSON) values.
        strategy: what `Registry.find` takes, like `dataset`.
        hyper: the strategy's hyper-parameters, defaults filled in, plain (JSON) values.
        seed: seed of training.
        networks, budget: what is trained, for how long.
        evaluation: how it is scored; no part of the id.
        label: the strategy's name and what differs between its cells: `vampprior[components=500]`. Within a grid,
            data set and label together tell all cells apart but for the seed.
    """

    id: str
    dataset: str
    options: dict[str, Any]
    strategy: str
    hyper: dict[str, Any]
    seed: int
    networks: Networks
    budget: Budget
    evaluation: Evaluation
    label: str

    @property
    def request(self) -> dict[str, Any]:
        """What the id stands for, as plain values: `dataset` and `strategy` are plugin NAMEs here, never files."""
        return {
            "dataset": plain_name(self.dataset),
            "options": self.options,
            "strategy": plain_name(self.strategy),
            "hyper": self.hyper,
            "seed": self.seed,
            "networks": _plain(self.networks),
            "budget": _plain(self.budget),
        }


@dataclass(frozen=True)
class Grid:
    """A validated grid and its cells, in a stable order.

    Attributes:
        name: the embedded name, or the file's stem.
        title: what a reader calls it.
        cells: without duplicates.
        source: the merged TOML, after `--set`, `--strategy` and `--seeds`; `expand` takes it back.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    source: dict[str, Any]


def identify(request: Mapping[str, Any]) -> str:
    """Return the id of a request: equal values give equal ids, whatever the order of their keys."""
    return hashlib.sha256(_canonical(request).encode()).hexdigest()[:12]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", round_trip=True)


# ---------------------------------------------------------------- reading and merging


def embedded() -> list[str]:
    """Return the names of the grids that come with `bench`."""
    return sorted(file.stem for file in _EMBEDDED.glob("*.toml"))


def load(
    grid: str,
    registry: Registry,
    *,
    settings: Sequence[str] = (),
    strategies: Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
) -> Grid:
    """Read a grid, apply what the command line changes, and expand it.

    Args:
        grid: an embedded NAME or a path to a `.toml` file.
        registry: where plugins are found.
        settings: `--set` values, `train.epochs=3` or `strategy.vampprior.components=32`.
        strategies: run only these NAMEs or FILEs; one that the grid does not hold runs with its defaults.
        seeds: a count or a list, in place of the grid's.

    Raises:
        UserError: what is wrong, in which file or `--set`, at which key, and what is allowed.
    """
    file, where = _locate(grid)
    source = _read(file, where)
    for kind in ("dataset", "strategy"):
        for entry in _entries(source, kind, where):
            if is_file(entry["name"]):  # beside the grid, wherever bench is started
                entry["name"] = str((file.parent / Path(entry["name"]).expanduser()).resolve())
    if strategies:
        source["strategy"] = _chosen(source["strategy"], strategies, registry)
    changed = {_apply(source, text): f"--set {text}" for text in settings}
    if seeds is not None:
        source["seeds"] = seeds if isinstance(seeds, int) else list(seeds)
        changed["seeds"] = "--seeds"

    def blame(key: str) -> str:
        for path in reversed(changed):
            if f"{key}.".startswith((f"{path}.", f"{path}[")) or path.startswith(f"{key}."):
                return changed[path]
        return where

    return expand(source, registry, name=file.stem, where=blame)


def _locate(grid: str) -> tuple[Path, str]:
    """Return a grid's file and what errors call it."""
    if grid.endswith(".toml") or "/" in grid or os.sep in grid:
        return Path(grid).expanduser().resolve(), grid
    if grid not in embedded():
        hint = nearest(grid, embedded()) or ";"
        raise UserError(f'unknown grid "{grid}"{hint} allowed: {listed(embedded())}, or a path to a .toml file')
    return _EMBEDDED / f"{grid}.toml", f"grids/{grid}.toml"


def _read(file: Path, where: str) -> dict[str, Any]:
    try:
        content = file.read_bytes()
        return tomllib.loads(content.decode())
    except FileNotFoundError:
        raise UserError(f"the grid file {where} does not exist") from None
    except OSError as error:
        raise UserError(f"the grid file {where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}: invalid TOML: not UTF-8 (at line {line})") from error
    except tomllib.TOMLDecodeError as error:
        lines = content.count(b"\n") + (not content.endswith(b"\n"))
        message = str(error).replace("at end of document", f"at line {lines}, the end")
        raise UserError(f"{where}: invalid TOML: {message}") from error


def _entries(source: Mapping[str, Any], kind: Kind, where: str) -> list[dict[str, Any]]:
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
            given = shown(entry["name"])
            raise UserError(f"{where}: name = {given} in [[{kind}]] table {number} is not allowed; it must be one text")
    return entries


def _chosen(entries: Sequence[dict[str, Any]], strategies: Sequence[str], registry: Registry) -> list[dict[str, Any]]:
    """Return the tables of the strategies that `--strategy` names, and a bare table for those the grid lacks."""
    held = {plain_name(entry["name"]) for entry in entries}
    wanted: dict[str, str] = {}
    for text in strategies:
        try:
            # a name that the grid takes from a file needs no search
            if is_file(text) or text not in held:
                plugin = registry.find("strategy", text)
                wanted[plugin.name] = str(plugin.file) if is_file(text) else text
            else:
                wanted[text] = text
        except UserError as error:
            raise UserError(f"--strategy {text}: {error}") from error
    kept = [entry for entry in entries if plain_name(entry["name"]) in wanted]
    return kept + [{"name": text} for name, text in wanted.items() if name not in held]


def _apply(source: dict[str, Any], text: str) -> str:
    """Apply one `--set KEY=VALUE` to a grid and return its KEY."""
    path, equals, literal = (part.strip() for part in text.partition("="))
    keys = path.split(".")
    if not equals or not all(keys):
        raise UserError(f"--set {text}: write KEY=VALUE, such as train.epochs=3")
    if keys[0] not in _KEYS:
        hint = nearest(keys[0], _KEYS) or ";"
        raise UserError(f'--set {text}: unknown table or key "{keys[0]}"{hint} allowed: {listed(_KEYS)}')
    value = literal_value(text, literal)
    targets = [source]
    if keys[0] in ("dataset", "strategy"):
        if len(keys) < 3 or keys[2] == "name":
            raise UserError(f"--set {text}: write {keys[0]}.NAME.KEY=VALUE, with a KEY other than name")
        names = list(dict.fromkeys(plain_name(entry["name"]) for entry in source[keys[0]]))
        if keys[1] not in names:
            hint = nearest(keys[1], names) or ";"
            raise UserError(f'--set {text}: the grid has no {keys[0]} "{keys[1]}"{hint} it has {listed(names)}')
        targets = [entry for entry in source[keys[0]] if plain_name(entry["name"]) == keys[1]]
        keys = keys[2:]
    for table in targets:
        for depth, key in enumerate(keys[:-1], 1):
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise UserError(f"--set {text}: {'.'.join(keys[:depth])} is {shown(table)}, not a table; set it whole")
        table[keys[-1]] = copy.deepcopy(value)
    return path


def literal_value(text: str, literal: str) -> Any:
    """Return a TOML value; a bare word is text."""
    try:
        parsed = tomllib.loads(f"value = {literal}")
        if parsed.keys() == {"value"}:
            return parsed["value"]
    except tomllib.TOMLDecodeError:
        if re.fullmatch(r"[A-Za-z_][\w./-]*", literal):
            return literal
    raise UserError(f"--set {text}: {literal or 'nothing'} is not a TOML value; text with other signs needs quotes")


# ---------------------------------------------------------------- expanding


def expand(source: Mapping[str, Any], registry: Registry, *, name: str, where: str | Blame) -> Grid:
    """Turn a merged grid (the contents of a TOML file, or `Grid.source`) into a validated one.

    Args:
        source: the tables.
        registry: where plugins are found.
        name: of the grid.
        where: what an error starts with, such as the file; or a function that says who wrote a dotted key.

    Raises:
        UserError: as `load`.
    """
    blame = where if callable(where) else lambda key: where
    for key in source:
        if key not in _KEYS:
            raise UserError(f"{blame(key)}: unknown key {key}{nearest(key, _KEYS) or ';'} allowed: {listed(_KEYS)}")
    title = source.get("title", name)
    if not isinstance(title, str):
        raise UserError(f"{blame('title')}: title = {shown(title)} is not allowed; it must be text")
    seeds = _seeds(source.get("seeds", 1), blame)
    evaluations = combinations(source.get("evaluate", {}), Shape.of(Evaluation), "evaluate", blame)
    if len(evaluations) > 1:
        keys = listed(f"evaluate.{key}" for key in _differences([_flat(values) for values in evaluations]))
        raise UserError(f"{blame('evaluate')}: {keys} cannot be swept; one way of scoring holds for a whole grid")
    evaluation = validated(Evaluation, evaluations[0], blame, "evaluate")
    validated(Slurm, source.get("slurm", {}), blame, "slurm")
    axes = (
        _requests("dataset", source, registry, blame),
        _tables(Networks, source, "networks", blame),
        _tables(Budget, source, "train", blame),
        _requests("strategy", source, registry, blame),
    )
    for dataset, network in itertools.product(*axes[:2]):
        if reason := cast(Dataset, dataset.settings).refuses(network.settings):
            raise UserError(f"{blame('networks')}: data set {plain_name(dataset.name)}: {reason}")
    cells = []
    for dataset, network, budget, strategy in itertools.product(*axes):
        label = _label(
            plain_name(strategy.name), {**strategy.differs, **network.differs, **budget.differs, **dataset.differs}
        )
        for seed in seeds:
            cell = Cell(
                "",
                dataset.name,
                _plain(dataset.settings),
                strategy.name,
                _plain(strategy.settings),
                seed,
                network.settings,
                budget.settings,
                evaluation,
                label,
            )
            cells.append(replace(cell, id=identify(cell.request)))
    return Grid(name, title, tuple(cells), copy.deepcopy(dict(source)))


def _seeds(value: Any, blame: Blame) -> list[int]:
    if type(value) is int and value >= 1:
        return list(range(value))
    listing = isinstance(value, list) and all(type(seed) is int and seed >= 0 for seed in value)
    if listing and value and len(set(value)) == len(value):
        return list(value)
    rule = "it must be a count, at least 1, or a list of different integers, each at least 0"
    raise UserError(f"{blame('seeds')}: seeds = {shown(value)} is not allowed; {rule}")


@dataclass(frozen=True)
class _Point(Generic[SettingsT]):
    """One point on one axis of a grid.

    Attributes:
        name: the plugin, as `Registry.find` takes it; empty for networks and budget.
        settings: what stands at this point.
        differs: what tells it from the others (of the same name), by dotted key.
    """

    name: str
    settings: SettingsT
    differs: dict[str, Any]


def _tables(model: type[SettingsT], source: Mapping[str, Any], key: str, blame: Blame) -> list[_Point[SettingsT]]:
    """Return the points of `[networks]` or `[train]`."""
    given = combinations(source.get(key, {}), Shape.of(model), key, blame)
    settings = [validated(model, values, blame, key) for values in given]
    return _distinct(
        [("", values, point) for values, point in zip(given, settings, strict=True)], key, f"{key}.", blame
    )


def _requests(kind: Kind, source: Mapping[str, Any], registry: Registry, blame: Blame) -> list[_Point[Settings]]:
    """Return the points of the `[[dataset]]` or `[[strategy]]` tables, in the grid's order."""
    points = []
    for entry in _entries(source, kind, blame("")):
        try:
            plugin = registry.find(kind, entry["name"])
            model = plugin.load()
        except UserError as error:
            raise UserError(f"{blame('')}: name in [[{kind}]]: {error}") from error
        values = {key: value for key, value in entry.items() if key != "name"}
        for chosen in combinations(values, Shape.of(model), f"{kind}.{plugin.name}", blame):
            points.append((entry["name"], chosen, build(plugin, chosen, blame)))
    return _distinct(points, kind, "" if kind == "strategy" else f"{kind}.", blame)


def _distinct(
    points: Sequence[tuple[str, Mapping[str, Any], SettingsT]], key: str, prefix: str, blame: Blame
) -> list[_Point[SettingsT]]:
    """Return points that were (name, values as given, settings), each with what tells it from its namesakes."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, given, settings in points:
        full, group = _flat(_plain(settings)), groups.setdefault(plain_name(name), [])
        if full in group:
            place = f"{key}.{plain_name(name)}" if name else key
            same = (
                listed(f"{path} = {shown(value)}" for path, value in _flat(given).items()) if given else "its defaults"
            )
            raise UserError(f"{blame(place)}: {place} is asked for twice with {same}; remove one")
        group.append(full)
    differing = {name: _differences(group) for name, group in groups.items()}
    return [
        _Point(name, settings, {f"{prefix}{path}": full[path] for path in differing[plain_name(name)] if path in full})
        for name, _, settings in points
        for full in [_flat(_plain(settings))]
    ]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the single values of nested tables by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flat(value) if isinstance(value, Mapping) else {}
        flat |= {f"{key}.{path}": item for path, item in inner.items()} if inner else {key: value}
    return flat


def _differences(group: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values are not the same in all of the tables, in order."""
    keys = dict.fromkeys(key for values in group for key in values)
    return [key for key in keys if len({_canonical(values.get(key)) for values in group}) > 1]


def _label(name: str, differs: Mapping[str, Any]) -> str:
    parts = (f"{key}={value if isinstance(value, str) else _canonical(value)}" for key, value in differs.items())
    return f"{name}[{','.join(parts)}]" if differs else name
