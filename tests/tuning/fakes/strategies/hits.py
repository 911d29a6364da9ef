"""A model that is the better the more it hits: a share, of which more is better."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from types import ModuleType
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bench.protocol import Metric, Run, Score, Scores, Search, Settings, State, Task


class Pickles(ModuleType):
    """Stands for torch, which takes long to import, in a worker that needs it only to write and read a state."""

    def save(self, content: Any, file: Any) -> None:
        pickle.dump(content, file)

    def load(self, file: Any, **_: Any) -> Any:
        return pickle.load(file)

    def set_num_threads(self, number: int) -> None:
        pass


class Hits(Settings):
    """Nothing is trained: it hits the more, the nearer it aims to .7."""

    name: ClassVar[str] = ""

    aim: Annotated[float, Search(low=0.0, high=1.0)] = Field(0.2, ge=0, le=1, description="best at .7")

    def skip(self, task: Task) -> str | None:
        if multiprocessing.parent_process():
            sys.modules.setdefault("torch", Pickles("torch"))
        return None

    def fit(self, task: Task, run: Run) -> State:
        return {"modules": {}, "steps": 1, "curves": [], "stability": {}, "resources": {}}

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        if isinstance(sys.modules.get("torch"), Pickles):
            del sys.modules["torch"]
        share = 1 - abs(self.aim - 0.7)
        return Scores([Score(Metric("share", "1", "higher"), share, 4, "monte-carlo", 0.1, 0.1, share - 0.1, share)])
