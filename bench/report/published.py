"""The published numbers that a table is set beside: `results/published.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

import bench
from bench.protocol import Settings, UserError
from bench.sweep.record import flat


class Column(Settings):
    """A column of the paper's table.

    Attributes:
        title: its heading.
        dataset: the data set plugin that ours are trained on.
        grid: the grid that makes our rows.
        metric, unit: what the numbers are.
        margin: how far a published number may lie outside an interval of ours for a reason that no interval holds.
        margin_reason: that reason.
    """

    title: str
    dataset: str
    grid: str
    metric: str
    unit: str
    margin: float = Field(0.0, ge=0)
    margin_reason: str = ""


class Number(Settings):
    """One published number; `strategy` and `hyper` say which rows of ours it belongs to, if any."""

    model: str
    column: str
    value: float
    unit: str
    citation: str
    strategy: str | None = None
    hyper: dict[str, Any] = Field(default_factory=dict)

    def belongs_to(self, strategy: str, hyper: Mapping[str, Any]) -> bool:
        """Return whether a row with these hyper-parameters is the model of this number."""
        return self.strategy == strategy and dict(flat(self.hyper)).items() <= dict(flat(hyper)).items()


class Published(Settings):
    """The whole file. `baseline` is the strategy that others are compared to by seed."""

    schema_: int = Field(alias="schema")
    source: str
    baseline: str
    columns: dict[str, Column]
    numbers: list[Number]

    def column_of(self, dataset: str) -> str:
        """Return the key of the column that belongs to a data set; empty where there is none."""
        return next((key for key, column in self.columns.items() if column.dataset == dataset), "")

    def of(self, column: str) -> list[Number]:
        """Return the numbers of a column, in the paper's order."""
        return [number for number in self.numbers if number.column == column]


def results_folder() -> Path:
    """Return where published numbers and committed records lie: in the wheel, else beside the package."""
    package = Path(bench.__file__).resolve().parent
    installed = package / "_builtin" / "results"
    return installed if installed.is_dir() else package.parent / "results"


def read(path: Path | None = None) -> Published:
    """Return the published numbers of `path`, by default those that come with the package.

    Raises:
        UserError: the file is missing or is not what it should be.
    """
    path = path or results_folder() / "published.json"
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} with the published numbers is missing; install the package again") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    try:
        return Published.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: `{place}`: {first['msg']}") from None
