"""Cells as the report sees them: those that a grid plans, what became of those that were carried out, and their table.

The long table has a row for each record and metric. A record without scores, because its cell failed or was skipped,
gives one row whose metric is null: failure is data. The table goes to Parquet and back unchanged, and so do that of
the training curves and that of the scores of each test item.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import pandas as pd
from pydantic import ValidationError

from bench.ledger import Ledger
from bench.protocol import Budget, Evaluation, Networks, Settings, UserError
from bench.sweep.columns import DTYPES, canonical, columns
from bench.sweep.record import RESOURCES, Name, Point, Record, Score, explained, flat, normal, score_columns

if TYPE_CHECKING:
    import bench.grid as grids


@dataclass(frozen=True)
class Setting:
    """What a row of a table holds fixed: everything of a cell but its seed. Settings are canonical JSON.

    Attributes:
        tuned: of a row whose hyper-parameters come from a study, what that set of networks and budget, dotted keys in
            JSON; empty of any other.
    """

    dataset: str
    options: str
    strategy: str
    hyper: str
    networks: str
    budget: str
    evaluation: str
    tuned: str = ""

    @classmethod
    def of(cls, cell: grids.Cell) -> Setting:
        """Return what a grid's cell shares with the other seeds of its row."""
        request = cell.request
        parts = {name: canonical(request[name]) for name in ("options", "hyper", "networks", "budget")}
        parts["evaluation"] = canonical(cell.evaluation.model_dump(mode="json"))
        tuned = _shared(cell.study, cell.tuned)
        return cls(dataset=request["dataset"], strategy=request["strategy"], **parts, tuned=tuned)

    @cached_property
    def context(self) -> tuple[str, ...]:
        """What rows must share to be compared; tuned ones are compared to each other, whatever was tuned."""
        networks, budget = self.networks, self.budget
        if self.tuned and (keys := json.loads(self.tuned)):
            networks, budget = (
                canonical({key: value for key, value in flat(json.loads(part), prefix) if key not in keys})
                for prefix, part in (("networks.", networks), ("train.", budget))
            )
        return self.dataset, self.options, networks, budget, self.tuned, self.evaluation

    @property
    def conditions(self) -> dict[str, Any]:
        """What rows must share to be compared, by dotted key in a grid."""
        tuned = json.loads(self.tuned or "[]")
        return {key: value for key, value in self._conditions.items() if key not in tuned}

    @property
    def _conditions(self) -> dict[str, Any]:
        parts = {f"dataset.{self.dataset}.": self.options, "networks.": self.networks, "train.": self.budget}
        parts["evaluate."] = self.evaluation
        said = {key: value for prefix, part in parts.items() for key, value in flat(json.loads(part), prefix)}
        return {"evaluate.split": "test"} | said

    def flat(self) -> dict[str, Any]:
        """Return every setting by its dotted key in a grid."""
        return dict(flat(json.loads(self.hyper))) | self._conditions


@lru_cache(maxsize=4096)
def _setting(*parts: str) -> Setting:
    """Return a setting; the records of a row share one."""
    return Setting(*parts)


def _shared(study: str | None, tuned: Mapping[str, Any] | None) -> str:
    """Return what a study set of the tables that rows share, for `Setting.tuned`; empty without a study."""
    keys = sorted(key for key in tuned or () if key.startswith(("networks.", "train.")))
    return json.dumps(keys) if study else ""


@dataclass(frozen=True)
class Planned:
    """A cell of a grid; `strategy` and `dataset` are what finds its plugins: a NAME or a FILE."""

    id: str
    setting: Setting
    seed: int
    label: str
    strategy: str
    dataset: str
    ledger: Ledger | None = None


