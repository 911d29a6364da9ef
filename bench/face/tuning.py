"""Tuning from Python: `bench.tune`."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.face.places import Place, data_of, registry_of
from bench.face.sweeps import _chosen, _contents, _grid, _seeds, _set, _strategies, _tables
from bench.face.training import Data
from bench.face.values import device_name, display_of, flag, plain, text, whole
from bench.places import absolute
from bench.plugins.shapes import passed
from bench.protocol import UserError
from bench.sweep.pool import SweepError
from bench.sweep.requests import Request
from bench.sweep.screen import Screen
from bench.sweep.storage import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from bench.tuning.trials import Progress


class Tuned:
    """What tuning came to.

    Attributes:
        grids: files of tuned grids, one a data set; empty where rows have not had the same.
        notes: what happened meanwhile, a sentence each.
    """

    def __init__(self, studies: Sequence[Progress], grids: Sequence[Path], notes: Sequence[str]) -> None:
        self._studies, self.grids, self.notes = list(studies), list(grids), list(notes)

    def trials(self) -> pd.DataFrame:
        """Return the trials: a row each, with its end, value, seconds, hyper-parameters (JSON) and the cell's id."""
        import pandas as pd

        from bench.sweep.columns import canonical
        from bench.tuning.study import CELL
        from bench.tuning.trials import seconds_of

        rows = []
        for progress in self._studies:
            for trial, record in progress.records():
                rows.append(
                    {
                        "study": progress.study.row.study,
                        "trial": trial.number,
                        "state": trial.state.name.lower(),
                        "status": record.status if record else "",
                        "value": trial.value,
                        "seconds": seconds_of(record) if record else float("nan"),
                        "values": canonical(progress.study.values(trial) or {}),
                        "cell": trial.user_attrs.get(CELL, ""),
                    }
                )
        columns = ["study", "trial", "state", "status", "value", "seconds", "values", "cell"]
        return pd.DataFrame(rows, columns=columns)

    def ledger(self) -> pd.DataFrame:
        """Return a row per study that came to a value: trials, seconds, the chosen and the grid's own values."""
        import pandas as pd

        from bench.tuning.orders import chosen

        return pd.DataFrame([ledger.model_dump() for ledger in chosen(self._studies)])

    def __repr__(self) -> str:
        """Return the best trials as text."""
        from bench.tuning.show import text

        return "\n".join([text(self._studies), *self.notes, *(f"tuned grid: {path}" for path in self.grids)])


def tune(
    grid: Place | Mapping[str, Any] = "digits",
    *,
    trials: int | None = None,
    budget: str | float | None = None,
    strategies: Sequence[Place] = (),
    set: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] | None = None,
    datasets: Sequence[Data | Place | Mapping[str, Any]] = (),
    metric: str = "vlb",
    pruner: Literal["median", "hyperband", "none"] = "median",
    storage: str | None = None,
    jobs: int | None = None,
    store: Place | None = None,
    data_dir: Place | None = None,
    plugins: Sequence[Place] = (),
    device: str = "cpu",
    timeout: float | None = None,
    memory: float | None = None,
    retries: int = 2,
    out: Place = ".",
    trust: bool = False,
    progress: bool | Screen | None = None,
) -> Tuned:
    """Tune every row of a grid by as many trials, or seconds, and write the tuned grid.

    A trial is a cell, trained with a seed of its own and scored on the validation split. The same call goes on where
    it was interrupted; with more trials it adds those that are missing.

    Args:
        grid: an embedded NAME, a path to a `.toml` file, or its tables as a dict.
        trials: of every row; or `budget`.
        budget: of every row, for its trials together: seconds, or `2h`, `90m`, `45s`.
        strategies: tune only these NAMEs or FILEs.
        set: changes to the grid by dotted key.
        seeds: of the comparison: a count or a list, in place of the grid's.
        datasets: in place of the grid's, as of `bench.run`.
        metric: by which trials are chosen, at the worse end of log Z's interval.
        pruner: ends trials early whose validation bound is worse than that of others of their row.
        storage: URL of an Optuna storage; by default a journal file in the store.
        jobs: worker processes; by default one a core or GPU.
        store: the run store of the trials; by default the grid's name and `-trials`.
        data_dir: where data sets lie or are downloaded to.
        plugins: folders of plugins, or files.
        device: cpu, cuda, cuda:N or mps.
        timeout: minutes that a trial may take.
        memory: gigabytes that a worker process may hold.
        retries: how often a trial that was lost goes on.
        out: folder of the tuned grid.
        trust: go on in a run store that was made by somebody else or elsewhere.
        progress: False for silence, or what is told instead of a display that suits where this runs.

    Raises:
        UserError: a mistake, or a store that cannot be written; one sentence.
        KeyboardInterrupt: it was interrupted; trials that were running go on with the next call.
    """
    from bench.tuning.orders import Tuning, allowance_of

    chosen = _chosen(datasets)
    notes: list[str] = []
    request = Request(
        _grid(grid),
        _set(set),
        _strategies(strategies),
        _seeds(seeds),
        absolute(store, "store") if store is not None else None,
        data_of(data_dir),
        registry_of(plugins),
        datasets=_tables(chosen),
        trust=flag("trust", trust),
        say=notes.append,
        display=display_of(progress),
        spelling=passed,
    )
    tuning = Tuning(request, text("metric", metric), None if storage is None else text("storage", storage))
    workers = None if jobs is None else whole("jobs", jobs, 1)
    limits = plain(timeout), plain(memory), plain(retries)
    seconds = plain(budget)
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, str | int | float)):
        raise UserError(f"{passed('budget', budget)} is not allowed; it must be seconds, or a time such as '2h'")
    allowance = allowance_of(None if trials is None else whole("trials", trials, 1), seconds, passed)
    if not isinstance(pruner, str) or pruner not in ("median", "hyperband", "none"):
        raise UserError(f"{passed('pruner', pruner)} is unknown; allowed: median, hyperband, none")
    try:
        for content in _contents(chosen):
            tuning.store.keep(content)
        order = tuning.order(allowance, pruner, device_name(device), absolute(out, "out"))
        tally = tuning.carry_out(order, workers, *limits)
    except (StoreError, SweepError) as error:
        raise UserError(str(error)) from error
    if tally.signal == signal.SIGINT:
        raise KeyboardInterrupt("stopped; nothing that is finished is lost, and the same call goes on")
    if tally.signal is not None:
        os.kill(os.getpid(), tally.signal)
    grids = order.conclude(request.say)
    return Tuned(tuning.studies, grids, notes)
