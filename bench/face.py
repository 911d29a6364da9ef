"""The Python face: what the command line does, for scripts and notebooks. `import bench` gives its functions.

Whatever a user got wrong is raised as a `bench.protocol.UserError`, with the sentence that the command line prints.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd

from bench import files
from bench.grid import Grid, load
from bench.plugins import Plugin, Registry, build
from bench.plugins.settings import validated
from bench.plugins.shapes import listed, nearest
from bench.protocol import Budget, Dataset, Diverged, Evaluation, OutOfMemory, Run, Splits, Task, UserError
from bench.report import published, sources
from bench.report.cells import Outcome, outcomes, read_parquet, select
from bench.report.cells import kind as table_kind
from bench.report.rows import Row, group
from bench.report.tables import measured
from bench.sweep import progress as displays
from bench.sweep.fingerprints import fingerprints
from bench.sweep.pool import Screen
from bench.sweep.requests import Plan as Planned
from bench.sweep.requests import Request
from bench.sweep.store import Store

if TYPE_CHECKING:
    from bench.protocol import Scores, State
    from bench.strategy import Strategy
    from bench.strategy.fitted import Fitted

__all__ = ["Cell", "Results", "Trained", "dataset", "grid", "results", "run", "strategy"]


def _spelled(name: str) -> str:
    """Return what Python calls an argument."""
    return name


def grid(
    grid: str | Mapping[str, Any] = "digits",
    *,
    set: Mapping[str, Any] | None = None,
    strategies: Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
    plugins: Sequence[str | Path] = (),
) -> Grid:
    """Return a validated grid with its cells.

    >>> cells = bench.grid("digits", strategies=["normal"], seeds=2).cells
    >>> [cell.seed for cell in cells]
    [0, 1]

    Args:
        grid: an embedded NAME, the path of a `.toml` file, or a mapping with the tables of one.
        set: changes by dotted key: `{"train.epochs": 3, "strategy.stein.penalty": 0.1}`.
        strategies: NAMEs or FILEs of those that are wanted; all when empty.
        seeds: a count or a list, in place of the grid's.
        plugins: further folders of plugins.

    Raises:
        UserError: what is wrong, where, and what is allowed.
    """
    registry = Registry([Path(folder) for folder in plugins])
    return load(grid, registry, settings=set or {}, strategies=strategies, seeds=seeds, spelled=_spelled)


# ---------------------------------------------------------------- sweeps


def run(
    grid: str | Mapping[str, Any] = "digits",
    *,
    seeds: int | Sequence[int] | None = None,
    strategies: Sequence[str] = (),
    set: Mapping[str, Any] | None = None,
    datasets: Sequence[Dataset] = (),
    jobs: int | None = None,
    store: str | Path | None = None,
    data_dir: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    device: str = "cpu",
    timeout: float | None = None,
    memory: float | None = None,
    retries: int = 2,
    stale: bool = False,
    retry_failed: bool = False,
    progress: bool | Screen = True,
) -> Results:
    """Carry out the cells of a grid that have no final record, in processes of this machine; return the results.

    Interrupted at any moment, it loses nothing that is finished: the same call goes on.

    Args:
        grid, set, strategies, seeds, plugins: as of `bench.grid`.
        datasets: what `bench.dataset` returned, in place of the grid's data sets.
        jobs: processes; one a core when None.
        store: the run store's folder; by default `$BENCH_STORE/GRID`, the profile's, or `runs/GRID`.
        data_dir: where data sets lie or go; by default `$BENCH_DATA`, the profile's, or the user's cache.
        device: `cpu`, `cuda`, `cuda:1` or `mps`.
        timeout: minutes that an attempt at a cell may take.
        memory: gigabytes that a process may hold.
        retries: how often a cell goes on whose process was lost.
        stale: also run cells again that earlier code of bench recorded.
        retry_failed: also run cells again that failed (all but diverged ones).
        progress: whether to show how far cells are; or a `Screen` that is told.

    Raises:
        UserError: what is wrong in one of these, where, and what is allowed.
        KeyboardInterrupt: it was interrupted; running cells have saved a checkpoint.
    """
    request = Request(
        grid=grid,
        settings=set or {},
        strategies=strategies,
        seeds=seeds,
        store=Path(store) if store else None,
        data_dir=_data(data_dir),
        plugins=[Path(folder) for folder in plugins],
        datasets=[_table(one) for one in datasets],
        spelled=_spelled,
    )
    survey = request.survey()
    for one in datasets:
        _keep(one, survey.store)
    plan = Planned(request, survey, survey.jobs(stale=stale, retry=retry_failed))
    tally = plan.carry_out(_display(progress), device, jobs, timeout, memory, retries)
    if tally.signal is not None:
        raise KeyboardInterrupt(f"stopped by signal {tally.signal}; the same call goes on")
    return Results(request.registry, [survey.store.folder], data_dir=request.data_dir)


def _data(folder: str | Path | None) -> Path | None:
    return Path(folder) if folder else Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else None


def _display(progress: bool | Screen) -> Callable[..., contextlib.AbstractContextManager[Screen]]:
    """Return what makes the display of a sweep: that of the terminal or notebook, the user's own, or none."""
    if isinstance(progress, Screen):
        return lambda *_: contextlib.nullcontext(progress)
    return displays.screen if progress else lambda *_: contextlib.nullcontext(Screen())


