"""Where curves, scores and settings go besides the store: the hook `Log`, and TensorBoard's event files behind it."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bench.places import absolute
from bench.protocol import UserError
from bench.sweep.attempts import Ending, Job
from bench.sweep.record import CorruptRecord, Point, one_line
from bench.sweep.screen import Screen
from bench.sweep.store import Store
from bench.sweep.wire import Figures

_CURVES = TypeAdapter(list[Point])
NEEDED = "TensorBoard's event files need a library that is not installed; install it: pip install tensorboard"


class Log:
    """What a sweep tells of its cells, for a tracker of experiments: extend it and override what is wanted.

    A cell is called by data set, strategy, seed and id. All methods are called in the process of the sweep. One that
    raises ends the log, not the sweep.
    """

    def begin(self, cell: str, settings: Mapping[str, Any]) -> None:
        """A cell begins, or goes on after an interruption.

        Args:
            cell: which.
            settings: what it was asked for, by dotted key: `hyper.lr`, `train.epochs`, `seed`; numbers, truth values
                and text.
        """

    def live(self, cell: str, step: int, figures: Mapping[str, float]) -> None:
        """A cell tells how it fares in training, at most four times a second: means over the epoch so far."""

    def end(self, cell: str, status: str, scores: Mapping[str, float], curves: Sequence[Point]) -> None:
        """A cell ended.

        Args:
            cell: which.
            status: of its record; `stopped` where it is to go on another time.
            scores: by metric; none where it did not come to be scored.
            curves: `epoch`, `step`, `metric` and `value` of each point, all that training recorded.
        """

    def close(self) -> None:
        """The sweep is over."""


class TensorBoard(Log):
    """Event files for TensorBoard, a folder a cell: `live/...` while it trains, then `curves/...` and `scores/...`.

    Args:
        folder: takes the cells' folders.

    Raises:
        UserError: the library is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path | str) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.plugins.hparams import summary_v2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise UserError(NEEDED) from error
        self._events, self._summaries, self._settings, self._writer = (
            event_pb2,
            summary_pb2,
            summary_v2,
            EventFileWriter,
        )
        self._folder = absolute(folder, "the folder of event files")
        self._writers: dict[str, Any] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = self._folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"the log cannot be written into {self._folder} ({error.strerror})") from error

    def begin(self, cell: str, settings: Mapping[str, Any]) -> None:
        """Open the cell's event file and write its settings."""
        name = re.sub(r"[^\w.,=+-]+", "-", cell)
        if cell not in self._writers:
            self._writers[cell] = self._writer(str(self._folder / f"{name[:160]}{name[-13:] if name[160:] else ''}"))
        self._add(cell, self._settings.hparams_pb(dict(settings), trial_id=cell))

    def live(self, cell: str, step: int, figures: Mapping[str, float]) -> None:
        """Write the figures."""
        self._scalars(cell, step, {f"live/{name}": value for name, value in figures.items()})
        self._writers[cell].flush()

    def end(self, cell: str, status: str, scores: Mapping[str, float], curves: Sequence[Point]) -> None:
        """Write curves and scores, and close the cell's file."""
        for point in curves:
            if point.value is not None:
                self._scalars(cell, point.step, {f"curves/{point.metric}": point.value})
        last = max((point.step for point in curves), default=0)
        self._scalars(cell, last, {f"scores/{metric}": value for metric, value in scores.items()})
        self._writers.pop(cell).close()

    def close(self) -> None:
        """Close what is open: of cells that never ended."""
        while self._writers:
            self._writers.popitem()[1].close()

    def _scalars(self, cell: str, step: int, values: Mapping[str, float]) -> None:
        parts = [self._summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(cell, self._summaries.Summary(value=parts), step)

    def _add(self, cell: str, summary: Any, step: int = 0) -> None:
        self._writers[cell].add_event(self._events.Event(wall_time=time.time(), step=step, summary=summary))


class _Logged(Screen):
    """Passes on to a screen what it is told, and tells a log as well."""

    def __init__(self, screen: Screen, log: Log, store: Store, name: Callable[[Job], str]) -> None:
        self._screen, self._log, self._store, self._name = screen, log, store, name
        self._cells: dict[int, str] = {}  # by slot
        self._broken = False

    def begin(self, slot: int, job: Job) -> None:
        """A cell begins in a slot."""
        self._screen.begin(slot, job)
        self._cells[slot] = f"{self._name(job)} {job.cell.id}"
        self._tell(self._log.begin, self._cells[slot], settings_of(job))

    def advance(self, slot: int, figures: Figures) -> None:
        """A cell tells how far it is."""
        self._screen.advance(slot, figures)
        if figures.stage == "fit":
            self._tell(self._log.live, self._cells[slot], figures.done, dict(figures.figures))

    def end(self, slot: int, job: Job, ending: Ending) -> None:
        """A cell ended."""
        self._screen.end(slot, job, ending)
        if cell := self._cells.pop(slot, ""):
            self._tell(self._log.end, cell, ending.status, *self._left(job, ending))

    def _left(self, job: Job, ending: Ending) -> tuple[dict[str, float], list[Point]]:
        """Return the scores and curves that a cell left."""
        with contextlib.suppress(CorruptRecord, ValueError):
            record = self._store.record(job.cell.id, job.key)
            if record and record.attempt == job.attempt and ending.status == record.status:
                content = self._store.beside(record, job.key, "curves")
                curves = _CURVES.validate_json(content) if content else []
                return {score.metric: score.value for score in record.scores if score.value is not None}, curves
        return {}, []

    def lose(self, slot: int, job: Job, reason: str) -> None:
        """A cell's process is gone; the cell will go on."""
        self._screen.lose(slot, job, reason)
        self._cells.pop(slot, None)

    def note(self, sentence: str) -> None:
        """Something happened that the user should know."""
        self._screen.note(sentence)

    def tick(self) -> None:
        """Time passed."""
        self._screen.tick()

    def close(self) -> None:
        """The sweep is over."""
        self._tell(self._log.close)

    def _tell(self, method: Callable[..., None], *arguments: Any) -> None:
        if self._broken:
            return
        try:
            method(*arguments)
        except Exception as error:  # a tracker that cannot be reached costs no cell
            self._broken = True
            self._screen.note(f"the log failed, and takes no more: {one_line(f'{type(error).__name__}: {error}')}")


@contextlib.contextmanager
def logged(screen: Screen, log: Log | None, store: Store, name: Callable[[Job], str]) -> Iterator[Screen]:
    """Give a screen that tells a log as well, where there is one.

    Args:
        screen: what shows the sweep.
        log: the log.
        store: where cells leave what they come to.
        name: what a line calls a job.
    """
    if log is None:
        yield screen
        return
    both = _Logged(screen, log, store, name)
    try:
        yield both
    finally:
        both.close()


def settings_of(job: Job) -> dict[str, Any]:
    """Return what a cell was asked for, by dotted key, as a tracker takes it."""
    request = job.cell.request
    request["train"] = request.pop("budget")
    return dict(_flat({**request, "evaluate": job.cell.evaluation.model_dump(mode="json")}))


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif value is not None:
            yield f"{before}{name}", value if isinstance(value, bool | int | float | str) else json.dumps(value)
