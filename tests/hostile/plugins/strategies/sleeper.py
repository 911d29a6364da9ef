"""A strategy whose import never ends, in a worker."""

import multiprocessing
import time
from typing import Any, ClassVar

from bench.protocol import Run, Scores, Settings, State, Task

if multiprocessing.parent_process():
    time.sleep(1000)


class Sleeper(Settings):
    """Is never there."""

    name: ClassVar[str] = ""

    def skip(self, task: Task) -> str | None:
        return None

    def fit(self, task: Task, run: Run) -> State:
        raise NotImplementedError

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        raise NotImplementedError

    def unused(self) -> Any:
        """Nothing."""
