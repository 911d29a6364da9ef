"""A strategy whose import ends the process, in a worker."""

import multiprocessing
import os
from typing import ClassVar

from bench.protocol import Run, Scores, Settings, State, Task

if multiprocessing.parent_process():
    os._exit(6)


class Leaver(Settings):
    """Is never there."""

    name: ClassVar[str] = ""

    def skip(self, task: Task) -> str | None:
        return None

    def fit(self, task: Task, run: Run) -> State:
        raise NotImplementedError

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        raise NotImplementedError