@dataclass(frozen=True)
class Plan:
    """A grid's cells in their order; empty where they are not known.

    Attributes:
        name: of the grid.
        title: what a reader calls it.
        cells: those that are planned.
        headline: the metric of its verdicts; empty where it names none.
        same_within: data set -> the margin within which two strategies count as the same.
        extended: how many seeds there were and how many there are now, where some were added once a verdict could be
            seen.
    """

    name: str = ""
    title: str = ""
    cells: tuple[Planned, ...] = ()
    headline: str = ""
    same_within: Mapping[str, float] = field(default_factory=dict)
    extended: tuple[int, int] | None = None

    @property
    def evaluation(self) -> str | None:
        """How its cells are scored, canonical JSON; None where there are none."""
        return self.cells[0].setting.evaluation if self.cells else None

    def of(self, dataset: str) -> Plan:
        """Return the part on one data set."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell.setting.dataset == dataset))

    def scored(self, evaluation: str) -> Plan:
        """Return the plan with its cells scored in another way."""
        if all(cell.setting.evaluation == evaluation for cell in self.cells):
            return self
        settings = {cell.setting: replace(cell.setting, evaluation=evaluation) for cell in self.cells}
        return replace(self, cells=tuple(replace(cell, setting=settings[cell.setting]) for cell in self.cells))


class Outcome(Record):
    """What became of one cell: its record, and how that stands to the code as it is now.

    Attributes:
        key: it is in the names of the record's files.
        stale: bench's own training or scoring code has changed since.
        plugin_changed: the code of one of its plugins has.
    """

    key: Name
    stale: bool
    plugin_changed: bool

    @classmethod
    def of(cls, record: Record, key: str) -> Self:
        """Return what became of a cell by its record, with what the long table has of it; not marked yet."""
        resources = {name: record.resources[name] for name in RESOURCES if name in record.resources}
        said = {"scores": record.scores if record.status == "ok" else [], "resources": resources}
        outcome = cls.__new__(cls)  # not `model_construct`, which takes long: a record's fields have been validated
        outcome.__setstate__(
            record.__getstate__()
            | {"__dict__": {**vars(record), **said, "key": key, "stale": False, "plugin_changed": False}}
        )
        return outcome

    @cached_property
    def code(self) -> tuple[str, str, str, str]:
        """What says which code it uses: names of strategy and data set, hyper-parameters and networks as JSON."""
        return self.strategy, self.dataset.name, canonical(self.hyper), canonical(self.networks)

    @cached_property
    def identity(self) -> tuple[Any, ...]:
        """What tells it from other records: the same cell may have been carried out with the same code twice."""
        return self.cell, self.key, self.device, self.attempt, self.started, self.finished, canonical(self.digests)

    @property
    def name(self) -> str:
        """What a note calls it."""
        return f"{self.label} seed {self.seed}"

    @cached_property
    def by_metric(self) -> dict[str, Score]:
        """The scores by the names of their metrics."""
        return {score.metric: score for score in self.scores}

    def with_scores(self, scores: Sequence[Score]) -> Outcome:
        """Return the same with other scores."""
        copied = self.model_copy(update={"scores": list(scores)})
        copied.__dict__.pop("by_metric", None)
        return copied

    @property
    def exact(self) -> bool:
        """Whether the model's likelihood is known, so that nothing about it had to be estimated."""
        return any(score.estimator == "exact" for score in self.scores)

    @property
    def sampled(self) -> bool:
        """Whether the prior has samples and no density, so that few scores can be had."""
        return any(score.estimator == "samples" for score in self.scores)

    @property
    def machine(self) -> str:
        """Whether a `cpu` or a `gpu` made it; empty where that is not known, as of a cell whose job was lost."""
        device = self.device_kind or self.device
        return "" if device in (None, "unknown") else "cpu" if device == "cpu" else "gpu"

    @property
    def rank(self) -> tuple[bool, bool, str]:
        """The highest of a cell's records stands for it: of the code as it is, else the latest."""
        return not self.plugin_changed, not self.stale, self.finished

    @cached_property
    def setting(self) -> Setting:
        """What it shares with the other seeds of its row."""
        data, hyper = self.dataset, canonical(self.hyper)
        networks, budget = _as_now(Networks, self.networks), _as_now(Budget, self.budget)
        tuned = _shared(self.study, self.tuned)
        return _setting(data.name, canonical(data.options), self.strategy, hyper, networks, budget, self.scoring, tuned)

    def planned(self, ledger: Ledger | None) -> Outcome:
        """Return it as a plan has its cell: the same model may be a row that was tuned, and one that was not."""
        study, tuned = (ledger.study, ledger.chosen) if ledger else (None, None)
        same = (self.study, self.tuned) == (study, tuned)
        return self if same else self.model_copy(update={"study": study, "tuned": tuned})

    @cached_property
    def scoring(self) -> str:
        """The evaluation settings, canonical JSON."""
        return _as_now(Evaluation, self.evaluation)

    @property
    def made(self) -> str:
        """With what it was made, in words."""
        dirty = " with uncommitted changes" if self.git and self.git.dirty else ""
        commit = f", commit {self.git.commit[:10]}{dirty}" if self.git else ""
        return f"torch {self.torch or 'unknown'} on {self.device or 'an unknown device'}{commit}"


