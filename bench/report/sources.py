"""Where records come from, which cells were planned, and whether records are of the code as it is now."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

import bench.grid as grids
from bench import profile
from bench.places import absolute
from bench.plugins import Registry
from bench.protocol import UserError
from bench.report import Records, merge, plans
from bench.report.arrays import Arrays
from bench.report.cells import Outcome, Plan, Table, outcomes
from bench.report.curves import Curves
from bench.report.parquet import frame_of, kind, long, read_parquet
from bench.report.plans import Current, marked
from bench.report.published import Column, results_folder
from bench.report.stored import gather
from bench.words import listed

_BESIDE: tuple[Table, ...] = ("curves", "items")  # Parquet files that hold no records
PLUGINS = "plugins"  # the folder of those that committed records need, beside them


@dataclass(frozen=True)
class Source:
    """Records and the plan that they belong to.

    Attributes:
        words: what the table says of it.
        records: each of them.
        plan: the planned cells.
        evaluation: how the plan scores, canonical JSON; None where the records' own way counts.
        command: how missing cells are made, in words.
        notes: what could not be read.
        arrays: what lies beside the records.
        curves: of their training.
        all_settings: show records of any training and scoring conditions, not of the plan's alone.
    """

    words: str
    records: tuple[Outcome, ...]
    plan: Plan
    evaluation: str | None
    command: str
    notes: tuple[str, ...] = ()
    arrays: Arrays = field(default_factory=Arrays)
    curves: Curves = field(default_factory=Curves)
    all_settings: bool = False

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The records, long."""
        return frame_of(long(self.records))

    @property
    def stores(self) -> tuple[Path, ...]:
        """Folders of run stores, where they are the source."""
        return self.arrays.stores


def default_registry() -> Registry:
    """Return the built-in plugins and those of the folders in `BENCH_PLUGINS`."""
    folders = os.environ.get("BENCH_PLUGINS", "").split(os.pathsep)
    return Registry([Path(folder) for folder in folders if folder])


def of_grid(wanted: Records) -> Source:
    """Return the records of a grid's stores.

    The plan is the grid's, with what the last run in the stores added under the same conditions: seeds, strategies. Of
    a NAME that is no grid's here, the last run in its store says what was planned.

    Raises:
        UserError: an unknown grid, or a store that does not exist or is empty.
    """
    grid, stores, settings = wanted.grid, wanted.stores, wanted.settings
    assert grid is not None, "asked for where there is one"
    registry, all_settings = wanted.registry or default_registry(), wanted.all_settings
    name = grid.name if isinstance(grid, grids.Grid) else grids.name_of(grid)
    called = grid.called or name if isinstance(grid, grids.Grid) else grid
    default = profile.stores() / name
    folders = tuple(stores) or (default,)
    loaded: grids.Grid | None = None
    unknown: UserError | None = None
    try:
        loaded = grid if isinstance(grid, grids.Grid) else grids.load(grid, registry, settings=settings)
    except UserError as error:
        unknown = error
    if unknown and (settings or not (stores or default.is_dir())):
        raise unknown  # a name that is no grid's is the likelier mistake than a store that is not there
    if not stores and not default.is_dir():
        if loaded and (committed := committed_of(plans.of(loaded), registry, called)):
            return replace(committed, all_settings=all_settings)
        raise UserError(f"there is no run store {default}; `bench run --grid {called}` makes it")
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no run store {folder}; `bench run --grid {called} --store {folder}` makes it")
        if not (folder / "grid.json").exists() and not any(folder.glob("cells/*/record-*.json")):
            raise UserError(f"{folder} is no run store: it holds neither grid.json nor records")
    notes: list[str] = []
    registry = registry.closed(earlier=True)
    last = plans.of_stores(folders, name, registry, notes, loaded)
    plan = plans.joined(plans.of(loaded), last) if loaded else last
    if unknown and last.cells:
        notes.append(f"{unknown}; what was planned is what the last run in the store says")
    code = plans.Code(registry, plan)
    records = _merged(folders, code, notes)
    others, planned = {record.dataset.name for record in records}, {cell.setting.dataset for cell in plan.cells}
    if others and planned and not others & planned:
        raise UserError(f"no record of {called} is in {_named(folders)}, but records of {listed(sorted(others))}")
    notes += code.unchecked(records)
    elsewhere = f" --store {shlex.quote(str(folders[0]))}" if folders != (default,) else ""
    plain = loaded
    if isinstance(grid, grids.Grid) and not {cell.id for cell in plan.cells} <= {record.cell for record in records}:
        with contextlib.suppress(UserError):
            plain = grids.load(called, registry)
    options = "".join(f" --set {shlex.quote(setting)}" for setting in settings) + _plugins(registry)
    command = plans.command(called, f"{options}{elsewhere}", plan, plain)
    command = f"`{wanted.run}` makes them" if wanted.run else command
    evaluation = None if all_settings else plan.evaluation
    beside = Arrays(folders), Curves(folders)
    return Source(_named(folders), tuple(records), plan, evaluation, command, tuple(notes), *beside, all_settings)


def of_places(places: Sequence[Path], registry: Registry) -> Source:
    """Return the records of run stores and Parquet files, and the stores' plans; no plugin but the registry's is run.

    Raises:
        UserError: a place does not exist or holds no records.
    """
    registry = registry.closed()
    stores = tuple(place for place in places if place.is_dir())
    notes: list[str] = []
    for place in set(places) - set(stores):
        if not place.exists():
            raise UserError(f"there is no run store or Parquet file {place}")
    for store in stores:
        if not (store / "grid.json").exists() and not any(store.glob("cells/*/record-*.json")):
            raise UserError(f"{store} is no run store: it holds neither grid.json nor records")
    plan = plans.of_stores(stores, stores[0].name, registry, notes) if stores else Plan()
    current = plans.Code(registry, plan)
    tables = [place for place in places if place not in stores and kind(place) not in _BESIDE]
    records = _merged((*stores, *tables), current, notes)
    notes += current.unchecked(records)
    words = ", ".join(map(str, places))
    beside = {table: [place for place in places if place not in stores and kind(place) == table] for table in _BESIDE}
    arrays, trained = Arrays(stores, beside["items"]), Curves(stores, beside["curves"])
    return Source(words, tuple(records), plan, plan.evaluation, "`bench run` makes them", tuple(notes), arrays, trained)


