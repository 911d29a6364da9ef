"""Turns a grid, a TOML file or its tables, of data sets x strategies x hyper-parameters x seeds, into cells with ids.

A list where a single value may stand is swept. A field that is a list itself is swept by a list of lists.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bench import axes, callable_module, demands, words
from bench import headline as headlines
from bench.axes import Blame
from bench.headline import Headline
from bench.ledger import Ledger
from bench.places import GRIDS, absolute, embedded, resolved
from bench.plugins import Plugin, Registry, is_file, plain_name
from bench.plugins.settings import assign, combinations, flat, validated
from bench.plugins.shapes import Spelling, shown, typed
from bench.plugins.toml import assignment, check_plain, read_toml
from bench.profile import Slurm
from bench.protocol import Budget, Dataset, Evaluation, Networks, UserError
from bench.words import listed, nearest

__all__ = ["Cell", "Grid", "embedded", "expand", "identify", "load"]

callable_module(__name__)

MOST_CELLS = 100_000  # of a grid; they are counted before they are made
_KEYS = ("title", "seeds", "headline", "dataset", "networks", "train", "evaluate", "strategy", "tune", "slurm")


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
        networks: what is trained, plain (JSON) values; `Registry.networks` makes them what they stand for.
        budget: for how long.
        evaluation: how it is scored; no part of the id.
        label: the strategy's name and what differs between its cells: `vampprior[components=500]`. Within a grid,
            data set and label together tell all cells apart but for the seed.
        plugins: what it uses: its strategy, its data set, networks and energies.
        study: the tuning study that its hyper-parameters come from; empty without; no part of the id.
        tuned: what that study set, by dotted key.
        ledger: what the study cost, where it is over.
    """

    id: str
    dataset: str
    options: dict[str, Any]
    strategy: str
    hyper: dict[str, Any]
    seed: int
    networks: dict[str, Any]
    budget: Budget
    evaluation: Evaluation
    label: str
    plugins: tuple[Plugin, ...] = ()
    study: str = ""
    tuned: Mapping[str, Any] = field(default_factory=dict)
    ledger: Ledger | None = None

    @property
    def request(self) -> dict[str, Any]:
        """What the id stands for, as plain values: `dataset` and `strategy` are plugin NAMEs here, never files."""
        return {
            "dataset": plain_name(self.dataset),
            "options": self.options,
            "strategy": plain_name(self.strategy),
            "hyper": self.hyper,
            "seed": self.seed,
            "networks": self.networks,
            "budget": axes.plain(self.budget),
        }


@dataclass(frozen=True)
class Grid:
    """A validated grid and its cells, in a stable order.

    Attributes:
        name: the embedded name, or the file's stem.
        title: what a reader calls it.
        cells: without duplicates.
        headline: by what its strategies are judged.
        source: the merged TOML, after `--set`, `--strategy` and `--seeds`; `expand` takes it back.
        called: what finds it again, before these: the embedded name or the file, as it was typed.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    headline: Headline
    source: dict[str, Any]
    called: str = field(default="", compare=False)


def identify(request: Mapping[str, Any]) -> str:
    """Return the id of a request: equal values give equal ids, whatever the order of their keys."""
    return hashlib.sha256(axes.canonical(request).encode()).hexdigest()[:12]


# ---------------------------------------------------------------- reading and merging


def load(
    grid: str | Mapping[str, Any],
    registry: Registry,
    *,
    settings: Sequence[str] | Mapping[str, Any] = (),
    strategies: Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
    datasets: Sequence[Mapping[str, Any]] = (),
    spelling: Spelling = typed,
) -> Grid:
    """Read a grid, apply what is to be changed, and expand it.

    Args:
        grid: an embedded NAME, a path to a `.toml` file, or the tables of one.
        registry: where plugins are found.
        settings: `--set` values, `train.epochs=3` or `strategy.vampprior.components=32`; or values by such keys.
        strategies: run only these NAMEs or FILEs; one that the grid does not hold runs with its defaults.
        seeds: a count or a list, in place of the grid's.
        datasets: `[[dataset]]` tables in place of the grid's.
        spelling: how errors name these arguments.

    Raises:
        UserError: what is wrong, in which file or `--set`, at which key, and what is allowed.
    """
    if isinstance(grid, str):
        file, where = _locate(grid)
        try:
            source = read_toml(file, f"the grid file {where}", where)
        except FileNotFoundError:
            raise UserError(f"the grid file {where} does not exist") from None
        name, home = name_of(grid), resolved(file, "the grid").parent
    else:
        check_plain(grid, "the grid")
        name, home, where, source = "grid", Path.cwd(), "the grid", copy.deepcopy(dict(grid))
    changed: dict[str, str] = {}
    if datasets:
        source["dataset"] = [dict(table) for table in datasets]
        changed["dataset"] = spelling("datasets")
        headlines.keep_margins(source, [table.get("name") for table in datasets])
    for kind in ("dataset", "strategy"):
        for entry in axes.entries(source, kind, where):
            entry["name"] = _beside(home, entry["name"])
    for tables in (source.get("networks"), source["strategy"]):
        _place_kinds(home, tables)
    if strategies:
        source["strategy"] = _chosen(source["strategy"], strategies, registry, spelling)
    for keys, value, writer in _assignments(settings, spelling):
        given = {keys[-1]: copy.deepcopy(value)}
        _place_kinds(None, given)
        _apply(source, keys, given[keys[-1]], writer)
        changed[".".join(keys)] = writer
    if seeds is not None:
        source["seeds"] = seeds if isinstance(seeds, int) else list(seeds)
        changed["seeds"] = spelling("seeds")

    def blame(key: str) -> str:
        for path in reversed(changed):
            if f"{key}.".startswith((f"{path}.", f"{path}[")) or path.startswith(f"{key}."):
                return changed[path]
        return where

    expanded = expand(source, registry, name=name, where=blame)
    return replace(expanded, called=grid if isinstance(grid, str) else "")


def name_of(grid: str) -> str:
    """Return what a grid is called: an embedded NAME, or the stem of a FILE as it was given, be it a link or not.

    One that is no file, such as a pipe of the shell, is called `grid`.

    Raises:
        UserError: it is no name.
    """
    name = grid
    if _is_file(grid):
        path = absolute(grid, "the grid")
        name = path.stem if os.path.isfile(path) or not os.path.exists(path) else "grid"
    if not words.is_name(name):
        raise UserError(f"the grid {words.plain(words.shortened(grid, 60))} has no name: {words.NAME}")
    return name


def _is_file(grid: str) -> bool:
    return grid.endswith(".toml") or "/" in grid or os.sep in grid


def _locate(grid: str) -> tuple[Path, str]:
    """Return a grid's file and what errors call it."""
    if _is_file(grid):
        return absolute(grid, "the grid"), words.shortened(grid, 200)
    if grid not in embedded():
        grid = words.shortened(grid, 60)
        hint = nearest(grid, embedded()) or ";"
        raise UserError(f'unknown grid "{grid}"{hint} allowed: {listed(embedded())}, or a path to a .toml file')
    return GRIDS / f"{grid}.toml", f"grids/{grid}.toml"


