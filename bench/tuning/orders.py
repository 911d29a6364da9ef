"""Tuning, carried out: from a request to studies whose rows have all had the same, here or in SLURM jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from optuna.trial import TrialState

from bench import metrics
from bench.grid import Grid, load
from bench.ledger import Ledger
from bench.plugins import Registry
from bench.plugins.shapes import Spelling, passed
from bench.protocol import UserError
from bench.sweep import circumstances, pool, status
from bench.sweep.attempts import Job, key
from bench.sweep.limits import cores, devices, limited
from bench.sweep.requests import Request
from bench.sweep.screen import Screen, Tally
from bench.sweep.store import Store
from bench.sweep.worker import Setup
from bench.tuning import ledgers, rows
from bench.tuning.journal import storage_of
from bench.tuning.rows import BOUND, Row
from bench.tuning.study import Study, pruner_of
from bench.tuning.trials import Allowance, Progress, Trials
from bench.words import listed

_TIME = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in ("h", "m(?:in)?", "s")))
Pruner = Literal["median", "hyperband", "none"]


def seconds_of(text: str, spelling: Spelling = passed) -> float:
    """Return the seconds of `2h`, `90m`, `1h30m` or `45s`.

    Raises:
        UserError: it is no such time.
    """
    match = _TIME.fullmatch(text.replace(" ", ""))
    parts = match.groups() if match else ()
    seconds = sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False) if part)
    if not 0 < seconds < float("inf"):
        raise UserError(f"{spelling('budget', text)} is no time; write 2h, 90m, 1h30m or 45s")
    return seconds


def allowance_of(trials: int | None, budget: str | float | None, spelling: Spelling) -> Allowance:
    """Return what every row may have.

    Raises:
        UserError: neither trials nor a budget are given, or both, or one is out of bounds.
    """
    if (trials is None) == (budget is None):
        both = "both" if trials is not None else "neither"
        raise UserError(f"say {spelling('trials', 20)} or {spelling('budget', '2h')}, one of them, not {both}")
    if trials is not None and (type(trials) is not int or trials < 1):
        raise UserError(f"{spelling('trials', trials)} is not allowed; it must be a whole number, at least 1")
    if isinstance(budget, int | float) and not 0 < budget < float("inf"):
        raise UserError(f"{spelling('budget', budget)} is not allowed; it must be seconds, above 0")
    return Allowance(trials, seconds_of(budget, spelling) if isinstance(budget, str) else budget)


@dataclass(frozen=True)
class Order:
    """What one process needs to work on studies; it can be pickled.

    Attributes:
        grid: that is tuned.
        jobs: the first cell of every row, with its code and data, scored as trials are.
        rows: the same rows.
        setup: what all cells share; its store is that of the trials.
        url: of Optuna's storage; None for the journal in the store.
        allowance: of every row.
        pruner: ends trials that are worse than others of their row.
        folder: where the tuned grid goes.
        whole: every row of the grid, with those that were not asked for.
    """

    grid: Grid
    jobs: tuple[Job, ...]
    rows: tuple[Row, ...]
    setup: Setup
    url: str | None
    allowance: Allowance
    pruner: Pruner
    folder: Path
    whole: tuple[Row, ...]

    def feed(self, say: Callable[[str], None], screen: Callable[[str], None] | None = None) -> Trials:
        """Return what hands out the trials; studies are made where there are none.

        Args:
            say: takes what is to be known of studies before, a sentence each.
            screen: takes what trials came to; by default `say`.

        Raises:
            UserError: the storage cannot be reached, or a study is another's or was altered.
        """
        storage = storage_of(self.url, self.setup.store)
        assert storage is not None
        studies = []
        for job, row in zip(self.jobs, self.rows, strict=True):
            study = Study(row, storage, pruner_of(self.pruner, row.cell.budget.epochs))
            studies.append(Progress(study, job, Store(self.setup.store), self.setup.registry))
        for progress in studies:
            progress.demand_same_data()  # before anything is trained; trials that were altered are refused, too
        more: dict[str, list[str]] = {}  # by what they have had: those that have had more than they may have now
        for progress in studies:
            if had := beyond(progress, self.allowance):
                more.setdefault(had, []).append(progress.study.row.name)
            progress.study.allow(self.allowance.seconds)
            for sentence in progress.study.row.widened or progress.study.earlier:
                say(sentence)
        for had, names in more.items():
            say(f"{had} already, more than {self.allowance}, so that nothing is added: {listed(names)}")
        return Trials(studies, self.allowance, screen or say)

    def conclude(self, say: Callable[[str], None]) -> list[Path]:
        """Write the tuned grids once every row with a study has had the same; return where they are.

        Raises:
            UserError: no trial of any row came to a value, or a file cannot be written.
        """
        had = progress_of(self.whole, self.url, Store(self.setup.store), self.setup.registry)
        lacking = [progress.study.row.name for progress in had if not over(progress)]
        if lacking:
            say(f"not over yet, so that there is no tuned grid: {listed(lacking)}; the same command goes on")
            return []
        allowances: dict[Allowance, list[str]] = {}
        for progress in had:
            allowances.setdefault(allowed(progress), []).append(progress.study.row.name)
        if len(allowances) > 1:
            words = "; ".join(f"{what}: {listed(names)}" for what, names in allowances.items())
            say(f"rows have not had the same, so that there is no tuned grid ({words}); give all of them the most")
            return []
        code = {row.study: row.code for row in self.whole}
        if earlier := [p.study.row.name for p in had if p.study.row.code != code[p.study.row.study]]:
            say(f"tuned with earlier code of bench or of its plugins: {listed(earlier)}")
        chosen = [(progress, ledgers.of(progress)) for progress in had]
        failed = [f"{p.study.row.name} ({ledgers.ends(p)})" for p, ledger in chosen if ledger is None]
        none = f"no trial came to a value of {self.rows[0].metric}: {listed(failed)}"
        if len(failed) == len(chosen):
            raise UserError(f"{none}; widen what is searched, or choose another metric")
        if failed:
            say(f"{none}; the tuned grid has these rows as they were")
        return ledgers.write(self.grid, chosen, self.folder)


def over(progress: Progress) -> bool:
    """Tell whether every trial of a study has ended."""
    trials = progress.study.trials
    return bool(trials) and all(trial.state.is_finished() for trial in trials)


def allowed(progress: Progress) -> Allowance:
    """Return what a study was allowed: equal where rows had the same."""
    seconds = progress.study.said.seconds
    return Allowance(seconds=seconds) if seconds else Allowance(trials=len(progress.study.trials))


def beyond(progress: Progress, allowance: Allowance) -> str:
    """Return what a study has had where that is more than an allowance, in words; else nothing."""
    begun = sum(trial.state != TrialState.WAITING for trial in progress.study.trials)
    seconds = progress.study.said.seconds or 0.0
    if allowance.trials and begun > allowance.trials:
        return str(Allowance(trials=begun))
    return str(Allowance(seconds=seconds)) if allowance.seconds and seconds > allowance.seconds else ""


def progress_of(whole: Sequence[Row], url: str | None, store: Store, registry: Registry) -> list[Progress]:
    """Return the studies that there are of a grid's rows; none is made.

    Raises:
        UserError: the storage cannot be reached, or a study has another search space or other settings.
    """
    storage = storage_of(url, store.folder, create=False)
    if storage is None:
        return []
    found = []
    for row in whole:
        try:
            study = Study(row, storage, create=False)
        except KeyError:
            continue
        first, code = row.trial(0, row.defaults, registry), study.row.code
        found.append(Progress(study, Job(first, key(code, first.evaluation), code, {}), store, registry))
    return found


# ---------------------------------------------------------------- a request


class Uncounted(Screen):
    """A screen for trials of which nobody knows how many there will be: it shows what each came to.

    Args:
        display: shows it.
    """

    def __init__(self, display: Screen) -> None:
        self._display = display

    def __enter__(self) -> Self:
        """Begin to show."""
        self._display.__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        """The sweep is over."""
        self._display.__exit__(*how)

    def note(self, sentence: str) -> None:
        """Show it."""
        self._display.note(sentence)


@dataclass(frozen=True)
class Tuning:
    """What is asked for.

    Attributes:
        request: which rows of which grid, and where trials, data and plugins lie.
        metric: by which trials are chosen.
        url: of Optuna's storage; None for its journal in the store of the trials.
    """

    request: Request
    metric: str = BOUND
    url: str | None = None

    def __post_init__(self) -> None:
        """Refuse a URL that is empty."""
        if self.url is not None and not self.url.strip():
            name = self.request.spelling("storage")
            raise UserError(f"{name} is empty; give the URL of an Optuna storage, or leave {name} out")

    @property
    def store(self) -> Store:
        """The run store of the trials."""
        return self.request.trials

    @cached_property
    def rows(self) -> list[Row]:
        """The rows that are asked for."""
        return rows.of(self.request.cells, self.metric, self.request.registry)

    @cached_property
    def whole(self) -> list[Row]:
        """All rows of the grid that can be tuned: those with a study are in the tuned grid, whichever is worked on."""
        request = self.request
        if not request.strategies:
            return self.rows
        grid = load(
            request.grid,
            request.registry,
            settings=request.settings,
            seeds=request.seeds,
            datasets=request.datasets,
            spelling=request.spelling,
        )
        ours = {row.study for row in self.rows}
        return [
            *self.rows,
            *(row for row in rows.tunable(grid, self.metric, request.registry) if row.study not in ours),
        ]

    @property
    def studies(self) -> list[Progress]:
        """The studies that there are."""
        return progress_of(self.whole, self.url, self.store, self.request.registry)

    def order(self, allowance: Allowance, pruner: Pruner, device: str, folder: Path) -> Order:
        """Return what a process needs to carry this out, once data are there and the store can be written.

        Raises:
            UserError: the grid, its data or a range is wrong, or a file that bench has not written lies where a
                tuned grid would.
            StoreError: the store cannot be written.
        """
        request, store = self.request, self.store
        request.admit(store)
        self._choosable()
        ledgers.refuse_others(ledgers.places(request.cells, self.rows, folder.absolute()).values())
        firsts = [row.trial(0, row.defaults, request.registry) for row in self.rows]
        jobs = [
            Job(cell, key(row.code, cell.evaluation), row.code, {}) for cell, row in zip(firsts, self.rows, strict=True)
        ]
        store.storage.check_writable()
        ready = status.verified(jobs, request.registry, request.data, store.data)
        request.remember(store)
        setup = Setup(
            f"{request.cells.name}-trials",
            store.folder,
            request.registry,
            request.data,
            device,
            circumstances.provenance(device),
        )
        return Order(
            request.cells,
            tuple(ready),
            tuple(self.rows),
            setup,
            self.url,
            allowance,
            pruner,
            folder.absolute(),
            tuple(self.whole),
        )

    def _choosable(self) -> None:
        """Refuse a metric that models of some row cannot be chosen by, and say where that is not known yet.

        Raises:
            UserError: it is such a metric.
        """
        cells, name = [row.cell for row in self.rows], self.request.spelling("metric", self.metric)
        for cell in cells:
            if why := metrics.refusal(self.metric, cell, self.request.registry):
                raise UserError(f"{name}: {why}")
        if unclear := metrics.doubt(self.metric, cells):
            self.request.say(f"{name}: {unclear}")

    def carry_out(
        self,
        order: Order,
        jobs: int | None = None,
        timeout: float | None = None,
        memory: float | None = None,
        retries: int = 2,
    ) -> Tally:
        """Carry trials out in processes of this machine, until every row has had its allowance.

        Args:
            order: what.
            jobs: processes; one a core where it is None.
            timeout: minutes that a trial may take.
            memory: gigabytes that a process may hold.
            retries: how often a trial that was lost goes on.

        Raises:
            UserError: as `Order.feed`; or trials have no score by which they are to be chosen.
            SweepError: the sweep cannot go on.
        """
        there = devices(order.setup.device, self.request.spelling)
        most = jobs or (cores() if order.setup.device == "cpu" else len(there))
        limits = limited(timeout, memory, retries, self.request.spelling)
        store = self.store
        missing = self._missing(order)
        if order.allowance.trials:
            most = max(1, min(most, missing))
        display = self.request.display(missing, self._called, lambda job: str(store.log(job.cell.id, job.attempt)))
        with display if order.allowance.trials else Uncounted(display) as screen:
            feed = order.feed(self.request.say, screen.note)
            return pool.Pool(order.setup, most, screen, limits, devices=there, feed=feed).run([])

    def _missing(self, order: Order) -> int:
        """Return how many trials are to be carried out, as far as that can be told."""
        studies = progress_of(order.rows, self.url, self.store, self.request.registry)
        had = {p.study.row.study: sum(trial.state.is_finished() for trial in p.study.trials) for p in studies}
        return sum(max(0, (order.allowance.trials or 1) - had.get(row.study, 0)) for row in order.rows)

    @staticmethod
    def _called(job: Job) -> str:
        return f"{job.cell.label}, trial {job.cell.seed - rows.SEEDS}"


def chosen(studies: Sequence[Progress]) -> list[Ledger]:
    """Return the ledgers of the studies that came to something."""
    return [ledger for ledger in map(ledgers.of, studies) if ledger]
