"""The published numbers that a table is set beside: `results/published.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

import bench
from bench.protocol import Settings, UserError
from bench.report.cells import Setting
from bench.sweep.record import differences, flat


class Protocol(Settings):
    """How models were trained and scored, in a grid's words."""

    dataset: dict[str, Any]
    networks: dict[str, Any]
    train: dict[str, Any]
    evaluate: dict[str, Any]


class Column(Settings):
    """A column of the paper's table.

    Attributes:
        title: its heading.
        dataset: the data set plugin that ours are trained on.
        grid: the grid that makes our rows.
        metric, unit: what the numbers are.
        margin: how far a published number may lie outside an interval of ours for a reason that no interval holds.
        margin_reason: that reason.
        widest: half of an interval of ours above which nothing can be told of a published number.
        protocol: under which the numbers were had: tables `dataset`, `networks` and `train`, every setting of which
            counts, and those of `evaluate` that do.
    """

    title: str
    dataset: str
    grid: str
    metric: str
    unit: str
    margin: float = Field(0.0, ge=0)
    margin_reason: str = ""
    widest: float = Field(gt=0)
    protocol: Protocol

    def deviations(self, number: Number, setting: Setting) -> list[str]:
        """Return in what a row differs from the model of a number and its protocol; empty where it is that model."""
        if number.strategy != setting.strategy:
            return [f"strategy = {setting.strategy}"]
        tables = (
            ("", number.hyper, setting.hyper),
            ("dataset.", self.protocol.dataset, setting.options),
            ("networks.", self.protocol.networks, setting.networks),
            ("train.", self.protocol.train, setting.budget),
        )
        ways = []
        for prefix, theirs, ours in tables:
            for key, published, own in differences(json.dumps(theirs), ours):
                ways.append(f"{prefix}{key} = {json.dumps(own)} instead of {json.dumps(published)}")
        scored = dict(flat(json.loads(setting.evaluation)))
        if (split := scored.get("split", "test")) != "test":  # nobody publishes the scores of a validation split
            ways.append(f'evaluate.split = {json.dumps(split)} instead of "test"')
        for key, published in flat(self.protocol.evaluate):
            if scored.get(key) != published:
                ways.append(f"evaluate.{key} = {json.dumps(scored.get(key))} instead of {json.dumps(published)}")
        return ways


class Number(Settings):
    """One published number; `strategy` and `hyper`, all of them, say which rows of ours are the same model, if any."""

    model: str
    column: str
    value: float
    unit: str
    citation: str
    strategy: str | None = None
    hyper: dict[str, Any] = Field(default_factory=dict)


class Published(Settings):
    """The whole file. `baseline` is the strategy that others are compared to."""

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
