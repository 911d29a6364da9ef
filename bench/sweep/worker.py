"""The worker: it carries out cells in its process and writes their records, so that no arrays pass through a pipe."""

from __future__ import annotations

import functools
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench import demands
from bench.plugins import Plugin, Registry, build, plain_name
from bench.plugins.foreign import as_before
from bench.protocol import Dataset, Diverged, Networks, Run, Splits, State, Stopped, Strategy, Task, UserError
from bench.sweep import states
from bench.sweep.attempts import Ending, Job
from bench.sweep.circumstances import now
from bench.sweep.fingerprints import fingerprints, of_plugins
from bench.sweep.processes import peak, reset_peak
from bench.sweep.record import Point, one_line
from bench.sweep.scores import check_state, recorded
from bench.sweep.states import numbers, points
from bench.sweep.storage import StoreError
from bench.sweep.store import Store
from bench.sweep.wire import Figures, Halt, Note

if TYPE_CHECKING:
    import numpy as np

    from bench.grid import Cell

_ARRAY = re.compile(r"\w[\w.+-]{0,99}")
_TAKEN = ("file", "allow_pickle")  # arguments of NumPy's own
INTERVAL = 0.25  # seconds between two reports of figures
STEP_SECONDS = "seconds a step"  # a figure of cells whose steps are measured
WARM_UP = 5  # steps before those that are measured: the first are slow


@dataclass(frozen=True)
class Setup:
    """What all cells of a sweep share.

    Attributes:
        grid: the grid's name.
        store: the run store's folder.
        registry: where plugins are found.
        data: the folder of data sets.
        device: a torch device.
        circumstances: of every record (`circumstances.provenance`).
        submitted: these cells were submitted some time ago; where the code has changed since, their record says so.
        alone: there is one worker at a time; it loads libraries itself, since a server would only take memory.
        steps: of training that a cell takes before it stops, to be measured; None: all.
    """

    grid: str
    store: Path
    registry: Registry
    data: Path
    device: str
    circumstances: Mapping[str, Any] = field(default_factory=dict)
    submitted: bool = False
    alone: bool = False
    steps: int | None = None

    def on(self, device: str) -> Setup:
        """Return the setup of a worker that has a device of its own."""
        return replace(self, device=device, circumstances={**self.circumstances, "device": device})


class _CodeChanged(Exception):
    """The files differ from what the sweep was started with."""


# ---------------------------------------------------------------- one cell


class Worker:
    """Carries out cells in this process, keeping the data set of the last one."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.store = Store(setup.store)
        self._checked: set[tuple[Plugin, ...]] = set()
        self._data: tuple[Dataset, Splits] | None = None
        self._suited: tuple[Any, ...] = ()  # what was last found to go together

    def carry_out(
        self,
        job: Job,
        tell: Callable[[Figures | Note], None] = lambda _: None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> Ending | Halt:
        """Carry out `job` and write its record."""
        reset_peak()
        if self.setup.steps is not None:
            stop_requested = _Measure(self.setup.steps, stop_requested)
        attempt = _Attempt(self, job, tell, stop_requested)
        try:
            try:
                return self._carried_out(attempt)
            except (StoreError, _CodeChanged):
                raise
            except BaseException as error:  # what came of it cannot be recorded, and that can
                _recover()
                print_error(error)
                return self._finish(attempt.bare(), Ending("error", explained(error)))
        except StoreError as error:
            return Halt(str(error), error.errno)
        except _CodeChanged as change:
            return Halt(str(change))

    def _carried_out(self, attempt: _Attempt) -> Ending:
        try:
            ending = attempt.run()
        except _CodeChanged:
            if not self.setup.submitted:
                raise
            ending = Ending("error", "code changed since submission")
        return ending if ending.status == "stopped" else self._finish(attempt, ending)

    def _finish(self, attempt: _Attempt, ending: Ending) -> Ending:
        """Write the record of an attempt; return how it ended then."""
        job = attempt.job
        most = max(peak(), ending.resources.get("peak_host_bytes", 0.0))  # that of training may be an earlier one's
        resources = {**ending.resources, "peak_host_bytes": float(most)}
        record = job.record(
            self.setup.grid,
            {**self.setup.circumstances, "device_kind": _device_kind(self.setup.device)},
            ending.status,
            ending.reason,
            started=attempt.started,
            resources=resources,
            **attempt.fields,
        )
        first = self.store.finish(job, record, attempt.curves, attempt.arrays)
        return replace(ending, resources=resources) if first else Ending("elsewhere")

    def plugins(self, job: Job) -> tuple[Strategy, Dataset, Networks]:
        """Return the cell's strategy, data set and networks, from the code that the sweep was started with."""
        registry, cell = self.setup.registry, job.cell
        strategy, dataset = registry.find("strategy", cell.strategy), registry.find("dataset", cell.dataset)
        where = f"cell {cell.id}"
        built = (
            cast(Strategy, build(strategy, cell.hyper, where, registry.component)),
            cast(Dataset, build(dataset, cell.options, where, registry.component)),
            registry.networks(cell.networks, where),
        )
        # what was executed just now, of a file that may be another at every cell
        same = of_plugins(cell.plugins, executed=True) == job.fingerprints.plugin
        if same and cell.plugins not in self._checked:  # bench itself is imported once
            same = fingerprints(cell.plugins) == job.fingerprints
        if not same:
            parts = f"strategy {strategy.name!r}, data set {dataset.name!r} or of what they use"
            raise _CodeChanged(f"the code of {parts} changed while the sweep was running; run the same command again")
        self._checked.add(cell.plugins)
        return built

    def check(self, cell: Cell, dataset: Dataset, splits: Splits, networks: Networks) -> None:
        """Check that data, networks, budget and scoring go together: the data may have changed since the sweep did.

        Raises:
            UserError: they do not.
        """
        asked = (splits.sha256, dataset, networks, cell.budget, cell.evaluation)
        if asked != self._suited:  # once for all seeds
            demands.check(plain_name(cell.dataset), dataset, splits.items, networks, cell.budget, cell.evaluation)
            self._suited = asked

    def splits(self, dataset: Dataset) -> Splits:
        """Return the data set's splits: the cell's own copies, for a strategy may write into them."""
        if self._data is None or self._data[0] != dataset:
            self._data = None  # before loading: two data sets may not fit
            kept = getattr(dataset, "kept_in_store", False)
            self._data = dataset, demands.loaded(dataset, self.store.data if kept else self.setup.data)
        splits = self._data[1]
        return replace(splits, train=splits.train.copy(), validation=splits.validation.copy(), test=splits.test.copy())


