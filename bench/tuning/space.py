"""What is searched: the ranges that fields declare, or those of a grid's `[tune.STRATEGY]` table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bench.grid import Cell, expand
from bench.plugins import Registry, build
from bench.plugins.settings import component_fields, flat, options, shape_of, validated
from bench.plugins.shapes import shown
from bench.protocol import Budget, Networks, Settings, UserError
from bench.words import listed, nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 3  # of a number that is tried: what is chosen can be written down


class Entry(Settings):
    """What a `[tune.STRATEGY]` table says of one key: a range, or choices."""

    low: float | None = Field(None, description="least value")
    high: float | None = Field(None, description="greatest value")
    log: bool = Field(False, description="search on a logarithmic scale")
    choices: list[Any] | None = Field(None, min_length=2, description="values, in place of a range")


@dataclass(frozen=True)
class Range:
    """The values of one hyper-parameter that are searched.

    Attributes:
        key: dotted: a field of the strategy, or `train.` or `networks.` and a key of that table.
        low, high: the ends; None with choices.
        log: on a logarithmic scale.
        choices: in place of a range, plain values.
        whole: integers alone.
    """

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    whole: bool = False

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna calls it; choices are JSON, for they may be lists."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution([json.dumps(choice) for choice in self.choices])
        assert self.low is not None
        assert self.high is not None
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def value(self, suggested: Any) -> Any:
        """Return the value that a suggestion stands for, rounded to `DIGITS` where it may be."""
        if self.choices:
            return json.loads(suggested)
        if self.whole:
            return int(suggested)
        return min(max(float(f"{suggested:.{DIGITS}g}"), self.low or 0.0), self.high or math.inf)

    def suggestion(self, value: Any) -> Any:
        """Return the suggestion nearest to a value; None where no choice is that value."""
        if self.low is None or self.high is None:
            return next((json.dumps(choice) for choice in self.choices if choice == value), None)
        return min(max(value, self.low), self.high) if isinstance(value, int | float) else None

    def holds(self, value: Any) -> bool:
        """Tell whether a value is among those that are searched."""
        return value in self.choices if self.low is None else self.suggestion(value) == value

    def widened(self, value: Any, name: str) -> Range:
        """Return the range that holds a value too: with an end that is further out, or with one choice more.

        Args:
            value: the grid's own.
            name: what an error starts with.

        Raises:
            UserError: no end can be moved that far.
        """
        if self.holds(value):
            return self
        if self.low is None or self.high is None:
            return replace(self, choices=(value, *self.choices))
        if not isinstance(value, int | float) or isinstance(value, bool):
            why = "is no number; write choices in place of low and high"
        elif self.log and value <= 0:
            why = "has no logarithm; search without log, or choices"
        else:
            return replace(self, low=min(self.low, value), high=max(self.high, value))
        raise UserError(f"{name}: the first trial has the grid's own values, and {shown(value)} {why}")

    def __str__(self) -> str:
        """Return `16, 128 or 500`, or `0.0001 to 0.01`."""
        if self.low is None or self.high is None:
            *most, last = map(shown, self.choices)
            return f"{', '.join(most)} or {last}"
        return f"{self.low:g} to {self.high:g}"

    @property
    def plain(self) -> dict[str, Any]:
        """The range as a `[tune.STRATEGY]` table says it."""
        if self.choices:
            return {"choices": list(self.choices)}
        return {"low": self.low, "high": self.high} | ({"log": True} if self.log else {})


def of(cell: Cell, table: Mapping[str, Any] | None, registry: Registry, where: str) -> tuple[Range, ...]:
    """Return what is searched for a row of a grid.

    Args:
        cell: one of the row's.
        table: its `[tune.STRATEGY]`, in place of what the strategy's fields declare.
        registry: where plugins are found.
        where: what an error starts with: the grid.

    Raises:
        UserError: a key is unknown, what stands there is no range within its bounds, or there is nothing to search.
    """
    strategy = cell.plugins[0]
    model = strategy.load()
    trained = callable(getattr(model, "optimiser", None))  # by steps, with the optimisers that it names
    # the learning rate of encoder and decoder: for every strategy that has them, with a table too
    ranges: dict[str, Any] = dict(_searched(Budget, "train.")) if trained else {}
    own = f"{where}: tune.{strategy.name}"
    if table is None:
        ranges |= dict(_declared(model, cell.hyper, registry))
    elif not isinstance(table, Mapping):
        raise UserError(
            f"{own} = {shown(table)} is not allowed; write a table of keys, each with low and high, or choices"
        )
    else:
        ranges |= table
    if not ranges:
        none = f"{where}: strategy.{strategy.name} has no field that can be tuned"
        raise UserError(f"{none}; a table [tune.{strategy.name}] names some, or leave the strategy out")
    checked = []
    for key, said in ranges.items():
        place = _sorts(key, cell, model, registry)
        if place is None:
            keys = [*flat(cell.hyper), *(f"train.{name}" for name in flat(cell.request["budget"]))]
            keys += [f"networks.{name}" for name in flat(cell.networks)]
            raise UserError(f"{own}: unknown key {key}{nearest(key, keys) or ';'} allowed: {listed(keys)}")
        entry = validated(Entry, said, where, f"tune.{strategy.name}.{key}")
        checked.append(_checked(key, entry, place == {"integer"}, f"{own}.{key}"))
    for chosen in checked:
        for end in chosen.choices or (chosen.low, chosen.high):
            _allowed(chosen, end, cell, registry, f"{own}.{chosen.key}")
    return tuple(checked)


def holding(ranges: Sequence[Range], own: Mapping[str, Any], where: str) -> tuple[Range, ...]:
    """Return ranges, each widened where it has to be to hold the grid's own value, which the first trial has.

    Args:
        ranges: of a row.
        own: the values that the grid has at their keys.
        where: what an error starts with, before the key.

    Raises:
        UserError: the grid has no value at a key, or a range cannot hold it.
    """
    for chosen in ranges:
        if chosen.key not in own:
            why = f"the first trial has the grid's own values, and the grid has none of {chosen.key}"
            raise UserError(f"{where}.{chosen.key}: {why}; give it one")
    return tuple(chosen.widened(own[chosen.key], f"{where}.{chosen.key}") for chosen in ranges)


def _declared(model: type[Settings], hyper: Mapping[str, Any], registry: Registry) -> Iterator[tuple[str, Any]]:
    """Give the ranges that fields declare: those of the model, and of the kinds that its components have."""
    parts = component_fields(model)
    yield from ((key, said) for key, said in _searched(model) if key.partition(".")[0] not in parts)
    for field, base in parts.items():
        if field in hyper:
            yield from _searched(registry.component(base, hyper[field]["kind"]), f"{field}.")


def _searched(model: type[Settings], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the ranges that a model's fields declare, by dotted key."""
    for option in options(model):
        if option.search:
            yield (
                f"{prefix}{option.key}",
                {key: said for key, said in option.search.items() if said is not None and said is not False},
            )


