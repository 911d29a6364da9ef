"""A row of a grid that is tuned: what is searched for it, and the cells of its trials."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import bench.grid as grids
from bench.grid import Cell, Grid
from bench.plugins import Registry, plain_name
from bench.plugins.shapes import shown
from bench.protocol import UserError
from bench.sweep.columns import canonical
from bench.sweep.fingerprints import Fingerprints, fingerprints
from bench.tuning import space
from bench.tuning.space import Range
from bench.words import listed, nearest

SEEDS = 1_000_000  # trial k trains with seed SEEDS + k: none of a comparison's
BOUND = "vlb"  # what trials are chosen by, unless something else is asked for


@dataclass(frozen=True)
class Row:
    """A row: one data set, one strategy with what the grid says of it. It can be pickled.

    Attributes:
        cell: with the hyper-parameters that the grid gives.
        ranges: what is searched, the grid's own values included.
        metric: by which trials are chosen, on the validation split.
        grid: the grid's name.
        code: fingerprints of what it uses.
        stated: what fields, or the grid's table, say of the ranges, which may not hold the grid's own values.
    """

    cell: Cell
    ranges: tuple[Range, ...]
    metric: str
    grid: str
    code: Fingerprints
    stated: tuple[Range, ...]

    @property
    def name(self) -> str:
        """What a line calls it: `digits normal`."""
        return f"{plain_name(self.cell.dataset)} {self.cell.label}"

    @property
    def study(self) -> str:
        """The name of its study."""
        by = f"/{self.metric}" * (self.metric != BOUND)
        return f"{self.grid}/{plain_name(self.cell.dataset)}/{self.cell.label}{by}"

    @cached_property
    def source(self) -> dict[str, Any]:
        """The tables of a grid of this row alone, scored as trials are."""
        tables = space.tables(self.cell)
        tables["evaluate"] |= {"split": "validation"}
        if self.metric == BOUND:
            tables["evaluate"] |= {"bound_alone": True}
        return tables

    @property
    def defaults(self) -> dict[str, Any]:
        """What the grid has at the keys that are searched."""
        return space.present(self.source, [chosen.key for chosen in self.ranges])

    @property
    def context(self) -> dict[str, str]:
        """What a study is of, in words by part: where one of these differs, it is another study."""
        request = replace(self.cell, seed=0).request | {"evaluate": self.source["evaluate"]}
        return {
            "settings": canonical(request),
            "search space": said_of(self.ranges),  # it follows from these, too
            "code": canonical(vars(self.code)),
        }

    @property
    def widened(self) -> list[str]:
        """What was widened to hold the grid's own values, a sentence each."""
        return [
            f"{self.name}: {now.key} is searched from {now}, not from {stated},"
            f" to hold {shown(self.defaults[now.key])}, the grid's own value"
            for now, stated in zip(self.ranges, self.stated, strict=True)
            if now != stated
        ]

    def trial(self, number: int, values: Mapping[str, Any], registry: Registry) -> Cell:
        """Return the cell of a trial.

        Raises:
            UserError: these values do not go together.
        """
        tables = space.changed(self.source, values) | {"seeds": [SEEDS + number]}
        (cell,) = grids.expand(tables, registry, name=self.grid, where=f"trial {number} of {self.name}").cells
        return replace(cell, label=self.cell.label, study=self.study, tuned=dict(values))


def said_of(ranges: Sequence[Range]) -> str:
    """Return what a study notes of what it searches."""
    return canonical({chosen.key: chosen.plain for chosen in ranges})


def of(grid: Grid, metric: str, registry: Registry) -> list[Row]:
    """Return the rows of a grid, each with what is searched for it.

    Raises:
        UserError: the grid sweeps what all rows must have alike, has no validation split or is tuned already, or a
            `[tune.STRATEGY]` table is wrong.
    """
    where = grid.called or "the grid"
    firsts: dict[tuple[str, str], Cell] = {}
    for cell in grid.cells:
        firsts.setdefault((cell.dataset, cell.label), cell)
    _alike(list(firsts.values()), where)
    asked = grid.source.get("tune", {})
    if not isinstance(asked, Mapping):
        raise UserError(f"{where}: tune = {shown(asked)} is not allowed; write [tune.STRATEGY] tables")
    names = dict.fromkeys([*(plain_name(cell.strategy) for cell in grid.cells), *registry.names("strategy")])
    if strange := [name for name in asked if name not in names]:
        raise UserError(f"{where}: [tune.{strange[0]}] is of no strategy{nearest(strange[0], names)}")
    if high := [cell.seed for cell in grid.cells if cell.seed >= SEEDS]:
        raise UserError(f"{where}: seeds = {high[0]} is a trial's; those of a comparison must be below {SEEDS:,}")
    rows = [_row(cell, grid, metric, registry, where) for cell in firsts.values()]
    _apart(rows, where)
    return rows


def tunable(grid: Grid, metric: str, registry: Registry) -> list[Row]:
    """Return those rows of a grid that can be tuned, each for itself: some may have a study."""
    rows: dict[str, Row] = {}
    for cell in grid.cells:
        with contextlib.suppress(UserError):
            row = _row(cell, grid, metric, registry, "")
            rows.setdefault(row.study, row)
    return list(rows.values())


def _row(cell: Cell, grid: Grid, metric: str, registry: Registry, where: str) -> Row:
    table = grid.source.get("tune", {}).get(plain_name(cell.strategy))
    ranges = space.of(cell, table, registry, where)
    row = Row(cell, ranges, metric, grid.name, fingerprints(cell.plugins), ranges)
    row = replace(row, ranges=space.holding(ranges, row.defaults, f"{where}: tune.{cell.plugins[0].name}"))
    grids.expand(row.source, registry, name=grid.name, where=where)  # is there a validation split?
    return row


def _alike(cells: Sequence[Cell], where: str) -> None:
    """Refuse rows that have other networks, budgets or versions of a data set than the others, or come from a study."""
    if tuned := [cell.label for cell in cells if cell.ledger]:
        raise UserError(f"{where}: {tuned[0]} comes from a study; tune the grid that it was made from")
    for part, content in {
        "networks": {canonical(cell.networks) for cell in cells},
        "train": {canonical(cell.request["budget"]) for cell in cells},
    }.items():
        if len(content) > 1:
            raise UserError(f"{where}: {part} is swept, and must be one for all that is tuned; choose one value")
    for name in dict.fromkeys(cell.dataset for cell in cells):
        if len({canonical(cell.options) for cell in cells if cell.dataset == name}) > 1:
            raise UserError(f"{where}: dataset.{plain_name(name)} is swept; choose one value for tuning")


def _apart(rows: Sequence[Row], where: str) -> None:
    """Refuse rows that differ in nothing but what is tuned."""
    seen: dict[str, Row] = {}
    for row in rows:
        fixed = canonical(space.changed(row.source, dict.fromkeys(row.defaults)))
        other = seen.setdefault(fixed, row)
        if other is not row:
            keys = listed(key for key, value in row.defaults.items() if other.defaults.get(key) != value)
            same = f"{other.name} and {row.name} differ in {keys} alone, which is tuned"
            raise UserError(
                f"{where}: {same}; leave one value, or name the other keys in [tune.{row.cell.plugins[0].name}]"
            )
