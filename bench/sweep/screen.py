"""What is told about a sweep: to a screen while it runs, and in a tally once it is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from bench.grid import Cell
from bench.sweep.attempts import Ending, Job
from bench.sweep.wire import Figures


class Screen:
    """What is told about a sweep while it runs; this one shows nothing.

    A slot carries out one cell at a time: `begin`, then `advance` as often as the cell tells how far it is, then `end`
    or `lose`. A cell that was finished elsewhere before its turn ends without having begun.
    """

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(self, *_: object) -> None:
        """The sweep is over."""

    def begin(self, slot: int, job: Job) -> None:
        """A cell begins in a slot."""

    def advance(self, slot: int, figures: Figures) -> None:
        """A cell tells how far it is."""

    def end(self, slot: int, job: Job, ending: Ending) -> None:
        """A cell ended."""

    def lose(self, slot: int, job: Job, reason: str) -> None:
        """A cell's process is gone; the cell will go on."""

    def note(self, sentence: str) -> None:
        """Something happened that the user should know."""

    def tick(self) -> None:
        """Time passed."""


@dataclass
class Tally:
    """How a sweep ended.

    Attributes:
        endings: of every cell, in the order in which they ended.
        signal: that asked the sweep to stop, or None.
    """

    endings: list[tuple[Cell, Ending]] = field(default_factory=list)
    signal: int | None = None
