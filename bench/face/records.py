"""What cells left, from Python: `bench.results`, and the cells and models in it. It reads, and never trains."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.face.places import Place, data_of, registry_of
from bench.face.training import WITHOUT_LATENTS, scored
from bench.face.values import flag, one_device, whole
from bench.places import absolute
from bench.plugins import Plugin, Registry, build
from bench.protocol import Budget, Dataset, Evaluation, Run, State, Task, UserError
from bench.report import parquet as reported
from bench.report import published, sources, stored, tables
from bench.report.arrays import Arrays
from bench.report.cells import Outcome
from bench.report.metrics import headline
from bench.report.rows import Row
from bench.report.sources import Source
from bench.strategy import Fitted, Strategy
from bench.sweep.fingerprints import Part, fingerprints
from bench.sweep.record import CorruptRecord
from bench.sweep.store import Store
from bench.words import listed, nearest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

COLUMNS = ("dataset", "strategy", "metric", "unit", "seeds", "mean", "lower", "upper")
_BEGUN = "the first cells of its run have not ended yet"
DIFFERENCES = ("difference", "difference_lower", "difference_upper", "verdict", "p")


def results(
    *places: Place, plugins: Sequence[Place] = (), data_dir: Place | None = None, all_settings: bool = False
) -> Results:
    """Return what run stores and Parquet files hold; nothing is trained, written, or executed that is not named here.

    Args:
        places: folders of run stores, `.parquet` files of a report, or both.
        plugins: folders of plugins, or files, that the records are of; by default `$BENCH_PLUGINS`.
        data_dir: where data sets lie, which models need to be loaded.
        all_settings: show records of other training and scoring settings than the plan's, too, as rows of their own.

    Raises:
        UserError: a place does not exist or holds no records.
    """
    if not places:
        raise UserError("name a run store or a Parquet file, such as bench.results('runs/digits')")
    registry = registry_of(plugins)
    paths = [absolute(path, "the run store or Parquet file") for path in places]
    everything = flag("all_settings", all_settings)
    for path in paths:
        _refuse_begun(path)
    source = sources.of_places(paths, registry)
    if not source.records and not source.curves.tables:
        begun = f"; {_BEGUN}" if any((store / "grid.json").exists() for store in source.stores) else ""
        raise UserError(f"no record lies in {listed(str(path) for path in paths)}{begun}")
    if everything:
        source = replace(source, evaluation=None, all_settings=True)
    return Results(source, registry, data_of(data_dir))


def _refuse_begun(path: Path) -> None:
    """Say of a folder that a run has made and not planned in yet, or tuning where nothing is planned, what it is."""
    if not path.is_dir() or (path / "grid.json").exists() or any(path.glob("cells/*/record-*.json")):
        return
    if (path / "cells").is_dir():
        raise UserError(f"{path} holds no record; {_BEGUN}")
    if not any(path.iterdir()):
        raise UserError(f"{path} is empty: it is no run store, or one whose run has only just begun")


def _refuse_gone(stores: Sequence[Path], since: str) -> None:
    """Say which run stores are no longer there."""
    if gone := [str(folder) for folder in stores if not folder.is_dir()]:
        which = f"run store {gone[0]} is" if len(gone) == 1 else f"run stores {listed(gone)} are"
        raise UserError(f"the {which} gone, moved or removed since {since}")


class Results:
    """Records of cells: as tables, and one by one."""

    def __init__(
        self,
        source: Source,
        registry: Registry,
        data: Path,
        only: Sequence[str] = (),
    ) -> None:
        if only:
            cells = tuple(cell for cell in source.plan.cells if cell.id in only)
            source = replace(source, plan=replace(source.plan, cells=cells))
            source = replace(source, records=tuple(record for record in source.records if record.cell in {*only}))
        self._source, self._registry, self._data = source, registry.closed(), data
        self._built: dict[str | None, list[tables.Table]] = {}

    def frame(self) -> pd.DataFrame:
        """Return every record, long: a row per record and metric, with the columns of a report's `records.parquet`."""
        return self._source.frame.reset_index(drop=True)

    def curves(self) -> pd.DataFrame:
        """Return the training curves: a row per record, epoch and metric. A record counts once, wherever it lies.

        Raises:
            UserError: a run store is gone.
        """
        import pandas as pd

        _refuse_gone(self._source.stores, "these results were read")
        source, there = self._source, self._source.curves.tables
        own = stored.curves(source.stores, list(source.notes), source.records, there)
        cells = {record.cell for record in source.records}
        frames = [own] if len(own) else []
        for path in there:  # and those of cells of which there is no record here
            rows = reported.read_parquet(path, "curves")
            frames.append(rows[~rows["cell"].isin(cells)])
            cells.update(rows["cell"])
        return pd.concat(frames or [own], ignore_index=True)

    def table(self, metric: str | None = None, baseline: str | None = None) -> pd.DataFrame:
        """Return a row per data set and strategy: means over seeds, and differences to a baseline.

        Args:
            metric: which; by default the headline metric: that of the verdicts, such as `nll_ais`.
            baseline: the label of any strategy; by default `normal`.

        Returns:
            Columns `dataset`, `strategy`, `metric`, `unit`, `seeds` (that count), `mean`, `lower`, `upper` (95 %),
            `difference`, `difference_lower`, `difference_upper` (paired by test item), and of the headline metric alone
            `verdict`: `better`, `worse`, `same within ...` or `undecided`, or why there is none; and its `p`, adjusted
            for the table's comparisons.

        Raises:
            UserError: no record has this metric, or no strategy this label.
        """
        import pandas as pd

        if baseline is not None:
            self._demand("strategy", baseline, [row.label for table in self._tables() for row in table.rows])
        built = self._tables(baseline)
        if metric is not None:
            self._demand("metric", metric, dict.fromkeys(m.name for table in built for m in table.metrics))
        rows = []
        for table in built:
            names = [m.name for m in table.metrics]
            usual = self._source.plan.headline
            wanted = metric or (usual if usual in names else headline(names))
            chosen = next((m for m in table.metrics if m.name == wanted), None)
            for row in table.rows if chosen or metric is None else ():
                name, unit = (chosen.name, chosen.unit) if chosen else ("", "")
                judged = row.verdict if chosen == table.headline else None
                rows.append(
                    {"dataset": table.name, "strategy": row.label, "metric": name, "unit": unit}
                    | _figures(row, name)
                    | {"verdict": judged.words if judged else "", "p": judged.p if judged else None}
                )
        return pd.DataFrame(rows, columns=[*COLUMNS, *DIFFERENCES])

    @property
    def notes(self) -> list[str]:
        """What is missing, left out or in doubt, a sentence each."""
        sentences = list(self._source.notes)
        for table in self._tables():
            sentences += [sentence for sentence in (table.missing, *table.notes) if sentence]
            sentences += [f"{row.label}: {mark}" for row in table.rows for mark in row.marks]
        return list(dict.fromkeys(sentences))

    @property
    def cells(self) -> list[Cell]:
        """The cells of the table that have a record, in its order."""
        return [
            Cell(outcome, row.label, self._source.stores, self._registry, self._data)
            for table in self._tables()
            for row in table.rows
            for outcome in row.outcomes.values()
        ]

    def cell(self, strategy: str, seed: int = 0, dataset: str | None = None) -> Cell:
        """Return the cell of a strategy's label, a seed and, where there are several, a data set.

        Raises:
            UserError: there is none, or more than one.
        """
        seed = whole("seed", seed)
        cells = self.cells
        self._demand("strategy", strategy, dict.fromkeys(cell.label for cell in cells))
        cells = [cell for cell in cells if cell.label == strategy]
        names = dict.fromkeys(cell.record.dataset.name for cell in cells)
        if dataset is not None:
            self._demand("data set", dataset, names)
            cells = [cell for cell in cells if cell.record.dataset.name == dataset]
        elif len(names) > 1:
            raise UserError(f"{strategy} has cells of several data sets; name one: {listed(names)}")
        chosen = [cell for cell in cells if cell.record.seed == seed]
        if not chosen:
            seeds = listed(str(cell.record.seed) for cell in cells)
            raise UserError(f"{strategy} has no record of seed {seed}; it has {seeds}")
        if len(chosen) > 1:
            raise UserError(f"{len(chosen)} cells are called {strategy} seed {seed}; choose one from `cells`")
        return chosen[0]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle keeps: records and places, not the files that are open or the tables that were built."""
        arrays = self._source.arrays
        source = replace(self._source, arrays=Arrays(arrays.stores, arrays._tables))
        return {**vars(self), "_source": source, "_built": {}}

    def __repr__(self) -> str:
        """Return the table as text, and the notes."""
        lines = [self._source.words, self.table().to_string(index=False, na_rep=""), *self.notes]
        return _clean("\n".join(lines))

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(_clean(note))}</p>" for note in self.notes)
        return f"{self.table().to_html(index=False, na_rep='', float_format='{:.4g}'.format)}{notes}"

    def _demand(self, word: str, name: str, names: Any) -> None:
        """Refuse a name that is not there."""
        if not isinstance(name, str):
            raise UserError(f"the {word} is {name!r}; it must be a name: {listed(dict.fromkeys(names))}")
        if name not in names:
            hint = nearest(name, names) or ";"
            raise UserError(f'these results have no {word} "{name}"{hint} they have {listed(dict.fromkeys(names))}')

    def _tables(self, baseline: str | None = None) -> list[tables.Table]:
        if baseline not in self._built:
            source, numbers = self._source, published.read()
            planned = [cell.setting.dataset for cell in source.plan.cells]
            names = dict.fromkeys([*planned, *(record.dataset.name for record in source.records)])
            self._built[baseline] = [
                tables.build(
                    name,
                    replace(source, evaluation=None if source.all_settings else source.plan.of(name).evaluation),
                    numbers,
                    len(names) == 1,
                    baseline,
                )
                for name in names
            ]
        return self._built[baseline]


def _figures(row: Row, metric: str) -> dict[str, Any]:
    mean, difference = row.scores.get(metric), row.differences.get(metric)
    nan = float("nan")
    return {
        "seeds": mean.n[0] if mean else 0,
        "mean": mean.mean if mean else nan,
        "lower": mean.lower if mean else nan,
        "upper": mean.upper if mean else nan,
        "difference": difference.mean if difference else nan,
        "difference_lower": difference.lower if difference else nan,
        "difference_upper": difference.upper if difference else nan,
    }


def _clean(text: str) -> str:
    """Return text without signs that a terminal would obey: a record may come from a stranger."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)


