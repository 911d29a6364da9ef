"""Cells as the report sees them: those that a grid plans, and what became of those that were carried out."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from bench.protocol import Budget, Evaluation, Networks, Settings
from bench.report.statistics import Value

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Setting:
    """What a row of a table holds fixed: everything of a cell but its seed. Settings are canonical JSON."""

    dataset: str
    options: str
    strategy: str
    hyper: str
    networks: str
    budget: str

    @property
    def context(self) -> tuple[str, str, str, str]:
        """What rows must share to be compared."""
        return self.dataset, self.options, self.networks, self.budget

    def flat(self) -> dict[str, Any]:
        """Return every setting by its dotted key in a grid."""
        parts = {"": self.hyper, "dataset.": self.options, "networks.": self.networks, "train.": self.budget}
        return {key: value for prefix, part in parts.items() for key, value in flat(json.loads(part), prefix)}


@dataclass(frozen=True)
class Planned:
    """A cell of a grid; `strategy` and `dataset` are what finds its plugins: a NAME or a FILE."""

    id: str
    setting: Setting
    seed: int
    label: str
    evaluation: str
    strategy: str
    dataset: str


@dataclass(frozen=True)
class Plan:
    """A grid's cells in their order; empty where they are not known."""

    name: str = ""
    title: str = ""
    cells: tuple[Planned, ...] = ()

    def of(self, dataset: str) -> Plan:
        """Return the part on one data set."""
        return Plan(self.name, self.title, tuple(cell for cell in self.cells if cell.setting.dataset == dataset))


@dataclass(frozen=True)
class Score:
    """One metric of one record; what is not written in the table is there to tell what may be compared."""

    value: Value
    unit: str
    better: Literal["lower", "higher", "neither"]
    version: int
    n: int
    estimator: str
    unreliable: str


@dataclass(frozen=True)
class Outcome:
    """One record: what became of one cell; `key` is in the names of the record's files."""

    cell: str
    key: str
    setting: Setting
    seed: int
    label: str
    evaluation: str
    sha256: str
    status: str
    reason: str
    last_step: int | None
    finished: str
    stale: bool
    plugin_changed: bool
    made: str
    scores: Mapping[str, Score]

    @property
    def name(self) -> str:
        """What a note calls it."""
        return f"{self.label} seed {self.seed}"

    @property
    def exact(self) -> bool:
        """Whether the model's likelihood is known, so that nothing about it had to be estimated."""
        return bool(self.scores) and all(score.estimator == "exact" for score in self.scores.values())

    @property
    def rank(self) -> tuple[bool, bool, str]:
        """The highest of a cell's records stands for it: of the code as it is, else the latest."""
        return not self.plugin_changed, not self.stale, self.finished


# ---------------------------------------------------------------- from the long table


def outcomes(frame: pd.DataFrame) -> list[Outcome]:
    """Return the records of a long table, see `collect.collect`."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        groups.setdefault((row["cell"], row["key"]), []).append({str(name): value for name, value in row.items()})
    return [_outcome(rows) for rows in groups.values()]


def _outcome(rows: Sequence[Mapping[str, Any]]) -> Outcome:
    first = rows[0]
    dirty = " with uncommitted changes" if first["git_dirty"] else ""
    commit = f", commit {first['git_commit'][:10]}{dirty}" if first["git_commit"] else ""
    return Outcome(
        cell=first["cell"],
        key=first["key"],
        setting=Setting(
            first["dataset"],
            first["dataset_options"],
            first["strategy"],
            first["hyper"],
            normal(Networks, first["networks"]),
            normal(Budget, first["budget"]),
        ),
        seed=first["seed"],
        label=first["label"],
        evaluation=normal(Evaluation, first["evaluation"]),
        sha256=first["dataset_sha256"] or "",
        status=first["status"],
        reason=first["reason"] or "",
        last_step=first["last_step"],
        finished=first["finished"] or "",
        stale=bool(first["stale"]),
        plugin_changed=bool(first["plugin_changed"]),
        made=f"torch {first['torch'] or 'unknown'} on {first['device'] or 'an unknown device'}{commit}",
        scores={row["metric"]: _score(row) for row in rows if row["metric"] is not None},
    )


def _score(row: Mapping[str, Any]) -> Score:
    numbers = (row["value"], row["sys_lower"], row["sys_upper"], row["stderr"])
    value = Value(*(float("nan") if number is None else number for number in numbers))
    return Score(
        value, row["unit"], row["better"], row["metric_version"], row["n"], row["estimator"], row["unreliable"] or ""
    )


@functools.cache
def normal(model: type[Settings], text: str) -> str:
    """Return settings as canonical JSON of the model as it is now; those that it does not know, unchanged."""
    try:
        content = model.model_validate_json(text).model_dump(mode="json")
    except ValidationError:
        content = json.loads(text)
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give (dotted key, value) of nested settings."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# ---------------------------------------------------------------- what belongs into one table


def select(found: Iterable[Outcome], plan: Plan, evaluation: str | None = None) -> tuple[dict[str, Outcome], list[str]]:
    """Choose one record a cell, all of them comparable, and say in notes what is left out and why.

    Comparable are records on the same data, scored with the same settings: those of `evaluation`, else of the latest
    record. Of cells that are not planned those count that were trained under the same conditions as a planned one.

    Returns:
        Cell id -> its record; notes.
    """
    found = sorted(found, key=lambda outcome: outcome.finished)
    planned = {cell.id for cell in plan.cells}
    contexts = {cell.setting.context for cell in plan.cells}
    notes = []
    if contexts:
        others = [o for o in found if o.cell not in planned and o.setting.context not in contexts]
        found = [o for o in found if o.cell in planned or o.setting.context in contexts]
        cells = len({o.cell for o in others})
        if cells:
            trained = "a cell trained" if cells == 1 else f"{cells} cells trained"
            notes.append(f"left out: {trained} with another budget, other networks or data options than this grid's")
    if not found:
        return {}, notes

    evaluation = evaluation or found[-1].evaluation
    scored = [o for o in found if o.evaluation == evaluation]
    kept = {o.cell for o in scored}
    for o in _best(o for o in found if o.cell not in kept).values():
        notes.append(f"left out: {o.name}, scored with {_differences(o.evaluation, evaluation)}")

    best = _best(scored)
    data = next((o.sha256 for o in sorted(best.values(), key=lambda o: o.rank, reverse=True) if o.sha256), "")
    for o in [o for o in best.values() if o.sha256 and o.sha256 != data]:
        notes.append(f"left out: {o.name}, made from other data (SHA-256 {o.sha256[:8]}... instead of {data[:8]}...)")
        del best[o.cell]
    return best, notes


def _best(found: Iterable[Outcome]) -> dict[str, Outcome]:
    best: dict[str, Outcome] = {}
    for outcome in found:
        if outcome.cell not in best or outcome.rank >= best[outcome.cell].rank:
            best[outcome.cell] = outcome
    return best


def _differences(ours: str, wanted: str) -> str:
    """Return how two evaluations differ: `importance_samples 100 instead of 1000`."""
    before, after = dict(flat(json.loads(ours))), dict(flat(json.loads(wanted)))
    return ", ".join(
        f"{key} {_shown(before.get(key))} instead of {_shown(after.get(key))}"
        for key in dict.fromkeys([*after, *before])
        if before.get(key) != after.get(key)
    )


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