def _sorts(key: str, cell: Cell, model: type[Settings], registry: Registry) -> set[str] | None:
    """Return what may stand at a key, as JSON's types; None where there is no such key."""
    table, _, rest = key.partition(".")
    tables: dict[str, tuple[type[Settings], Mapping[str, Any]]] = {
        "train": (Budget, cell.request["budget"]),
        "networks": (Networks, cell.networks),
    }
    of_table = table in tables and table not in model.model_fields
    owner, values = tables[table] if of_table else (model, cell.hyper)
    shape = shape_of(owner, values, lambda key: "", "", registry.component)
    place = shape.at(*(rest if of_table else key).split("."))
    return place.sorts if place is not None and not place.keys else None


def _checked(key: str, entry: Entry, whole: bool, name: str) -> Range:
    """Return a range or choices that make sense."""
    if entry.choices is not None:
        if entry.low is not None or entry.high is not None or entry.log:
            raise UserError(f"{name}: choices stand in place of low, high and log; remove one of both")
        return Range(key, choices=tuple(entry.choices))
    if entry.low is None or entry.high is None:
        raise UserError(f"{name} needs low and high, or choices")
    if not entry.low < entry.high:
        raise UserError(f"{name}: low = {entry.low:g} is not below high = {entry.high:g}")
    if entry.log and entry.low <= 0:
        raise UserError(f"{name}: low = {entry.low:g} has no logarithm; it must be above 0, or without log")
    if whole and not (entry.low.is_integer() and entry.high.is_integer()):
        raise UserError(f"{name}: low and high must be integers, as its values are")
    return Range(key, entry.low, entry.high, entry.log, whole=whole)


def _allowed(chosen: Range, end: Any, cell: Cell, registry: Registry, name: str) -> None:
    """Refuse a value that its field refuses."""
    value = int(end) if chosen.whole else end
    place = changed(tables(cell), {chosen.key: value})
    try:
        build(
            cell.plugins[0],
            {key: item for key, item in place["strategy"][0].items() if key != "name"},
            name,
            registry.component,
        )
        validated(Budget, place["train"], name, "train")
        validated(Networks, place["networks"], name, "networks", registry.component)
        expand(place, registry, name="trial", where=name)  # does it go with the data?
    except UserError as error:
        raise UserError(f"{name} reaches a value that is refused: {str(error).removeprefix(f'{name}: ')}") from error


# ---------------------------------------------------------------- a row's tables


def tables(cell: Cell) -> dict[str, Any]:
    """Return the tables of a grid that holds a cell alone."""
    budget = cell.request["budget"] | {"checkpoint": cell.budget.checkpoint.model_dump(mode="json")}
    return {
        "seeds": [cell.seed],
        "dataset": [{"name": cell.dataset, **cell.options}],
        "networks": cell.networks,
        "train": without_none(budget),
        "evaluate": without_none(cell.evaluation.model_dump(mode="json")),
        "strategy": [{"name": cell.strategy, **cell.hyper}],
    }


def without_none(values: Any) -> Any:
    """Return nested tables without what is None, which TOML cannot say."""
    if isinstance(values, Mapping):
        return {key: without_none(value) for key, value in values.items() if value is not None}
    return values


def changed(source: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's tables with values at dotted keys."""
    copy: dict[str, Any] = json.loads(json.dumps(source))
    for key, value in values.items():
        first, *rest = key.split(".")
        shared = first in ("train", "networks") and first not in copy["strategy"][0]
        place, path = (copy[first], rest) if shared else (copy["strategy"][0], [first, *rest])
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return copy


def present(source: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the values that a row's tables have at dotted keys."""
    own = {key: value for key, value in source["strategy"][0].items() if key != "name"}
    everything = flat({table: source[table] for table in ("train", "networks")}) | flat(own)
    return {key: everything[key] for key in keys if key in everything}