def _table(one: Dataset) -> dict[str, Any]:
    """Return a data set as the table of a grid."""
    values = cast(Any, one).model_dump(mode="json", round_trip=True)
    return {"name": one.name, **values}


# ---------------------------------------------------------------- results


def results(*places: str | Path, plugins: Sequence[str | Path] = (), data_dir: str | Path | None = None) -> Results:
    """Return what cells left: in run stores, or in Parquet files of records. Nothing is written or run.

    Args:
        places: folders of run stores, and Parquet files.
        plugins: folders of plugins that the cells use.
        data_dir: where data sets lie, as of `run`.

    Raises:
        UserError: one of them is neither.
    """
    if not places:
        raise UserError("bench.results needs the folder of a run store, such as runs/digits, or a Parquet file")
    paths = [Path(place).expanduser() for place in places]
    stores = [path for path in paths if path.suffix != ".parquet"]
    for folder in stores:
        if not folder.is_dir():
            raise UserError(f"there is no run store {folder}")
        if not (folder / "grid.json").exists() and not any(folder.glob("cells/*/record-*.json")):
            raise UserError(f"{folder} is no run store: it holds neither grid.json nor records")
    parquet = [path for path in paths if path not in stores]
    for path in parquet:
        if not path.is_file():
            raise UserError(f"there is no Parquet file {path}")
    registry = Registry([Path(folder) for folder in plugins]).closed()
    return Results(registry, stores, parquet, data_dir=_data(data_dir))


