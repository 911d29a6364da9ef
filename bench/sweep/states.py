"""What `fit` returned, on disk: written before it is scored, and all that scoring reads.

It lies in a cell's workspace as `state-<sha256>.pt` (`bench.files.save_tensors`). Checkpoints end where it begins.
Beside them lies the SHA-256 of the data: what was trained on other data is neither resumed nor scored.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from bench import files
from bench.protocol import State, UserError
from bench.sweep.attempts import workspace as workspace_of
from bench.sweep.record import Point, Record
from bench.words import other_data

STEM = "state"
DATA = "data-sha256"  # a file of a workspace: the digest of the data that it is of
PLACE = re.compile(rf"[0-9a-f]+/[0-9a-f]{{8}}-[0-9a-f]{{8}}/{STEM}-[0-9a-f]{{64}}\.pt")


def claim(workspace: Path, before: str | None, sha256: str, note: Callable[[str], None]) -> None:
    """Make a workspace of data with this SHA-256; one of other data is set aside.

    Args:
        workspace: the folder.
        before: the SHA-256 of the data that it is of; None where it is not there or nobody knows.
        sha256: of the data as they are.
        note: told what is set aside.

    Raises:
        OSError: it cannot be written.
    """
    if before not in (None, sha256) and workspace.exists():
        files.set_aside(workspace, "other-data")  # not by its digest, which a record from a stranger may give
        note(f"it was trained on {other_data(before, sha256)}: that is set aside, and the cell is trained again")
    workspace.mkdir(parents=True, exist_ok=True)
    if data_of(workspace) != sha256:
        with files.replacing(workspace / DATA, durable=False) as file:
            file.write(sha256.encode())


def data_of(workspace: Path) -> str | None:
    """Return the SHA-256 of the data that a workspace is of; None where nothing says so, as in earlier versions."""
    try:
        return files.read_patiently(workspace / DATA).decode("ascii", "replace") or None  # empty after a loss of power
    except FileNotFoundError:
        return None


def save(workspace: Path, state: State, device: str, resources: Mapping[str, float]) -> tuple[State, str]:
    """Write a state and delete the checkpoints that it replaces, those of stages too.

    Args:
        workspace: the folder.
        state: what `fit` returned.
        device: of the tensors of the state that is returned.
        resources: of training, as far as the strategy itself says nothing of them.

    Returns:
        The state as it lies on disk, and its SHA-256.

    Raises:
        OSError: it cannot be written.
        UnpicklingError: it holds more than tensors and plain types.
    """
    plain = state | {
        "steps": int(state["steps"]),
        "curves": [point.model_dump() for point in points(state["curves"])],
        "stability": numbers(state["stability"]),
        "resources": {**resources, **numbers(state["resources"])},
    }
    path = files.save_tensors(workspace, STEM, plain)
    written = cast(State, files.load_tensors(path, device))
    for checkpoint in workspace.rglob("checkpoint-*.pt"):
        checkpoint.unlink(missing_ok=True)
    return written, _digest(path)


def load(workspace: Path, device: str, note: Callable[[str], None]) -> tuple[State, str] | None:
    """Return a state that lies in a workspace and its SHA-256, or None where there is none.

    One that is damaged is set aside.

    Raises:
        OSError: as of `files.latest`.
    """
    latest = files.latest(workspace, STEM, note, "the cell is trained again", device)
    return latest and (cast(State, latest[1]), _digest(latest[0]))


def intact(workspace: Path) -> bool:
    """Tell whether a state lies in a workspace as it was written; nothing is set aside, and torch is not needed.

    Raises:
        OSError: one cannot be read.
    """
    for path in files.sealed(workspace, STEM):
        with contextlib.suppress(FileNotFoundError, files.NoFile):
            if files.sha256(files.read_patiently(path, files.ANY)) == _digest(path):
                return True
    return False


def of(record: Record, cells: Path) -> dict[str, Any]:
    """Return the state that a record was scored from, its tensors on the CPU.

    Args:
        record: names it.
        cells: the folder of the cells of a run store.

    Raises:
        UserError: it is gone or damaged, or the record names none.
    """
    whose = f"the state of cell {record.cell} ({record.label} seed {record.seed})"
    if STEM not in record.digests:
        why = f"its status is {record.status!r}" if record.format > 1 else "an earlier version of bench made its record"
        raise UserError(f"{whose} was not kept: {why}")
    own = place(record)
    if own is None:
        raise UserError(f"{whose} cannot be read: its record names no place in a run store")
    path = cells / own
    try:
        return files.load_tensors(path)
    except files.Damaged as error:
        raise UserError(str(error)) from error
    except FileNotFoundError as error:
        raise UserError(f"{whose} is gone: there is no {path}") from error
    except OSError as error:
        raise UserError(f"{whose} cannot be read ({error.strerror}: {path})") from error


def place(record: Record) -> str | None:
    """Return where the state that a record was scored from lies among the cells of its store; None if it names none."""
    own = f"{record.cell}/{workspace_of(record.fingerprints)}/{STEM}-{record.digests.get(STEM)}.pt"
    return own if PLACE.fullmatch(own) else None  # the record may come from a stranger


def _digest(path: Path) -> str:
    return path.stem.removeprefix(f"{STEM}-")


# ---------------------------------------------------------------- in plain types


def numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return figures as plain numbers, whatever library made them."""
    return {str(name): float(value) for name, value in figures.items()}


def points(rows: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Return the rows of a state's curves."""
    return [
        Point(epoch=int(row["epoch"]), step=int(row["step"]), metric=str(row["metric"]), value=float(row["value"]))
        for row in rows
    ]
