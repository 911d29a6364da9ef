"""Which records a table is made of: one a cell, all of them comparable, and in words what is left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.report.cells import Outcome, Plan, Setting
from bench.words import other_data

_ANEW = "a run into another --store makes it anew"
_KINDS = {"cpu": "a CPU", "gpu": "a GPU"}


@dataclass(frozen=True)
class Selection:
    """What a table shows.

    Attributes:
        outcomes: the records.
        plan: the cells that were planned, scored as the records are.
        left: cells that were planned, have records, and none that this table may show.
        notes: what is left out and why, one sentence each.
    """

    outcomes: tuple[Outcome, ...]
    plan: Plan
    left: frozenset[str]
    notes: tuple[str, ...]


def select(
    candidates: Iterable[Outcome], plan: Plan, evaluation: str | None = None, all_settings: bool = False
) -> Selection:
    """Choose one record a cell, all of them comparable.

    Comparable are records on the same data, made on the same kind of device, trained under the conditions of a planned
    cell, and scored with the same settings: those of `evaluation`, else of the latest record.

    Args:
        candidates: the records.
        plan: the grid's cells.
        evaluation: how its cells are scored, canonical JSON.
        all_settings: take records of any training and scoring conditions; rows are compared within theirs.
    """
    ledgers = {cell.id: cell.ledger for cell in plan.cells}
    candidates = (o.planned(ledgers[o.cell]) if o.cell in ledgers else o for o in candidates)
    dated = sorted(candidates, key=lambda outcome: outcome.finished)
    notes: list[str] = []
    if not all_settings and dated:
        dated, plan, left_out = _under_plan(dated, plan, evaluation)
        notes += left_out
    kept, left_out = _of_one_kind(dated)
    notes += left_out
    best: dict[tuple[str, str], Outcome] = {}
    for outcome in kept:
        place = outcome.cell, outcome.scoring
        if place not in best or outcome.rank >= best[place].rank:
            best[place] = outcome
    ranked = sorted(best.values(), key=lambda outcome: outcome.rank, reverse=True)
    data: dict[str, str] = {}  # options of the data set -> SHA-256: other options make other arrays
    for outcome in ranked:
        if outcome.dataset.sha256:
            data.setdefault(outcome.setting.options, outcome.dataset.sha256)
    for place, outcome in [*best.items()]:
        now = data.get(outcome.setting.options, "")
        if (digest := outcome.dataset.sha256) and digest != now:
            notes.append(f"left out: {outcome.name}, made from {other_data(digest, now)}; {_ANEW}")
            del best[place]
    left = frozenset(outcome.cell for outcome in dated) - {cell for cell, _ in best}
    return Selection(tuple(best.values()), plan, left, tuple(notes))


def _under_plan(
    dated: Sequence[Outcome], plan: Plan, evaluation: str | None
) -> tuple[list[Outcome], Plan, Sequence[str]]:
    """Return records under the plan's conditions, the plan scored as they are, and notes on the others."""
    trained = {cell.setting.context[:-1] for cell in plan.cells}
    kin = [o for o in dated if o.setting.context[:-1] in trained] if trained else list(dated)
    evaluation = evaluation or (kin or dated)[-1].scoring
    plan = plan.scored(evaluation)
    kept = [outcome for outcome in kin if outcome.scoring == evaluation]
    there = {id(outcome) for outcome in kept}
    wanted = _different(o.setting for o in (plan.cells or kept))
    others: dict[str, set[str]] = {}
    words: dict[tuple[str, ...], str] = {}
    for outcome in dated:
        if id(outcome) not in there:
            context = outcome.setting.context
            if context not in words:
                ways = min((_ways(outcome.setting.conditions, other) for other in wanted), key=len, default=[])
                words[context] = ", ".join(ways) or "other settings"
            others.setdefault(words[context], set()).add(outcome.cell)
    notes = [
        f"left out: {len(cells)} {'cell' if len(cells) == 1 else 'cells'} with {ways};"
        " --all-settings (with --grid; in Python `all_settings=True`) shows other settings, too"
        for ways, cells in others.items()
    ]
    return kept, plan, notes


def _different(settings: Iterable[Setting]) -> list[dict[str, object]]:
    """Return the conditions of settings, those of many cells once."""
    return [setting.conditions for setting in {setting.context: setting for setting in settings}.values()]


def _ways(ours: dict[str, object], wanted: dict[str, object]) -> list[str]:
    """Return in what ours differs, `train.epochs = 3 instead of 100`."""
    keys = dict.fromkeys([*wanted, *ours])
    return [
        f"{key} = {_shown(ours.get(key))} instead of {_shown(wanted.get(key))}"
        for key in keys
        if ours.get(key) != wanted.get(key)
    ]


def _shown(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _of_one_kind(dated: Sequence[Outcome]) -> tuple[list[Outcome], list[str]]:
    """Return the records of one kind of device, the one that came to more scores, and a note on those of the other."""
    made = {kind: [outcome for outcome in dated if outcome.machine == kind] for kind in _KINDS}
    scored = {kind: {(o.cell, o.scoring) for o in records if o.status == "ok"} for kind, records in made.items()}
    chosen = max(_KINDS, key=lambda kind: (len(scored[kind]), len(made[kind])))
    other = {outcome.cell for outcome in dated if outcome.machine not in ("", chosen)}
    if not other:
        return list(dated), []
    kept = [outcome for outcome in dated if outcome.machine in ("", chosen)]
    unkind = next(kind for kind in _KINDS if kind != chosen)
    number = f"{len(other)} {'cell' if len(other) == 1 else 'cells'}"
    return kept, [f"left out: {number} made on {_KINDS[unkind]}; this table is of records made on {_KINDS[chosen]}"]