class _Measure:
    """Asks training, which asks once a step, to stop after some steps, and takes their time.

    Args:
        steps: so many, after `WARM_UP` others.
        stop: whether the sweep asks.
    """

    def __init__(self, steps: int, stop: Callable[[], bool]) -> None:
        self._steps, self._stop = steps, stop
        self._taken, self._from = 0, 0.0
        self.over, self.seconds = False, 0.0
        self.training = True  # scoring asks, too

    def __call__(self) -> bool:
        """A step was taken; tell whether to stop."""
        self._taken += self.training and not self.over
        if self._taken == WARM_UP:
            self._from = time.monotonic()
        if self._taken == WARM_UP + self._steps and not self.over:
            self.over, self.seconds = True, (time.monotonic() - self._from) / self._steps
        return self.over or self._stop()


class _Attempt:
    """One attempt at a cell: `fields` of its record, as far as it came, and what lies beside it."""

    def __init__(
        self, worker: Worker, job: Job, tell: Callable[[Figures | Note], None], stop_requested: Callable[[], bool]
    ) -> None:
        self.worker, self.job, self.tell, self.stop_requested = worker, job, tell, stop_requested
        self.started = now()
        self.fields: dict[str, Any] = {}
        self.curves: list[Point] = []
        self.arrays: dict[str, np.ndarray] = {}
        self._seconds: dict[str, float] = {}  # of the strategy's two stages, by our own clock
        self._reported: dict[str, float] = {}  # resources by the strategy's account
        self._told = 0.0
        self._epoch: Any = None

    @functools.cached_property
    def folder(self) -> Path:
        """Where checkpoints and the state lie."""
        return self.worker.store.cell(self.job.cell.id) / self.job.workspace

    def bare(self) -> _Attempt:
        """Return the attempt without anything that its strategy gave."""
        bare = _Attempt(self.worker, self.job, self.tell, self.stop_requested)
        bare.started = self.started
        return bare

    @as_before()
    def run(self) -> Ending:
        """Carry the cell out; whatever goes wrong is an ending."""
        start = time.monotonic()
        try:
            status, reason = self._carry_out()
        except (_CodeChanged, StoreError):
            raise
        except BaseException as error:  # SystemExit too: a plugin ends its cell, not the worker
            _recover()
            status, reason = self._fail(error)
        seconds = time.monotonic() - start
        # overhead: what the strategy counts as such within its stages, and all that lies outside of them
        overhead = self._reported.get("overhead_seconds", 0.0) + seconds - sum(self._seconds.values())
        return Ending(status, reason, seconds, self._seconds | self._reported | {"overhead_seconds": overhead})

    def _carry_out(self) -> tuple[str, str]:
        setup, job = self.worker.setup, self.job
        strategy, dataset, networks = self.worker.plugins(job)
        if setup.device == "cpu" and "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        data = self.fields["data"] = {**job.data, "version": dataset.version}
        splits = self.worker.splits(dataset)
        data["sha256"] = splits.sha256
        cell = job.cell
        self.worker.check(cell, dataset, splits, networks)
        task = Task(dataset, splits, networks, cell.budget, cell.evaluation)
        if reason := strategy.skip(task):
            return "skipped", one_line(reason)
        with self.worker.store.storage.writing():
            states.claim(self.folder, self.worker.store.trained_on(job), splits.sha256, self._note)
        run = Run(cell.seed, setup.device, self.folder, self._progress, self.stop_requested, self._note)
        state, digest = states.load(self.folder, setup.device, self._note) or self._train(strategy, task, run)
        if isinstance(self.stop_requested, _Measure):
            self.stop_requested.training = False
        self.fields["digests"] = {"state": digest}
        self.fields["last_step"] = state["steps"]
        self.fields["stability"] = state["stability"]
        self.fields["execution"] = state.get("execution")
        self._reported = state["resources"]
        self.curves = points(state["curves"])
        if self.stop_requested():
            raise Stopped("between training and scoring")
        with self._timed("evaluate_seconds"):
            scores = strategy.evaluate(state, task, run)
        rows = recorded(scores)
        if scores.normalisation is not None:
            self.fields["normalised"] = asdict(scores.normalisation)
        self._reported |= numbers(scores.resources)
        self.arrays = _arrays(scores.arrays)
        self.fields["scores"] = rows  # last: a cell that failed has none
        return "ok", ""

    def _train(self, strategy: Strategy, task: Task, run: Run) -> tuple[State, str]:
        """Train, and return the state as it lies on disk from then on, with its SHA-256."""
        with self._timed("fit_seconds"):
            state = strategy.fit(task, run)
        check_state(state)
        with self.worker.store.storage.writing():
            return states.save(run.folder, state, run.device, {**self._seconds, "peak_host_bytes": float(peak())})

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = time.monotonic() - start

    def _fail(self, error: BaseException) -> tuple[str, str]:
        """Return status and reason of an exception; its traceback goes to the log."""
        if isinstance(error, Stopped) and self.stop_requested():
            return "stopped", one_line(str(error))
        if isinstance(error, Diverged):
            self.fields["last_step"] = error.step
            self.fields["stability"] = numbers(error.stability)
            self.curves = points(error.curves)
            return "diverged", one_line(str(error))
        print_error(error)
        self.worker.store.storage.blame(error, self.folder)
        return "out-of-memory" if _memory(error) else "error", explained(error)

    def _progress(self, *, stage: str, done: int, total: int, **figures: Any) -> None:
        if stage == "evaluate" and self.stop_requested():
            raise Stopped("while scoring")  # nothing to save: the fitted state lies on disk
        if not 0 <= done < 1 << 63:
            raise ValueError(f"progress was told of step {done:g}")
        if stage == "fit":
            self.fields["last_step"] = int(done)
        moment = time.monotonic()
        epoch = figures.get("epoch")
        if isinstance(self.stop_requested, _Measure) and self.stop_requested.over:
            figures = {**figures, STEP_SECONDS: self.stop_requested.seconds}
            self._told = -INTERVAL
        if moment - self._told >= INTERVAL or epoch != self._epoch:  # no epoch is left out, however short
            self._told, self._epoch = moment, epoch
            shown = {name: value for name, value in figures.items() if not isinstance(value, str)}
            self.tell(Figures(str(stage), int(done), int(total), numbers(shown)))

    def _note(self, sentence: str) -> None:
        print(sentence)  # into the cell's log
        self.tell(Note(one_line(str(sentence))))


