"""What is asked for: cells of a grid, in a run store, and all that can be done about them.

Nothing here prints, or knows the command line: what happens meanwhile is said through `Request.say` and shown by
`Request.display`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import metrics, profile
from bench.grid import Cell, Grid, load
from bench.places import absolute, remember, user_folder
from bench.plugins import Registry
from bench.plugins.shapes import Spelling, typed
from bench.protocol import DataError, Items, UserError
from bench.sweep import circumstances, logs, measuring, pool, sharing, status, worker
from bench.sweep.attempts import Job
from bench.sweep.limits import cores, devices, limited
from bench.sweep.screen import Screen, Tally
from bench.sweep.slurm import commands, launches, submitted
from bench.sweep.slurm.submission import Submission
from bench.sweep.store import Store

Display = Callable[[int, Callable[[Job], str], Callable[[Job], str]], Screen]


@dataclass(frozen=True)
class Request:
    """Cells of a grid, and where their records, their data and plugins lie.

    Attributes:
        grid: an embedded NAME, a `.toml` FILE, or its tables.
        settings: changes to the grid, `KEY=VALUE` or values by such keys.
        strategies: NAMEs or FILEs of those that are wanted; all when empty.
        seeds: a count or a list, in place of the grid's.
        store: the run store's folder; None for the default one.
        data_dir: the folder of data sets; None for the default one.
        plugins: further folders of plugins, or all plugins that there are.
        datasets: `[[dataset]]` tables in place of the grid's.
        trust: run in the store even where somebody else has made it.
        say: takes what happens meanwhile, a sentence at a time.
        display: how a sweep is shown: number of cells, what a line calls a job, where its output lies -> a screen.
        log: is told of cells that are carried out on this machine.
        spelling: how errors name arguments.
    """

    grid: str | Mapping[str, Any] = "digits"
    settings: Sequence[str] | Mapping[str, Any] = ()
    strategies: Sequence[str] = ()
    seeds: int | Sequence[int] | None = None
    store: Path | None = None
    data_dir: Path | None = None
    plugins: Sequence[Path] | Registry = ()
    datasets: Sequence[Mapping[str, Any]] = ()
    trust: bool = False
    say: Callable[[str], None] = lambda sentence: None
    display: Display = lambda cells, name, log: Screen()
    log: logs.Log | None = None
    spelling: Spelling = typed

    def __post_init__(self) -> None:
        for name in ("store", "data_dir"):
            if path := getattr(self, name):  # as it is now: a plugin may change the working directory
                object.__setattr__(self, name, Path(path).expanduser().absolute())

    @cached_property
    def registry(self) -> Registry:
        """The plugins that can be found."""
        return self.plugins if isinstance(self.plugins, Registry) else Registry(self.plugins)

    @cached_property
    def data(self) -> Path:
        """The folder of data sets; the default one is made where that is possible.

        Raises:
            UserError: it is no path.
        """
        if self.data_dir:
            return absolute(self.data_dir, self.spelling("data_dir"))
        if folder := profile.read().get("data"):
            return absolute(folder, f"data in {profile.file()}")
        folder = user_folder("cache") / "data"
        with contextlib.suppress(OSError):  # a data set that needs files says so; others need no folder
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def runs(self, name: str) -> Store:
        """Return the run store, where the grid has this name."""
        return Store(absolute(self.store, self.spelling("store")) if self.store else profile.stores() / name)

    @property
    def trials(self) -> Store:
        """The run store of the trials by which the grid is tuned: by default that of its name and `-trials`."""
        return Store(self.runs(f"{self.cells.name}-trials").folder.absolute())

    # ---------------------------------------------------------------- where cells stand

    def survey(self) -> status.Survey:
        """Find where the cells stand, those that were submitted to SLURM included as far as it answers.

        Raises:
            UserError: the grid is wrong, or what is wanted of it.
        """
        survey = self._on_disk()
        for sentence in launches.unread(survey.store):
            self.say(f"{sentence}; which cells it submitted to SLURM is not known")
        try:
            return submitted.overlaid(survey)
        except commands.Unreachable as error:
            self.say(f"{error}; cells that were submitted are shown as their files alone say")
            return survey

    def watch(self) -> None:
        """Wait until no cell runs, or waits in a job that starts by itself; say how all stand whenever that changes.

        Raises:
            Elsewhere: it is not the cluster that has the cells which answers.
        """
        before, changed = "", time.monotonic()
        while True:
            start, survey = time.monotonic(), None
            try:
                survey = submitted.overlaid(self._on_disk())
                now = status.summary(survey.counts())
            except commands.Elsewhere:
                raise
            except commands.Unreachable as error:  # it may be restarted: jobs outlive that
                now = f"{error}; waiting for it"
            if now != before:
                self.say(now)
                before, changed = now, start
            if survey and not survey.goes_on:
                return
            moment = time.monotonic()
            time.sleep(commands.pause(moment - start, moment - changed))

    def settle(self) -> status.Survey:
        """Write the records of cells whose jobs are gone without one; return how all stand then.

        Raises:
            StoreError: the store cannot be written.
        """
        survey = self.survey()
        if not self.trusts(survey.store):
            if lost := survey.counts()["lost"]:
                why = f"the run store was made by somebody else; {self.spelling('trust')} records them"
                self.say(f"{cells(lost)} whose jobs are gone without a record: not recorded, since {why}")
            return survey
        if number := submitted.settle(survey, circumstances.provenance("unknown")):
            self.say(f"{cells(number)} whose jobs are gone without a record: recorded as lost")
        return self.survey() if survey.counts()["lost"] else survey  # records may have come meanwhile, too

    def trusts(self, store: Store) -> bool:
        """Tell whether this user has made a run store, or trusts it."""
        return self.trust or not store.foreign

    def admit(self, store: Store) -> None:
        """Refuse a store that this user has neither made nor trusted.

        It may hold checkpoints and states that go on, launches with lines of shell or with jobs that are somebody's,
        and links to elsewhere.

        Raises:
            UserError: it is one.
        """
        if not self.trusts(store):
            why = f"the run store {store.folder} was made by somebody else, elsewhere or by an earlier bench"
            raise UserError(f"{why}; to go on in it nevertheless, add {self.spelling('trust')}")

    def remember(self, store: Store) -> None:
        """Keep that the store is this user's, and that the plugins' FILEs were named."""
        plugins = {plugin for cell in self.cells.cells for plugin in cell.plugins}
        try:
            remember("store", store.folder)
            for plugin in plugins:
                if plugin.origin != "built-in" and not plugin.target:
                    remember("plugin", plugin.file)
        except OSError as error:
            why = f"it cannot be kept that the run store is yours ({error.strerror}: {error.filename})"
            self.say(f"{why}; the next run of it needs {self.spelling('trust')}")

    def _on_disk(self) -> status.Survey:
        return status.survey(self.cells, self.runs(self.cells.name), self.registry)

    @cached_property
    def cells(self) -> Grid:
        """The grid as it is asked for.

        Raises:
            UserError: it is wrong, or what is wanted of it.
        """
        grid = load(
            self.grid,
            self.registry,
            settings=self.settings,
            strategies=self.strategies,
            seeds=self.seeds,
            datasets=self.datasets,
            spelling=self.spelling,
        )
        if why := metrics.unjudged(grid, self.registry):
            self.say(why)
        return grid


@dataclass(frozen=True)
class Plan:
    """Cells that are to be carried out.

    Attributes:
        request: what was asked for.
        survey: where all its cells stand.
        todo: the cells.
        trains: they are what the store is to hold; else they are scored again, and what was planned stays.
    """

    request: Request
    survey: status.Survey
    todo: Sequence[Job]
    trains: bool = True

    def __str__(self) -> str:
        """Return `2 cells of 9`."""
        return f"{cells(len(self.todo))} of {len(self.survey.standings)}"

    def unchecked(self) -> list[str]:
        """Return what cannot be said before a run, a sentence each; a dry run says that.

        Raises:
            UserError: a run would refuse these cells.
        """
        data = self.survey.store.data
        names = status.unchecked(self.todo, self.request.registry, self.request.data, data)
        then = "which does not say what it holds; the run checks that before it trains anything"
        return [f"not checked: whether networks, budget and scoring suit data set {name!r}, {then}" for name in names]

    def carry_out(
        self,
        device: str | None = None,
        jobs: int | None = None,
        timeout: float | None = None,
        memory: float | None = None,
        retries: int = 2,
        per_gpu: sharing.Share = 1,
    ) -> Tally:
        """Carry them out in processes of this machine.

        Args:
            device: cpu (where it is None), cuda, cuda:N or mps.
            jobs: processes; one a core or GPU where it is None.
            timeout: minutes that an attempt may take.
            memory: gigabytes that a process may hold.
            retries: how often a cell that was lost goes on.
            per_gpu: cells that share a GPU; `auto` measures how many bring most.

        Raises:
            UserError: the device is not there, there are more processes than it takes, `auto` has no GPU to measure
                on, or data cannot be had.
            StoreError: the store cannot be written.
            SweepError: the sweep cannot go on.
        """
        survey, device = self.survey, device or "cpu"
        if not self.todo:
            if self.request.trusts(survey.store):
                self._keep_grid()
            return Tally()
        self.request.admit(self.survey.store)
        spelling = self.request.spelling
        limits = limited(timeout, memory, retries, spelling)
        if per_gpu == "auto" and not device.startswith("cuda"):
            why = f"{spelling('per_gpu', 'auto')} measures on a GPU, and the device is {device}"
            raise UserError(f"{why}; add {spelling('device', 'cuda')}")
        there = devices(device, spelling)
        most = cores() if device == "cpu" else len(there) * (1 if per_gpu == "auto" else per_gpu)
        if jobs and jobs > most and device != "cpu" and per_gpu != "auto":
            more = f"{spelling('jobs', jobs)} are more than {per_gpu} on each of {', '.join(there)}"
            raise UserError(f"{more}; raise {spelling('per_gpu')}")
        todo = self._ready()
        setup = self._setup(survey.store.folder, device)
        name, log = survey.name, survey.store.log

        def called(job: Job) -> str:
            return name(job.cell)

        display = self.request.display(len(todo), called, lambda job: str(log(job.cell.id, job.attempt)))
        with display as shown, logs.logged(shown, self.request.log, survey.store, called) as screen:
            if not device.startswith("cuda"):
                return self._run(pool.Pool(setup, min(jobs or most, len(todo)), screen, limits, devices=there), todo)
            try:
                with sharing.slots(setup, todo, there, per_gpu, screen) as number:
                    return self._run(pool.Pool(setup, min(jobs or number, number), screen, limits, devices=there), todo)
            except sharing.Interrupted as interrupted:
                return interrupted.tally

    def measured(self, job: Job, device: str) -> measuring.Measured:
        """Return what a cell takes, by a few steps of it."""
        request, store = self.request, self.survey.store
        try:
            first = devices(device, request.spelling)[0]
            with measuring.offline():
                (ready,) = status.verified([job], request.registry, request.data, store.data)
        except DataError:
            called = self.survey.names[job.cell.dataset]
            why = f"its data set is not at hand, and a dry run downloads nothing; `bench data {called}` says more"
            return measuring.Measured(None, reason=why)
        except UserError as error:
            return measuring.Measured(None, reason=str(error))
        return measuring.measured(self._setup(store.folder, first), ready)

    def holds(self, cell: Cell) -> Items | None:
        """Return what a cell's data set says that it holds; None where it does not say."""
        return status.declared(self.request.registry, cell)

    def processes(self, device: str, jobs: int | None) -> int:
        """Return how many cells run at a time on a kind of device where nothing else is said than `jobs`."""
        most = cores() if device == "cpu" else len(devices(device, self.request.spelling))
        return max(1, min(jobs or most, len(self.todo)))

    def _run(self, workers: pool.Pool, todo: Sequence[Job]) -> Tally:
        workers.screen.note(f"{self} to run, {workers.jobs} at a time")
        return workers.run(todo)

    def submission(self, asked: profile.Slurm, options: Mapping[str, Any]) -> Submission:
        """Return them as they would be submitted to SLURM; nothing is written.

        Args:
            asked: what a job asks for.
            options: `device` and `timeout` (minutes that an attempt may take), or None; a retry takes them over.
        """
        if asked.per_gpu == "auto" and not asked.gpus:
            spelling = self.request.spelling
            why = f"{spelling('per_gpu', 'auto')} measures on a GPU, and the job asks for none"
            raise UserError(f"{why}; add {spelling('gpus', 1)}")
        # jobs run elsewhere: what they are told is absolute
        folder, timeout = self.survey.store.folder.absolute(), options["timeout"]
        limits = limited(timeout, asked.memory, asked.retries, self.request.spelling)
        setup = self._setup(folder, options["device"] or ("cuda" if asked.gpus else "cpu"))
        return Submission(self.survey, self.todo, setup, asked, limits.timeout, dict(options))

    def submit(self, asked: profile.Slurm, options: Mapping[str, Any]) -> launches.Launch | None:
        """Submit them to SLURM; return what it took, or None where there is no cell. Arguments as of `submission`.

        Raises:
            UserError: SLURM refuses, data cannot be had, or another command submits now.
            StoreError: the store cannot be written.
            Unreachable: SLURM does not answer.
        """
        self.request.admit(self.survey.store)
        if unread := launches.unread(self.survey.store):
            why = f"{unread[0]}, and what it submitted may still wait or run"
            raise UserError(f"{why}; move its folder away once `squeue` shows that nothing of it does")
        if not self.todo:
            return None
        with launches.claimed(self.survey.store):
            # whatever was shown before: a cell is submitted only once SLURM has said that no earlier job has it
            now = submitted.overlaid(self.request._on_disk())
            live = {standing.cell.id for standing in now.standings if standing.state in status.LIVE}
            left = replace(self, todo=[job for job in self.todo if job.cell.id not in live])
            if not left.todo:
                return None
            return replace(left, todo=left._ready()).submission(asked, options).submit()

    def _ready(self) -> list[Job]:
        """Return the cells with what their data sets are, once all is there that they need."""
        self.survey.store.storage.check_writable()
        ready = status.verified(self.todo, self.request.registry, self.request.data, self.survey.store.data)
        if not self.trains:
            status.demand_same_data(ready, self.survey.store)
        self._keep_grid()
        return ready

    def _keep_grid(self) -> None:
        """Write what is planned into the store, and whether verdicts were out on fewer seeds."""
        store = self.survey.store
        if self.trains or store.grid() is None:
            if seeds := self.survey.extends():
                store.extend(seeds)
            store.write_grid(self.survey.grid.source)
        self.request.remember(store)

    def _setup(self, folder: Path, device: str) -> worker.Setup:
        facts = circumstances.provenance(device)
        if why := circumstances.unversioned():
            self.request.say(why)
        folder = folder.absolute()  # a plugin may leave the working directory
        return worker.Setup(self.survey.grid.name, folder, self.request.registry, self.request.data, device, facts)


def cells(number: int) -> str:
    """Return `1 cell` or `5 cells`."""
    return "1 cell" if number == 1 else f"{number} cells"
