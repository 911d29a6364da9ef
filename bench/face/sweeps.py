"""Grids and sweeps from Python: `bench.grid` and `bench.run`."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bench.face.places import Place, data_of, located, names, registry_of, text_of, wanted
from bench.face.records import Results
from bench.face.training import Data
from bench.face.values import device_name, display_of, flag, listing, plain, table, whole
from bench.grid import Grid, load
from bench.places import absolute
from bench.plugins.shapes import passed
from bench.protocol import UserError
from bench.report.sources import of_places
from bench.sweep.limits import limited
from bench.sweep.logs import Log
from bench.sweep.pool import SweepError
from bench.sweep.requests import Plan, Request
from bench.sweep.screen import Screen
from bench.sweep.storage import StoreError


def grid(
    grid: Place | Mapping[str, Any] = "digits",
    *,
    set: Mapping[str, Any] | None = None,
    strategies: Sequence[Place] = (),
    seeds: int | Sequence[int] | None = None,
    plugins: Sequence[Place] = (),
) -> Grid:
    """Return a validated grid with its cells; nothing runs. Arguments as of `run`.

    >>> import bench
    >>> small = bench.grid("digits", strategies=["normal", "stein"], seeds=2, set={"train.epochs": 3})
    >>> [f"{cell.label} seed {cell.seed}" for cell in small.cells]
    ['normal seed 0', 'normal seed 1', 'stein seed 0', 'stein seed 1']

    Raises:
        UserError: what is wrong, at which key, and what is allowed.
    """
    return load(
        _grid(grid),
        registry_of(plugins),
        settings=_set(set),
        strategies=_strategies(strategies),
        seeds=_seeds(seeds),
        spelling=passed,
    )


def run(
    grid: Place | Mapping[str, Any] = "digits",
    *,
    seeds: int | Sequence[int] | None = None,
    strategies: Sequence[Place] = (),
    set: Mapping[str, Any] | None = None,
    datasets: Sequence[Data | Place | Mapping[str, Any]] = (),
    jobs: int | None = None,
    store: Place | None = None,
    data_dir: Place | None = None,
    plugins: Sequence[Place] = (),
    device: str = "cpu",
    timeout: float | None = None,
    memory: float | None = None,
    retries: int = 2,
    per_gpu: int | Literal["auto"] = 1,
    stale: bool = False,
    retry_failed: bool = False,
    trust: bool = False,
    progress: bool | Screen | None = None,
    log: Log | None = None,
) -> Results:
    """Carry out the cells of a grid that have no final record, and return the results of all of its cells.

    Interrupted at any moment, it loses nothing that is finished: the same call goes on.

    >>> import bench
    >>> quick = {"train.epochs": 1, "evaluate.images": 20, "evaluate.importance_samples": 5}
    >>> quick |= {"evaluate.ais_nll.images": 0, "evaluate.ais_nll.simulated": 0}
    >>> results = bench.run("digits", strategies=["normal"], seeds=1, set=quick, jobs=1, progress=False)
    >>> results.table()[["dataset", "strategy", "seeds"]].values.tolist()
    [['digits', 'normal', 1]]

    Args:
        grid: an embedded NAME, a path to a `.toml` file, or its tables as a dict.
        seeds: a count or a list, in place of the grid's.
        strategies: run only these NAMEs or FILEs; one that the grid does not hold runs with its defaults.
        set: changes to the grid by dotted key: `{"train.epochs": 3, "strategy.stein.penalty": .1}`.
        datasets: in place of the grid's: what `bench.dataset` gives, names, or tables.
        jobs: worker processes; by default one a core or GPU.
        store: the run store; by default the grid's name in `$BENCH_STORE`, the profile's `store`, or `runs`.
        data_dir: where data sets lie or are downloaded to; by default `$BENCH_DATA`, the profile's, or a cache.
        plugins: folders of plugins, or files; by default `$BENCH_PLUGINS`.
        device: cpu, cuda, cuda:N or mps.
        timeout: minutes that an attempt at a cell may take.
        memory: gigabytes that a worker process may hold.
        retries: how often a cell that was lost goes on.
        per_gpu: cells that share a GPU; "auto" measures how many bring most.
        stale: also run cells again that earlier code of bench recorded.
        retry_failed: also run cells again that failed (all but diverged ones).
        trust: go on in a run store that was made by somebody else or elsewhere.
        progress: False for silence, or what is told instead of a display that suits where this runs.
        log: is told the curves, scores and settings of the cells: `bench.TensorBoard(FOLDER)`, or a `bench.Log` of
            your own.

    Raises:
        UserError: a mistake, or a store that cannot be written; one sentence.
        KeyboardInterrupt: it was interrupted; running cells left checkpoints.
    """
    if log is not None and not isinstance(log, Log):
        raise UserError(f"log is a {type(log).__name__}; allowed: an object of a class that extends bench.Log")
    registry, data = registry_of(plugins), data_of(data_dir)
    chosen = _chosen(datasets)
    request = Request(
        _grid(grid),
        _set(set),
        _strategies(strategies),
        _seeds(seeds),
        absolute(store, "store") if store is not None else None,
        data,
        registry,
        datasets=_tables(chosen),
        trust=flag("trust", trust),
        display=display_of(progress),
        log=log,
        spelling=passed,
    )
    workers = None if jobs is None else whole("jobs", jobs, 1)
    shared: int | Literal["auto"] = "auto"
    if not (isinstance(per_gpu, str) and per_gpu == "auto"):
        shared = whole("per_gpu", per_gpu, 1, ', or "auto"')
    again = {"stale": flag("stale", stale), "retry": flag("retry_failed", retry_failed)}
    limits = plain(timeout), plain(memory), plain(retries)
    limited(*limits, passed)  # also where nothing is left to run
    try:
        kept = request.runs(request.cells.name)
        for content in _contents(chosen):
            kept.keep(content)
        survey = request.survey()
        plan = Plan(request, survey, survey.jobs(**again))
        tally = plan.carry_out(device_name(device), workers, *limits, shared)
    except (StoreError, SweepError) as error:
        raise UserError(str(error)) from error
    if tally.signal == signal.SIGINT:
        raise KeyboardInterrupt("stopped; nothing that is finished is lost, and the same call goes on")
    if tally.signal is not None:
        os.kill(os.getpid(), tally.signal)  # what it does when no sweep is running
    return Results(of_places([kept.folder], registry), registry, data, [cell.id for cell in request.cells.cells])


def _grid(grid: Place | Mapping[str, Any]) -> str | dict[str, Any]:
    return plain(grid) if isinstance(grid, Mapping) else text_of("the grid", grid)


def _strategies(strategies: Any) -> list[str]:
    return wanted("strategies", strategies, names("strategies", strategies))


def _set(changes: Any) -> dict[str, Any]:
    return table("set", changes, "{'train.epochs': 3}")


def _seeds(seeds: Any) -> int | list[int] | None:
    given = plain(seeds)
    if given is not None and not isinstance(given, int | list):
        raise UserError(f"{passed('seeds', seeds)} is not allowed; it must be a whole number or a list of them")
    return given


def _chosen(datasets: Any) -> list[Any]:
    """Return the data sets that are given: one alone, or those of anything that can be gone through."""
    one = isinstance(datasets, Data | str | os.PathLike | Mapping)
    return [datasets] if one else wanted("datasets", datasets, listing("datasets", datasets, "data sets"))


def _contents(chosen: Sequence[Any]) -> list[bytes]:
    """Return the files of those that are arrays of the user's own."""
    return [entry.content for entry in chosen if isinstance(entry, Data) and entry.content]


def _tables(chosen: Sequence[Any]) -> list[dict[str, Any]]:
    return [entry.table if isinstance(entry, Data) else _table(entry) for entry in chosen]


def _table(entry: Place | Mapping[str, Any]) -> dict[str, Any]:
    """Return the `[[dataset]]` table of a name, or of a table."""
    table = plain(entry) if isinstance(entry, Mapping) else {"name": text_of("a data set", entry)}
    return {**table, "name": located(table["name"])} if "name" in table else table