def _beside(home: Path | None, name: Any) -> Any:
    """Return a FILE that a grid in a folder names as one beside it, wherever bench is started; a NAME as it is.

    Without a folder it is relative to the working directory, as what is set from there.
    """
    if not (isinstance(name, str) and is_file(name)):
        return name
    return str(resolved(absolute(name, "the plugin", home), "the plugin"))


def _place_kinds(home: Path | None, tables: Any) -> None:
    """Do the same for the FILEs that `kind` names in tables, however deep."""
    for table in tables if isinstance(tables, list) else [tables]:
        for key, value in table.items() if isinstance(table, dict) else ():
            if key == "kind":
                table[key] = (
                    [_beside(home, kind) for kind in value] if isinstance(value, list) else _beside(home, value)
                )
            else:
                _place_kinds(home, value)


def _chosen(
    entries: Sequence[dict[str, Any]], strategies: Sequence[str], registry: Registry, spelling: Spelling
) -> list[dict[str, Any]]:
    """Return the tables of the strategies that are wanted, and a bare table for those the grid lacks."""
    held = {plain_name(entry["name"]) for entry in entries}
    wanted: dict[str, str] = {}
    for text in strategies:
        if text in held:  # what the grid takes from a file, perhaps, needs no search
            wanted[text] = text
            continue
        try:
            plugin = registry.find("strategy", text)
            plugin.load()  # here, where it is known who names it
        except UserError as error:
            raise UserError(f"{spelling('strategies', text)}: {error}") from error
        wanted[plugin.name] = str(plugin.file) if is_file(text) else text
    kept = [entry for entry in entries if plain_name(entry["name"]) in wanted]
    return kept + [{"name": text} for name, text in wanted.items() if name not in held]


