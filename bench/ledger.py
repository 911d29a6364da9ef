"""What tuning cost a row of a grid, and what it came to."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from bench.protocol import Settings


class Ledger(Settings):
    """The `tuned` table of a `[[strategy]]`: the study whose outcome its hyper-parameters are, and what that spent.

    Keys of `chosen`, `defaults` and `space` are dotted: the strategy's own fields, and `train.` and `networks.` before
    those of the grid's tables.
    """

    study: str = Field(min_length=1, description="name of the Optuna study")
    trials: int = Field(ge=1, description="so many, of whatever end")
    pruned: int = Field(0, ge=0, description="of these, ended early for being worse than others")
    failed: int = Field(0, ge=0, description="of these, without a value: diverged, crashed, ...")
    seconds: float = Field(ge=0, description="of all trials together: training, scoring and overhead")
    metric: str = Field(min_length=1, description="what was optimised, on the validation split")
    best: int = Field(ge=0, description="number of the trial that was chosen")
    value: float = Field(description="its value of the metric, at the worse end of log Z's interval")
    unreliable: bool = Field(False, description="no trial had a value that could be relied on")
    chosen: dict[str, Any] = Field(description="hyper-parameters of that trial")
    defaults: dict[str, Any] = Field(description="what the grid had before")
    space: dict[str, dict[str, Any]] = Field(description="ranges and choices that were searched")
    records: list[str] = Field([], description="CELL/KEY of every trial's record in the store of the trials")