class Results:
    """The records of cells; in a notebook it shows itself as a table.

    Attributes:
        stores: folders of run stores.
        notes: what could not be read, one sentence each.
    """

    def __init__(
        self,
        registry: Registry,
        stores: Sequence[Path],
        parquet: Sequence[Path] = (),
        *,
        data_dir: Path | None = None,
    ) -> None:
        self.stores, self.notes = tuple(stores), list[str]()
        self._registry, self._parquet, self._data_dir = registry, parquet, data_dir

    @cached_property
    def _source(self) -> sources.Source:
        source = sources.of_places(self.stores, self._parquet, self._registry)
        self.notes += source.notes
        return source

    def frame(self) -> pd.DataFrame:
        """Return every record, long: a row for each cell and metric, the columns those of the Parquet file."""
        return self._source.frame.copy()

    def curves(self) -> pd.DataFrame:
        """Return the training curves, long: a row for each cell, epoch and metric."""
        frames = [read_parquet(path, "curves") for path in self._parquet if table_kind(path) == "curves"]
        return pd.concat([sources.curves(self.stores, self.notes), *frames], ignore_index=True)

    def table(self, metric: str | None = None, baseline: str | None = None) -> pd.DataFrame:
        """Return a row for each data set and strategy: the mean over seeds, and the difference to a baseline.

        Args:
            metric: a name in the records, such as `vlb`, `nll` or `nll_ais`; the first of a data set's table when None.
            baseline: the label of the strategy to compare with; `normal` when None, where there is one.

        Returns:
            Columns dataset, strategy, seeds, metric, unit, mean, lower, upper, difference, difference_lower,
            difference_upper, verdict. The interval is that of the printed table (95 %). The verdict is `better`,
            `worse` or `open`; empty where nothing was compared.

        Raises:
            UserError: there is no such metric or baseline.
        """
        rows: list[dict[str, Any]] = []
        chosen = self._chosen()
        names = {
            name for found in chosen.values() for row in found for o in row.outcomes.values() for name in o.by_metric
        }
        if metric is not None and metric not in names:
            raise UserError(
                f'there is no metric "{metric}"{nearest(metric, names) or ";"} there are {listed(sorted(names))}'
            )
        labels = [row.label for found in chosen.values() for row in found]
        if baseline is not None and baseline not in labels:
            hint = nearest(baseline, labels) or ";"
            raise UserError(f'there is no strategy "{baseline}"{hint} there are {listed(dict.fromkeys(labels))}')
        reference = baseline or published.read().baseline
        for dataset, found in chosen.items():
            metrics, shown = measured(found)
            wanted = [one for one in metrics if one.name == metric] if metric else list(shown[:1])
            for one in wanted:
                rows += [_row(dataset, row, found, one, reference, self.stores) for row in found]
        return pd.DataFrame(rows, columns=list(_ROW))

    def _chosen(self) -> dict[str, list[Row]]:
        """Return the rows of each data set's table."""
        source = self._source
        planned = [cell.setting.dataset for cell in source.plan.cells]
        rows = {}
        for name in dict.fromkeys([*planned, *source.frame["dataset"]]):
            plan = source.plan.of(name)
            records, notes = select(outcomes(source.frame[source.frame["dataset"] == name]), plan, source.evaluation)
            self.notes += [note for note in notes if note not in self.notes]
            rows[name] = group(records, plan)
        return rows

    @property
    def cells(self) -> list[Cell]:
        """Every cell that has a record, in the order of the table."""
        found = self._chosen().values()
        return [Cell(self, row.label, o) for rows in found for row in rows for o in row.outcomes.values()]

    def cell(self, strategy: str, seed: int = 0, dataset: str | None = None) -> Cell:
        """Return one cell.

        Args:
            strategy: its label in the table.
            seed: of training.
            dataset: its name, where the strategy ran on several.

        Raises:
            UserError: there is no such cell, or more than one.
        """
        labels = [cell.label for cell in self.cells]
        if strategy not in labels:
            hint = nearest(strategy, labels) or ";"
            raise UserError(f'there is no strategy "{strategy}"{hint} there are {listed(dict.fromkeys(labels))}')
        ours = [cell for cell in self.cells if cell.label == strategy]
        if dataset is not None:
            held = list(dict.fromkeys(cell.record.dataset.name for cell in ours))
            if dataset not in held:
                hint = nearest(dataset, held) or ";"
                raise UserError(f'"{strategy}" has no record on "{dataset}"{hint} it has some on {listed(held)}')
            ours = [cell for cell in ours if cell.record.dataset.name == dataset]
        seeds = sorted({cell.record.seed for cell in ours})
        ours = [cell for cell in ours if cell.record.seed == seed]
        if not ours:
            raise UserError(f'"{strategy}" has no record with seed {seed}; it has {listed(map(str, seeds))}')
        if len(ours) > 1:
            held = [cell.record.dataset.name for cell in ours]
            raise UserError(f'"{strategy}" with seed {seed} ran on {listed(held)}; say which with dataset')
        return ours[0]

    def __repr__(self) -> str:
        """Return the table as text."""
        return str(self.table())

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return self.table().style.format(precision=3, na_rep="").hide(axis="index").to_html()


_ROW = (
    *("dataset", "strategy", "seeds", "metric", "unit", "mean", "lower", "upper"),
    *("difference", "difference_lower", "difference_upper", "verdict"),
)