def _as_now(model: type[Settings], settings: Mapping[str, Any]) -> str:
    text = canonical(settings)
    return normal(model, text) or text


# ---------------------------------------------------------------- the long table

Table = Literal["records", "curves", "items"]

#: column -> type. Columns named after settings (`hyper`, `networks`, ...) hold canonical JSON; `lower` and `upper` are
#: the systematic interval, widened by the statistical one (95 %); `seconds` are those of fit, evaluation and overhead
RECORDS = columns(Outcome) | dict.fromkeys(("lower", "upper", "seconds"), DTYPES[float])
WHOSE = ("grid", "cell", "key", "dataset", "strategy", "label", "seed")
CURVES = {name: RECORDS[name] for name in WHOSE} | columns(Point)
ITEMS = {name: RECORDS[name] for name in (*WHOSE, "metric")} | {"item": "int32", "value": "float32"}
#: columns that tell two records apart; the same cell may have been carried out with the same code on two machines
_IDENTITY = ("cell", "key", "device", "attempt", "started", "finished", "digests")
TABLES: dict[str, dict[str, str]] = {"records": RECORDS, "curves": CURVES, "items": ITEMS}


def framed(curves: Iterable[tuple[Mapping[str, Any], Sequence[Point]]]) -> pd.DataFrame:
    """Return training curves as a table: each with what its rows share, `WHOSE`, and its points."""
    whose: list[Mapping[str, Any]] = []
    lengths: list[int] = []
    values: dict[str, list[Any]] = {name: [] for name in columns(Point)}
    for shared, points in curves:  # of which one at a time is held: all of them as objects take a gigabyte
        whose.append(shared)
        lengths.append(len(points))
        for name, own in values.items():
            own += [getattr(point, name) for point in points]
    shared_by = {name: pd.Series([own[name] for own in whose], dtype=CURVES[name]) for name in WHOSE}
    frame = pd.DataFrame(shared_by).loc[np.repeat(np.arange(len(whose)), lengths)].reset_index(drop=True)
    return frame.assign(**{name: pd.Series(values.pop(name), dtype=CURVES[name]) for name in columns(Point)})


def outcomes(frame: pd.DataFrame) -> list[Outcome]:
    """Return the records of a long table.

    Raises:
        UserError: a row is none of a record's.
    """
    if frame.empty:
        return []
    whose = frame.groupby(list(_IDENTITY), sort=False, dropna=False).ngroup().to_numpy()
    order = np.argsort(whose, kind="stable")  # the rows of a record, one record after another
    starts = np.flatnonzero(np.diff(whose[order], prepend=-1))
    shared = _plain(frame.iloc[order[starts]]).to_dict("records")
    own = _plain(frame.iloc[order][[leaf.column for leaf in score_columns(Outcome)]])
    scores = list(zip(*(own[name].tolist() for name in own), strict=True))
    scored = own["metric"].notna().tolist()
    try:
        return [
            Outcome.from_rows(
                cast(dict[str, Any], row), [scores[place] for place in range(start, end) if scored[place]]
            )
            for row, start, end in zip(shared, starts, [*starts[1:], len(order)], strict=True)
        ]
    except ValidationError as error:
        raise UserError(f"these are no records: {explained(error)}") from None


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of plain Python values, None where there is none but for numbers, of which it is NaN."""
    other = [name for name, dtype in RECORDS.items() if dtype != DTYPES[float]]
    return frame.astype(object).where(frame.notna() | ~frame.columns.isin(other), None)


def selected(records: Iterable[Outcome], chosen: Iterable[Outcome]) -> list[Outcome]:
    """Return these of the records with all of their scores, each once, however many stores hold it."""
    wanted = {outcome.identity for outcome in chosen}
    first: dict[tuple[Any, ...], Outcome] = {}
    for record in records:
        if (identity := record.identity) in wanted:
            first.setdefault(identity, record)
    return list(first.values())