def _assignments(
    settings: Sequence[str] | Mapping[str, Any], spelling: Spelling
) -> Iterator[tuple[list[str], Any, str]]:
    """Give the parts of the dotted KEY, the value, and what an error calls it, of every change to a grid."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield key.split("."), value, spelling("set", {key: value})
    else:
        for text in settings:
            yield *assignment(text, "train.epochs=3"), f"--set {text}"


def _apply(source: dict[str, Any], keys: Sequence[str], value: Any, writer: str) -> None:
    """Put a value under a dotted key of a grid."""
    if keys[0] not in _KEYS:
        hint = nearest(keys[0], _KEYS) or ";"
        raise UserError(f'{writer}: unknown table or key "{keys[0]}"{hint} allowed: {listed(_KEYS)}')
    targets = [source]
    if keys[0] in ("dataset", "strategy"):
        names = list(dict.fromkeys(plain_name(entry["name"]) for entry in source[keys[0]]))
        # a name may have full stops; a key follows it
        held = (name for name in names if [*keys[1:-1]][: name.count(".") + 1] == name.split("."))
        name = max(held, key=len, default=keys[1] if len(keys) > 1 else "")
        rest = keys[2 + name.count(".") :]
        if not rest or rest[0] == "name":
            raise UserError(f"{writer}: write {keys[0]}.NAME.KEY=VALUE, with a KEY other than name")
        if name not in names:
            hint = nearest(name, names) or ";"
            raise UserError(f'{writer}: the grid has no {keys[0]} "{name}"{hint} it has {listed(names)}')
        targets, keys = [entry for entry in source[keys[0]] if plain_name(entry["name"]) == name], rest
    for table in targets:
        assign(table, keys, copy.deepcopy(value), writer)


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
    check_plain(source, blame(""))
    for key in source:
        if key not in _KEYS:
            raise UserError(f"{blame(key)}: unknown key {key}{nearest(key, _KEYS) or ';'} allowed: {listed(_KEYS)}")
    title = source.get("title", name)
    if not isinstance(title, str):
        raise UserError(f"{blame('title')}: title = {shown(title)} is not allowed; it must be text")
    seeds = _seeds(source.get("seeds", 1), blame)
    evaluations = combinations(source.get("evaluate", {}), Evaluation, "evaluate", blame)
    if len(evaluations) > 1:
        keys = listed(f"evaluate.{key}" for key in axes.differences([flat(values) for values in evaluations]))
        raise UserError(f"{blame('evaluate')}: {keys} cannot be swept; one way of scoring holds for a whole grid")
    evaluation = validated(Evaluation, evaluations[0], blame, "evaluate")
    validated(Slurm, source.get("slurm", {}), blame, "slurm")
    headline = validated(Headline, source.get("headline", {}), blame, "headline")
    points = (
        axes.requests("dataset", source, registry, blame),
        axes.tables(Networks, source, "networks", registry, blame),
        axes.tables(Budget, source, "train", registry, blame),
        axes.requests("strategy", source, registry, blame),
    )
    sizes = [len(points[0]), len(points[1]), len(points[2]), len(points[3]), len(seeds)]
    if (most := math.prod(sizes)) > MOST_CELLS:
        one = f"; for one seed of that number write [{len(seeds)}]" if source.get("seeds") == len(seeds) > 1 else ""
        product = " x ".join(f"{size:,}" for size in sizes)
        what = "data sets x networks x budgets x strategies x seeds"
        more = f"{most:,} cells ({product}: {what}) are more than {MOST_CELLS:,}"
        raise UserError(f"{blame('seeds' if one else '')}: {more}, the most that a grid may have{one}")
    headline.suits([plain_name(dataset.name) for dataset in points[0]], blame)
    for dataset, network, budget in itertools.product(*points[:3]):
        asked = network.settings, budget.settings, evaluation
        if refused := demands.refusal(data := cast(Dataset, dataset.settings), demands.declared(data), *asked):
            key = f"dataset.{plain_name(dataset.name)}" if refused.key == "dataset" else refused.key
            raise UserError(f"{blame(key)}: data set {plain_name(dataset.name)}: {refused.reason}")
    cells = []
    labels: dict[str, str] = {}  # by id
    for dataset, network, budget, strategy in itertools.product(*points):
        network = axes.changed(Networks, network, strategy, "networks", registry, blame)
        budget = axes.changed(Budget, budget, strategy, "train", registry, blame)
        asked = network.settings, budget.settings, evaluation
        data = cast(Dataset, dataset.settings)
        if strategy.changes and (refused := demands.refusal(data, demands.declared(data), *asked)):
            raise UserError(f"{blame('strategy')}: strategy.{plain_name(strategy.name)}: {refused.reason}")
        hyper, networks = axes.plain(strategy.settings), axes.plain(network.settings)
        plugins = (registry.find("strategy", strategy.name), registry.find("dataset", dataset.name))
        first = Cell(
            id="",
            dataset=dataset.name,
            options=axes.plain(dataset.settings),
            strategy=strategy.name,
            hyper=hyper,
            seed=seeds[0],
            networks=networks,
            budget=budget.settings,
            evaluation=evaluation,
            label=axes.label(strategy, network, budget, dataset),
            plugins=(*plugins, *registry.parts(plugins[0], hyper, networks)),
            study=strategy.ledger.study if strategy.ledger else "",
            tuned=strategy.ledger.chosen if strategy.ledger else {},
            ledger=strategy.ledger,
        )
        request = first.request
        for seed in seeds:  # all else is worked out once: there may be thousands
            cells.append(replace(first, seed=seed, id=identify(request | {"seed": seed})))
        if (other := labels.setdefault(cells[-1].id, first.label)) != first.label:
            raise UserError(f"{blame('strategy')}: {other} and {first.label} are the same model; remove one")
    return Grid(name, title, tuple(cells), headline, copy.deepcopy(dict(source)))


def _seeds(value: Any, blame: Blame) -> Sequence[int]:
    if type(value) is int and value >= 1:
        return range(value)
    listing = isinstance(value, list) and all(type(seed) is int and seed >= 0 for seed in value)
    if listing and value and len(set(value)) == len(value):
        return list(value)
    rule = "it must be a count, at least 1, or a list of different integers, each at least 0"
    raise UserError(f"{blame('seeds')}: seeds = {shown(value)} is not allowed; {rule}")
