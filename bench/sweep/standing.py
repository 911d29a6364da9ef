"""Where a cell stands in a run store under the code and settings of now, and why."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from bench.protocol import Evaluation
from bench.sweep.attempts import key
from bench.sweep.columns import canonical
from bench.sweep.fingerprints import Fingerprints, Part
from bench.sweep.record import CorruptRecord, Record, differences, normal
from bench.sweep.store import Store

if TYPE_CHECKING:
    from bench.grid import Cell

State = Literal["finished", "stale", "missing", "running", "pending", "preempted", "lost"]
_CODE: dict[Part, str] = {"fit": "training", "evaluate": "scoring"}


@dataclass(frozen=True)
class Standing:
    """Where a cell stands under the code and settings of now.

    Attributes:
        cell: the cell.
        key: its record's key.
        state: `finished`, `stale` (recorded by an earlier harness), `running`, `missing`; of a cell that was submitted
            to SLURM also `pending`, `preempted` (and waiting again) or `lost` (its job is gone without a record).
        record: the record of a finished or stale cell.
        why: one line that explains the state.
        corrupt: the file in the record's place that is no record.
        job: the SLURM job that carries the cell out, or is to.
        loss: status and reason of a lost cell's record, which `bench collect` writes.
        stuck: why its job does not start by itself, in SLURM's words; empty where it may.
    """

    cell: Cell
    key: str
    state: State
    record: Record | None
    why: str
    corrupt: Path | None = None
    job: str = ""
    loss: tuple[str, str] = ("", "")
    stuck: str = ""

    @classmethod
    def of(cls, store: Store, cell: Cell, fingerprints: Fingerprints) -> Self:
        """Return where `cell` stands under this code."""
        name = key(fingerprints, cell.evaluation)
        try:
            record = store.record(cell.id, name)
        except CorruptRecord as reason:
            corrupt = store.record_path(cell.id, name)
            return cls(cell, name, "missing", None, f"corrupt record {corrupt.name}: {reason}", corrupt)
        if record:
            return cls(cell, name, "finished", record, _told(record))
        try:
            return cls(cell, name, *_explained(store, cell, fingerprints))
        except OSError as error:
            folder = store.cell(cell.id)
            return cls(cell, name, "missing", None, f"{folder} cannot be read ({error.strerror})", folder)


def _explained(store: Store, cell: Cell, fingerprints: Fingerprints) -> tuple[State, Record | None, str]:
    """Return state, stale record and reason of a cell without a record under this code."""
    dated = sorted(store.records(cell.id), key=lambda record: record.finished)
    latest = store.attempts(cell.id)
    if latest > max((record.attempt for record in dated), default=0) and store.alive(cell.id, latest):
        return "running", None, f"attempt {latest} is running"
    if not dated and not latest:
        return "missing", None, "never ran"
    if not dated:
        return "missing", None, f"attempt {latest} left no record: it was stopped or killed, and goes on"
    same_plugin = [record for record in dated if "plugin" not in record.changed(fingerprints)]
    if not same_plugin:
        date = dated[-1].finished
        return "missing", None, f"the code of one of its plugins changed since the record of {date}"
    changed = [(_changes(canonical(record.evaluation), cell.evaluation), record) for record in same_plugin]
    unchanged = [record for change, record in changed if not change]
    if not unchanged:
        change, record = changed[-1]
        return "missing", None, f"scored otherwise in the record of {record.finished}: {change}"
    if equal := [record for record in unchanged if not record.changed(fingerprints)]:
        return "finished", equal[-1], f"{_told(equal[-1])}, by earlier code that gives the same numbers"
    record = unchanged[-1]
    parts = [f"the {_CODE[part]} code" for part in record.changed(fingerprints)]
    return "stale", record, f"{' and '.join(parts)} of bench changed since the record of {record.finished}"


def _told(record: Record) -> str:
    """Return what became of a cell, in words."""
    because = f" ({record.reason})" if record.reason else ""
    return f"{record.status}{because} in attempt {record.attempt}, {record.finished}"


@functools.lru_cache(maxsize=1024)
def _changes(recorded: str, wanted: Evaluation) -> str:
    """Return how the evaluation settings of a record differ from those of now, in words; empty if they do not."""
    before = normal(type(wanted), recorded)
    if before is None:
        return "with settings that this version does not know"
    changed = differences(before, wanted.model_dump_json())
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in changed)