def _arrays(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays as they can be stored, without pickles."""
    import numpy as np

    plain = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if not isinstance(name, str) or not _ARRAY.fullmatch(name) or name in _TAKEN:
            raise ValueError(f"{name!r} is no name of an array; letters, digits, `_`, `-`, `.` and `+` make one")
        if array.dtype.hasobject:
            raise TypeError(f"the array {name!r} that `evaluate` gave holds Python objects, not numbers or text")
    return plain


def explained(error: BaseException) -> str:
    """Return an exception in one line, whatever its own class makes of that."""
    try:
        text = str(error)
    except BaseException as other:
        text = f"its message cannot be had ({type(other).__name__})"
    return one_line(text if isinstance(error, UserError) else f"{type(error).__name__}: {text}")


def print_error(error: BaseException) -> None:
    """Put an exception's traceback into the log, if that is still open."""
    with suppress(BaseException):
        traceback.print_exception(error)


def _recover() -> None:
    """Undo what keeps Python from going on after an error."""
    sys.settrace(None)
    sys.setprofile(None)
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000))


def _memory(error: BaseException) -> bool:
    """Return whether memory ran out.

    torch need not be imported here, so that its own errors are told by their names; and its allocator on a CPU has no
    error of its own, nothing but a sentence.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator: can't allocate memory" in explained(error)
    )


def _device_kind(device: str) -> str | None:
    """Return `cpu`, or what a GPU calls itself; None where torch was not needed, or knows no more of it."""
    torch = sys.modules.get("torch")
    if device == "cpu" or torch is None:
        return device if device == "cpu" else None
    named = torch.device(device).type == "cuda" and torch.cuda.is_available()
    return str(torch.cuda.get_device_name(device)) if named else device