def _row(
    dataset: str, row: Row, rows: Sequence[Row], metric: Any, baseline: str, stores: Sequence[Path]
) -> dict[str, Any]:
    """Return a row of `Results.table`."""
    row.average([metric])
    values: dict[str, Any] = {"dataset": dataset, "strategy": row.label, "seeds": len(row.values(metric.name))}
    values |= {"metric": metric.name, "unit": metric.unit, "verdict": ""}
    if mean := row.scores.get(metric.name):
        values |= {"mean": mean.mean, "lower": mean.lower, "upper": mean.upper}
    alike = [other for other in rows if baseline in (other.label, other.setting.strategy)]
    other = next((one for one in alike if one.setting.context == row.setting.context and one is not row), None)
    if other and row not in alike:
        row.pair(other, [metric], stores)
        if difference := row.paired.get(metric.name):
            ends = {"difference_lower": difference.lower, "difference_upper": difference.upper}
            values |= {"difference": difference.mean, **ends, "verdict": row.verdict(metric, other)}
    return values


@dataclass(frozen=True)
class Cell:
    """One cell that was carried out.

    Attributes:
        results: what it is one of.
        label: of its strategy in the table.
        record: all that its record holds.
    """

    results: Results
    label: str
    record: Outcome

    def __repr__(self) -> str:
        """Name the cell and how it ended."""
        return f"Cell({self.record.dataset.name} {self.label} seed {self.record.seed}: {self.record.status})"

    @property
    def scores(self) -> pd.DataFrame:
        """Its scores, by metric."""
        return _scores([score.model_dump() for score in self.record.scores])

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays beside its record, by name: scores of single items, samples, densities, log weights."""
        content = self._store.beside(self.record, self.record.key, "arrays") if self.results.stores else None
        if content is None:
            return {}
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    @property
    def curves(self) -> pd.DataFrame:
        """Its training curves, long: a row for each epoch and metric."""
        frame = self.results.curves()
        ours = (frame["cell"] == self.record.cell) & (frame["key"] == self.record.key)
        return frame.loc[ours, ["epoch", "step", "metric", "value"]].reset_index(drop=True)

    @property
    def _store(self) -> Store:
        for folder in self.results.stores:
            store = Store(folder)
            if store.record_path(self.record.cell, self.record.key).exists():
                return store
        raise UserError(f"{self!r} is known from a Parquet file alone; arrays and models lie in its run store")

    def model(self) -> Fitted:
        """Return the trained model: what was scored.

        Raises:
            UserError: it was not scored or not kept, its code has changed since, its plugins were not named, or it has
                no latent variables.
        """
        record, registry = self.record, self.results._registry
        store = self._store
        if record.status != "ok":
            raise UserError(f"{self!r} has no model: its record says {record.status!r}")
        plugins = self._plugins(registry)
        now = fingerprints(plugins)
        if now.plugin != record.fingerprints.plugin or now.fit != record.fingerprints.fit:
            part = "its plugins" if now.plugin != record.fingerprints.plugin else "the training code of bench"
            raise UserError(
                f"the model of {self!r} cannot be loaded: {part} changed since it was trained; run it again"
            )
        where = f"record of cell {record.cell}"
        ours = cast("Strategy", build(plugins[0], record.hyper, where, registry.component))
        data = cast(Dataset, build(plugins[1], record.dataset.options, where, registry.component))
        request = Request(data_dir=self.results._data_dir, spelled=_spelled)
        splits = data.load(store.data(data, request.data))
        if record.dataset.sha256 not in (None, splits.sha256):
            raise UserError(f"the data of {self!r} are not those that it was trained on: their SHA-256 differs")
        task = Task(
            data,
            splits,
            registry.networks(record.networks, where),
            validated(Budget, record.budget, where, "train"),
            validated(Evaluation, record.evaluation, where, "evaluate"),
        )
        log_z = next((score.value for score in record.scores if score.metric == "log_z"), None)
        from bench.streams import undisturbed

        with tempfile.TemporaryDirectory() as folder, undisturbed():
            return _fitted(ours, cast(Any, store.state(record)), task, Run(record.seed, "cpu", Path(folder)), log_z)

    def _plugins(self, registry: Registry) -> list[Plugin]:
        """Return the plugins that the cell used, of those that the user named or installed."""
        record = self.record
        try:
            pair = [registry.find("strategy", record.strategy), registry.find("dataset", record.dataset.name)]
            return [*pair, *registry.parts(pair[0], record.hyper, record.networks)]
        except UserError as error:
            hint = "name the folder of its plugin with plugins=[...]"
            raise UserError(f"the model of {self!r} needs a plugin that is not here: {error}; {hint}") from error


def _scores(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows)).set_index("metric") if rows else pd.DataFrame()


def _fitted(ours: Any, state: State, task: Task, run: Run, log_z: float | None) -> Fitted:
    """Return the model of a state.

    Raises:
        UserError: the strategy is of a make that does not know of encoders and decoders.
    """
    if not hasattr(ours, "fitted"):
        raise UserError(f"strategy {ours.name!r} has no latent variables to encode into; its scores and arrays are all")
    return cast("Fitted", ours.fitted(state, task, run, log_z))


# ---------------------------------------------------------------- one model, without a store


class Trained(NamedTuple):
    """A model that was trained and scored: the model, its scores by metric, and its arrays by name."""

    model: Fitted
    scores: pd.DataFrame
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Trainer:
    """A strategy with its hyper-parameters, ready to train.

    Attributes:
        strategy: the plugin's object.
    """

    strategy: Any
    registry: Registry

    def train(
        self,
        dataset: Dataset,
        *,
        epochs: int = 10,
        latent: int = 16,
        seed: int = 0,
        batch_size: int = 64,
        networks: Mapping[str, Any] | None = None,
        evaluate: Mapping[str, Any] | None = None,
        device: str = "cpu",
        data_dir: str | Path | None = None,
        progress: Callable[..., None] | None = None,
    ) -> Trained:
        """Train one model in this process, without a store, and score it.

        Args:
            dataset: what `bench.dataset` returned.
            epochs, batch_size: the budget.
            latent: dimension of z.
            seed: of training.
            networks: `encoder` and `decoder` tables as in a grid; perceptrons when None.
            evaluate: the `[evaluate]` table of a grid.
            device: a torch device.
            data_dir: where data sets lie, as of `run`.
            progress: called as `progress(stage="fit", done=120, total=900, ...)`.

        Raises:
            UserError: the strategy cannot do this task, or left the finite numbers; why, in one sentence.
        """
        from bench.streams import undisturbed

        where = "train"
        request = Request(data_dir=_data(data_dir), spelled=_spelled)
        splits = _splits(dataset, request)
        table = {**(networks or {}), "latent": latent}
        budget = {"epochs": epochs, "batch_size": batch_size}
        task = Task(
            dataset,
            splits,
            self.registry.networks(table, where),
            validated(Budget, budget, where, "train"),
            validated(Evaluation, evaluate or {}, where, "evaluate"),
        )
        refused = dataset.refuses(task.networks) or task.networks.refuses(splits.train.shape[1:])
        if reason := refused or self.strategy.skip(task):
            raise UserError(f"strategy {self.strategy.name!r} on data set {dataset.name!r}: {reason}")
        with tempfile.TemporaryDirectory() as folder:
            run = Run(seed, device, Path(folder))
            run = replace(run, progress=progress) if progress else run
            try:
                with undisturbed():
                    state = self.strategy.fit(task, run)
                    scores: Scores = self.strategy.evaluate(state, task, run)
                    log_z = next((score.value for score in scores.scores if score.metric.name == "log_z"), None)
                    model = _fitted(self.strategy, state, task, run, log_z)
            except (Diverged, OutOfMemory) as error:
                raise UserError(f"strategy {self.strategy.name!r} on data set {dataset.name!r}: {error}") from error
        rows = [
            {**vars(score), "metric": score.metric.name, "unit": score.metric.unit, "stderr": score.stderr}
            for score in scores.scores
        ]
        return Trained(model, _scores(rows), scores.arrays)


def strategy(name: str, /, *, plugins: Sequence[str | Path] = (), **hyper: Any) -> Trainer:
    """Return a strategy with hyper-parameters, ready to `train`.

    >>> model, scores, _ = bench.strategy("normal").train(
    ...     bench.dataset("digits"), epochs=1, latent=2, evaluate={"importance_samples": 10, "ais_nll": {"images": 0}}
    ... )
    >>> model.sample(3).shape
    (3, 8, 8)

    Args:
        name: a NAME, or a FILE.
        plugins: further folders of plugins.
        hyper: hyper-parameters, as in a grid: `energy={"kind": "grbm", "hidden": 16}`.

    Raises:
        UserError: there is no such strategy, or a value is not allowed.
    """
    registry = Registry([Path(folder) for folder in plugins])
    plugin = registry.find("strategy", name)
    return Trainer(build(plugin, hyper, "bench.strategy", registry.component), registry)


def dataset(name: str, /, *, plugins: Sequence[str | Path] = (), **options: Any) -> Dataset:
    """Return a data set with options; `arrays` is made of arrays of your own.

    >>> bench.dataset("digits", validation=100).name
    'digits'

    Args:
        name: a NAME, or a FILE.
        plugins: further folders of plugins.
        options: as in a grid. Those of `arrays` are `train` and `test`, numpy arrays whose first axis is the item,
            `likelihood`, and `validation`, how many of the last training items are kept from training.

    Raises:
        UserError: there is no such data set, or an option is not allowed.
    """
    registry = Registry([Path(folder) for folder in plugins])
    plugin = registry.find("dataset", name)
    cls = cast(Any, plugin.load())
    if not _in_store(cls) or "sha256" in options:
        return cast(Dataset, build(plugin, options, "bench.dataset", registry.component))
    likelihood = options.get("likelihood", "bernoulli")
    train, test = (_array(options, part, likelihood) for part in ("train", "test"))
    if train.shape[1:] != test.shape[1:]:
        raise UserError(f"train has items of shape {train.shape[1:]} and test of {test.shape[1:]}; they must be alike")
    content = _packed({"train": train, "test": test, "validation": np.array(int(options.get("validation", 0)))})
    digest = hashlib.sha256(content).hexdigest()
    rest = {key: value for key, value in options.items() if key not in ("train", "test", "validation")}
    made = cast(Dataset, build(plugin, {**rest, "sha256": digest}, "bench.dataset", registry.component))
    _OWN[digest] = content
    with tempfile.TemporaryDirectory() as folder:  # what cannot be loaded is said at once
        Path(folder, f"{digest}.npz").write_bytes(content)
        made.load(Path(folder))
    return made


_OWN: dict[str, bytes] = {}  # the files of arrays that were given in this process, by their SHA-256


def _array(options: Mapping[str, Any], part: str, likelihood: str) -> np.ndarray:
    """Return one of the user's arrays as it is stored."""
    if part not in options:
        raise UserError(f"bench.dataset needs {part}, an array whose first axis is the item")
    array = np.asarray(options[part])
    wanted = np.uint8 if likelihood == "bernoulli" else np.float32
    if likelihood != "bernoulli" and array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype != wanted:
        why = "pixels 0 .. 255" if wanted == np.uint8 else "numbers"
        rule = f"with a {likelihood} likelihood it must be {np.dtype(wanted).name} ({why})"
        raise UserError(f"{part} is an array of {array.dtype}; {rule}")
    if array.ndim < 2 or len(array) < 2 or not array[0].size:
        raise UserError(f"{part} has the shape {array.shape}; it must be (N, ...) with 2 or more items")
    if not np.isfinite(array).all():
        raise UserError(f"{part} holds numbers that are not finite")
    return np.ascontiguousarray(array)


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return an npz file that is the same for the same arrays: no date enters."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
    return packed.getvalue()


def _in_store(one: Any) -> bool:
    """Return whether a data set, or its class, says that its file lies in the run store."""
    return bool(getattr(one, "kept_in_store", False))


def _content(one: Any) -> bytes:
    try:
        return _OWN[one.sha256]
    except KeyError:
        raise UserError(
            f"the arrays of data set {one.name!r} were not given in this process; call bench.dataset again"
        ) from None


def _keep(one: Dataset, store: Store) -> None:
    """Put the user's own arrays into a store, under their digest."""
    if _in_store(one):
        path = store.folder / "data" / f"{cast(Any, one).sha256}.npz"
        if not path.exists():
            with files.replacing(path) as file:
                file.write(_content(one))


def _splits(one: Dataset, request: Request) -> Splits:
    if not _in_store(one):
        return one.load(request.data)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{cast(Any, one).sha256}.npz").write_bytes(_content(one))
        return one.load(Path(folder))
