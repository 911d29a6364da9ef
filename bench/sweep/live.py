"""How far a running cell is: a small file beside its attempt, for whoever looks at the store meanwhile.

`live-<n>.json` is written by the process that watches over attempt n, here or in a SLURM job, now and then, and goes
when the attempt ends.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from bench import files
from bench.sweep.circumstances import now
from bench.sweep.record import Number
from bench.sweep.wire import Figures

INTERVAL = 2.0  # seconds between two writes


@dataclass(frozen=True)
class Live:
    """How far a running cell is.

    Attributes:
        stage: `fit` or `evaluate`.
        done: of this stage.
        total: of this stage.
        figures: the last, by name; `epoch` among them in training.
        left: seconds that this stage still takes at its pace; None where there is nothing to go by yet.
        told: when, ISO 8601.
    """

    stage: str
    done: Annotated[int, Field(ge=0)]
    total: int
    figures: Mapping[str, Number]
    left: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None
    told: str

    def plain(self) -> dict[str, Any]:
        """Return it for a program to read; a figure that is not finite is None."""
        figures = {name: value if abs(value) < float("inf") else None for name, value in self.figures.items()}
        epoch = figures.pop("epoch", None)
        left = None if self.left is None else round(self.left, 1)
        return {
            **{name: getattr(self, name) for name in ("stage", "done", "total")},
            "epoch": None if epoch is None else int(epoch),
            "left_seconds": left,
            "figures": figures,
            "told": self.told,
        }


_MODEL = TypeAdapter(Live)


class Teller:
    """Writes how far an attempt is, as often as is useful.

    Args:
        folder: of the cell.
        number: of the attempt.
        clock: seconds.
    """

    def __init__(self, folder: Path, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = _path(folder, number)
        self._clock = clock
        self._stage = ""
        self._first, self._since, self._written = 0, 0.0, -INTERVAL

    def hear(self, figures: Figures) -> None:
        """Take how far the cell is. A store that cannot be written loses this alone."""
        moment = self._clock()
        if figures.stage != self._stage or figures.done < self._first:
            self._stage, self._first, self._since = figures.stage, figures.done, moment
        elif moment - self._written < INTERVAL and figures.done < figures.total:
            return
        self._written = moment
        steps, left = figures.done - self._first, None
        if steps > 0:
            left = (moment - self._since) * max(figures.total - figures.done, 0) / steps
        live = Live(figures.stage, figures.done, figures.total, dict(figures.figures), left, now())
        with contextlib.suppress(OSError), files.replacing(self._path, durable=False) as file:
            file.write(files.json_bytes(asdict(live)))

    def end(self) -> None:
        """The attempt is over."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read(folder: Path, number: int) -> Live | None:
    """Return how far attempt `number` of a cell is; None where it has not said, or what lies there is not that."""
    try:
        return _MODEL.validate_json(files.read(_path(folder, number)), strict=True)
    except (OSError, ValueError):
        return None


def _path(folder: Path, number: int) -> Path:
    return folder / f"live-{number}.json"