def of_column(column: Column, stores: Sequence[Path], registry: Registry) -> Source:
    """Return the records of a column of the paper's table: from local stores, else the committed ones, else none.

    Raises:
        UserError: a store that was asked for does not exist, or committed records cannot be read.
    """
    folders = tuple(stores) or tuple(folder for folder in [profile.stores() / column.grid] if folder.is_dir())
    notes: list[str] = []
    embedded = grids.load(column.grid, registry)
    registry = registry.closed(earlier=True)
    last = plans.of_stores(folders, column.grid, registry, notes)
    plan = plans.joined(plans.of(embedded), last).of(column.dataset)
    command = plans.command(column.grid, "", plan, embedded)
    code = plans.Code(registry, plan)
    local = tuple(_merged(folders, code, notes, column.dataset))
    if local:
        notes += code.unchecked(local)
        cells = {record.cell for record in local}
        used = tuple(folder for folder in folders if any(path.name in cells for path in folder.glob("cells/*")))
        return Source(_named(used), local, plan, plan.evaluation, command, tuple(notes), Arrays(used), Curves(used))
    if committed := committed_of(plan, registry, column.grid):
        return replace(committed, notes=tuple(notes))
    return Source("none yet", local, plan, None, command, tuple(notes))


def others(used: Sequence[Path], columns: Sequence[Column]) -> list[Path]:
    """Return the default stores that no column shows."""
    shown = {profile.stores() / column.grid for column in columns} | set(used)
    return [path.parent for path in sorted(profile.stores().glob("*/grid.json")) if path.parent not in shown]


def _plugins(registry: Registry) -> str:
    """Return the options that give a command the same folders of plugins, where `BENCH_PLUGINS` does not give them."""
    named = [folder for folder in os.environ.get("BENCH_PLUGINS", "").split(os.pathsep) if folder]
    if registry.folders == tuple(absolute(folder, "BENCH_PLUGINS") for folder in named):
        return ""
    here = Path.cwd()
    shown = [path.relative_to(here) if path.is_relative_to(here) else path for path in registry.folders]
    return "".join(f" --plugins {shlex.quote(str(path))}" for path in shown)


def _named(folders: Sequence[Path]) -> str:
    return f"the local store{'s' if len(folders) > 1 else ''} {', '.join(map(str, folders))}"


def _tables(table: Table) -> list[Path]:
    """Return the Parquet files of one kind that come with bench.

    Raises:
        UserError: one cannot be read.
    """
    kinds = {path: kind(path) for path in sorted(results_folder().glob("*.parquet"))}
    for path, held in kinds.items():
        if not held:
            read_parquet(path)  # which says why not
    return [path for path, held in kinds.items() if held == table]


def committed() -> list[Outcome]:
    """Return the records that come with bench."""
    frames = [read_parquet(path) for path in _tables("records")]
    return [record for frame in frames for record in outcomes(frame)]


def committed_of(plan: Plan, registry: Registry, called: str) -> Source | None:
    """Return the records that come with bench of a plan's data sets and its grid, if there are any."""
    ids, datasets = {cell.id for cell in plan.cells}, {cell.setting.dataset for cell in plan.cells}
    records = [record for record in committed() if record.grid == plan.name or record.cell in ids]
    records = [record for record in records if record.dataset.name in datasets]
    if own := [record for record in records if record.grid == plan.name]:
        held = {record.cell for record in own}
        # a cell that another grid has, too, may have been scored in another way there
        alike = [record for record in records if record.cell not in held and record.scoring == plan.evaluation]
        records = [*own, *alike]
    if not records:
        return None
    # a grid may have moved on since; then nothing is missing from what was committed
    plan = plan if not ids.isdisjoint(record.cell for record in records) else replace(plan, cells=())
    beside = Arrays((), _tables("items")), Curves((), _tables("curves"))
    words, command = "those that come with bench", f"`bench run --grid {called}{_plugins(registry)}` makes them"
    return Source(words, tuple(marked(records, plans.Code(registry, plan))), plan, None, command, (), *beside)


def of_grids() -> list[Source]:
    """Return the records that come with bench, a source for each of their grids.

    A grid that is not embedded, as those that were tuned, lies as a file beside its records, and plugins that are not
    built in lie in a folder there.
    """
    registry = Registry([results_folder() / PLUGINS])
    called = {name: results_folder() / f"{name}.toml" for name in sorted({record.grid for record in committed()})}
    plans_of = [plans.of(grids.load(str(file) if file.exists() else name, registry)) for name, file in called.items()]
    return [source for plan in plans_of if (source := committed_of(plan, registry, plan.name))]


def _merged(places: Sequence[Path], current: Current, notes: list[str], dataset: str = "") -> list[Outcome]:
    """Return the records of stores and Parquet files, as `merge` has them, of one data set or of all."""
    held: dict[Path, list[Outcome]] = {}
    for place in places:
        whole = marked(outcomes(read_parquet(place)), current) if place.is_file() else gather([place], current, notes)
        held[place] = [record for record in whole if dataset in ("", record.dataset.name)]
    records, said = merge.merged(held)
    notes += said
    return records