# ---------------------------------------------------------------- one cell


@dataclass(frozen=True, repr=False)
class Cell:
    """A cell that was attempted.

    Attributes:
        record: what it left.
        label: what the table calls its row.
    """

    record: Outcome
    label: str
    _stores: Sequence[Path]
    _registry: Registry
    _data: Path

    def __repr__(self) -> str:
        """Return `digits vampprior seed 0: ok`."""
        return _clean(f"{self._name}: {self.record.status}")

    @property
    def _name(self) -> str:
        return f"{self.record.dataset.name} {self.label} seed {self.record.seed}"

    @property
    def scores(self) -> pd.DataFrame:
        """The scores, a row per metric."""
        return scored(self.record.scores)

    @cached_property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The arrays beside the record, by name, read on first use.

        Raises:
            UserError: the record comes from a Parquet file, or they are gone or damaged.
        """
        import numpy as np

        try:
            content = self._store.beside(self.record, self.record.key, "arrays")
            if content is None:
                return {}
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (CorruptRecord, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"the arrays of {self._name} cannot be read: {error}") from None

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The training curves, a row per epoch and metric."""
        return stored.curves([self._store.folder], [], [self.record])

    @property
    def _store(self) -> Store:
        """The run store that holds the record now; it may have been moved since the record was read."""
        own = stored.identity(self.record.key, self.record)
        for folder in self._stores:
            store = Store(folder)
            with contextlib.suppress(CorruptRecord):  # another store may hold another record of the same cell
                record = store.record(self.record.cell, self.record.key)
                if record and stored.identity(self.record.key, record) == own:
                    return store
        _refuse_gone(self._stores, f"the record of {self._name} was read")
        where = "comes from a Parquet file" if not self._stores else "lies in none of the run stores as it was read"
        raise UserError(f"the record of {self._name} {where}; the rest lies in its run store alone")

    def model(self, device: str = "cpu") -> Fitted:
        """Return the trained model.

        Args:
            device: cpu, cuda, cuda:N or mps.

        Raises:
            UserError: there is none, its code has changed since, or a plugin is not among those that were named.
        """
        place, record = one_device(device), self.record
        store = self._store
        if record.status != "ok":
            raise UserError(f"{self._name} ended as {record.status} and left no model")
        plugins = self._plugins()
        parts: dict[Part, str] = {"plugin": "a plugin of it", "fit": "the training code of bench"}
        changed = [parts[part] for part in record.changed(fingerprints(plugins)) if part in parts]
        if changed:
            raise UserError(f"{self._name} cannot be loaded: {' and '.join(changed)} changed since; run it again")
        where = f"cell {record.cell}"
        strategy = build(plugins[0], record.hyper, where, self._registry.component)
        if not isinstance(strategy, Strategy):
            raise UserError(f"{self._name} {WITHOUT_LATENTS}")
        dataset = cast(Dataset, build(plugins[1], record.dataset.options, where, self._registry.component))
        splits = dataset.load(store.data if getattr(dataset, "kept_in_store", False) else self._data)
        if splits.sha256 != record.dataset.sha256:
            raise UserError(f"{self._name} cannot be loaded: the data set holds other arrays than it was trained on")
        networks = self._registry.networks(record.networks, where)
        budget, evaluation = Budget.model_validate(record.budget), Evaluation.model_validate(record.evaluation)
        task = Task(dataset, splits, networks, budget, evaluation)
        log_z = record.by_metric.get("log_z")
        run = Run(record.seed, place, store.cell(record.cell))
        state = cast(State, store.state(record))
        try:
            return strategy.fitted(state, task, run, log_z.value if log_z else None)
        except (KeyError, RuntimeError) as error:
            raise UserError(f"the state of {self._name} does not fit its model: {error}") from error

    def _plugins(self) -> list[Plugin]:
        """Return the plugins that the record names, if they are the user's own, installed or built in."""
        record = self.record
        try:
            strategy = self._registry.find("strategy", record.strategy)
            dataset = self._registry.find("dataset", record.dataset.name)
            return [strategy, dataset, *self._registry.parts(strategy, record.hyper, record.networks)]
        except UserError as error:
            raise UserError(f"{self._name} cannot be loaded: {error}; name its folder or file in `plugins`") from error
