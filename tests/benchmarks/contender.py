"""One contender of a benchmark, in a process of its own: `python contender.py FILE NAME`.

FILE holds a function NAME that sets up and returns one repetition. For every line with a count on the standard input,
that many repetitions are carried out, and a line with their seconds of processor time is the answer. What trains by
itself calls `turn` at every step instead of returning.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable

WARM_UP = 30  # turns before the first that counts: libraries allocate, caches fill


class Turns:
    """Counts turns, and answers whoever asks what so many of them cost.

    Args:
        ask: returns how many turns to take next, None where it is over.
        answer: takes their seconds.
    """

    def __init__(self, ask: Callable[[], int | None], answer: Callable[[float], None]) -> None:
        self.ask, self.answer = ask, answer
        self.left, self.start = WARM_UP, -1.0

    def __call__(self) -> bool:
        """Count a turn; return whether it is over."""
        self.left -= 1
        if self.left > 0:
            return False
        if self.start >= 0:
            self.answer(time.process_time() - self.start)
        count = self.ask()
        self.left, self.start = count or 0, time.process_time()
        return count is None


def _ask() -> int | None:
    line = sys.stdin.readline()
    return int(line) if line.strip() else None


ANSWERS = os.fdopen(os.dup(1), "w")


def _answer(seconds: float) -> None:
    print(seconds, file=ANSWERS, flush=True)


turn = Turns(_ask, _answer)


def as_worker() -> None:
    """Keep freed memory, as worker processes of this commit do."""
    with contextlib.suppress(ImportError):
        from bench.sweep import processes

        getattr(processes, "keep_memory", int)()


def main() -> None:
    """Be the contender."""
    import torch

    os.dup2(2, 1)  # what else is printed is no answer
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    path, name = sys.argv[1:]
    sys.modules["contender"] = sys.modules["__main__"]
    spec = importlib.util.spec_from_file_location("contenders", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    repeat = getattr(module, name)()
    while repeat is not None:
        repeat()
        if turn():
            return


if __name__ == "__main__":
    main()
