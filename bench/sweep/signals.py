"""The signals that ask a sweep to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping

from bench.sweep.screen import Tally


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let SIGTERM and SIGHUP leave the block by an exception, as SIGINT does, where they would end the process."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    ours = threading.current_thread() is threading.main_thread()
    ending = [
        number for number in (signal.SIGTERM, signal.SIGHUP) if ours and signal.getsignal(number) == signal.SIG_DFL
    ]
    for number in ending:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


class Signals:
    """Counts signals that ask to stop.

    Args:
        tally: keeps the first.
        stops: those besides SIGINT, SIGTERM and SIGHUP, and how an attempt ends then (see `attempts.Attempt.how`).

    Attributes:
        number: that came.
        how: attempts end that are stopped.
        interrupting: the second interrupts; libraries may take long to load, and no cell is carried out meanwhile.
    """

    def __init__(self, tally: Tally, stops: Mapping[int, Callable[[], str]]) -> None:
        self._tally, self._stops = tally, stops
        self.number = 0
        self.how = "stopped"
        self.interrupting = False

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count them for the block, in place of what they do otherwise."""
        ours = threading.current_thread() is threading.main_thread()
        stops = {signal.SIGINT, signal.SIGTERM, *self._stops} if ours else set()
        if ours and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as it is under nohup
            stops.add(signal.SIGHUP)
        before = {number: signal.signal(number, self._count) for number in stops}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _count(self, number: int, _: object) -> None:
        if not self.number:
            self.how = self._stops[number]() if number in self._stops else "stopped"
            self._tally.signal = number
        self.number += 1
        if self.interrupting and self.number > 1:
            raise KeyboardInterrupt
