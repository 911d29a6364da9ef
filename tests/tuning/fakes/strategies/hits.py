"""A model that is the better the more it hits: a share, of which more is better."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from bench.protocol import Metric, Run, Score, Scores, Search, Settings, State, Task


class Hits(Settings):
    """Nothing is trained: it hits the more, the nearer it aims to .7."""

    name: ClassVar[str] = ""

    aim: Annotated[float, Search(low=0.0, high=1.0)] = Field(0.2, ge=0, le=1, description="best at .7")

    def skip(self, task: Task) -> str | None:
        return None

    def fit(self, task: Task, run: Run) -> State:
        return {"modules": {}, "steps": 1, "curves": [], "stability": {}, "resources": {}}

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        share = 1 - abs(self.aim - 0.7)
        return Scores([Score(Metric("share", "1", "higher"), share, 4, "monte-carlo", 0.1, 0.1, share - 0.1, share)])
