"""What a cell leaves: its record, from the request and the circumstances to the scores.

A record is one JSON object. `draft` gives what is known before a cell runs, so that a cell whose process dies has the
same fields as one that ends well.
"""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench

if TYPE_CHECKING:
    from bench.grid import Cell
    from bench.protocol import Evaluation, Score
    from bench.sweep.fingerprints import Fingerprints

SCHEMA = 1

#: statuses of a cell that came to no scores
FAILED = ("diverged", "out-of-memory", "timeout", "crashed", "node-lost", "cancelled", "error")
#: every final status
STATUSES = ("ok", "skipped", *FAILED)
#: what `--retry-failed` runs again; a diverged cell is a finding, and the same seed diverges again
RETRIED = tuple(status for status in FAILED if status != "diverged")


@dataclass(frozen=True)
class Job:
    """A cell that is to be carried out, once.

    Attributes:
        cell: what is asked.
        key: names the record: code and evaluation settings (`store.key`).
        fingerprints: of the code that the sweep was started with.
        data: `version` and `sha256` of the data set, as far as they are known.
        attempt: counts from 1, killed attempts included.
        replaces: the attempt whose record is set aside for the new one, or None.
    """

    cell: Cell
    key: str
    fingerprints: Fingerprints
    data: Mapping[str, str | None]
    attempt: int = 1
    replaces: int | None = None

    @property
    def workspace(self) -> str:
        """The name of the folder of checkpoints: those of other code are never resumed."""
        return f"{self.fingerprints.plugin[:8]}-{self.fingerprints.fit[:8]}"


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        status: a final status, or `stopped`, which leaves no record, or `elsewhere`: another process's record.
        reason: one line; empty when all went well.
        seconds: from start to end.
        resources: of the record: seconds and bytes.
    """

    status: str
    reason: str = ""
    seconds: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether the cell came to no scores."""
        return self.status in FAILED


def now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def one_line(text: str, limit: int = 500) -> str:
    """Return `text` on one line, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def provenance(device: str) -> dict[str, Any]:
    """Return what every record of a sweep says about where it was made; no torch is imported for it."""
    return {
        "device": device,
        "torch": _version("torch"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": _git(),
    }


def draft(grid: str, job: Job, circumstances: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of `job` as far as it is known when it starts; the status is to be filled in."""
    cell, request = job.cell, job.cell.request
    return {
        "schema": SCHEMA,
        "grid": grid,
        "cell": cell.id,
        "dataset": {"name": request["dataset"], "version": None, "sha256": None, "options": cell.options, **job.data},
        "strategy": request["strategy"],
        "label": cell.label,
        "hyper": cell.hyper,
        "seed": cell.seed,
        "networks": cell.networks.model_dump(mode="json"),
        "budget": cell.budget.model_dump(mode="json"),
        "evaluation": cell.evaluation.model_dump(mode="json"),
        "status": "",
        "reason": "",
        "last_step": None,
        "attempt": job.attempt,
        "scores": [],
        "stability": {},
        "resources": {},
        **circumstances,
        "fingerprints": asdict(job.fingerprints),
        "started": now(),
        "finished": "",
    }


def score_row(score: Score) -> dict[str, Any]:
    """Return a score as a record holds it; a value that is no number is marked unreliable."""
    value = float(score.value)
    unreliable = score.unreliable
    if not unreliable and not abs(value) < float("inf"):
        unreliable = "not a finite number"
    return {
        "metric": str(score.metric.name),
        "unit": str(score.metric.unit),
        "better": str(score.metric.better),
        "version": int(score.metric.version),
        "value": value,
        "n": int(score.n),
        "estimator": str(score.estimator),
        "stderr_mc": float(score.stderr_mc),
        "stderr_images": float(score.stderr_images),
        "stderr": float(score.stderr),
        "sys_lower": float(score.sys_lower),
        "sys_upper": float(score.sys_upper),
        "unreliable": str(unreliable),
    }


@functools.lru_cache(maxsize=1024)
def changes(recorded: str, wanted: Evaluation) -> str:
    """Return how the evaluation settings of a record differ from those of now, in words; empty if they do not."""
    try:
        # through the model, so that a setting that came later has its default in earlier records
        before = _flat(type(wanted).model_validate_json(recorded).model_dump(mode="json"))
    except ValueError:
        return "with settings that this version does not know"
    after = _flat(wanted.model_dump(mode="json"))
    return ", ".join(f"{name} {before[name]} -> {after[name]}" for name in after if before[name] != after[name])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _version(distribution: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _git() -> dict[str, Any] | None:
    """Return commit and dirty flag of the checkout that `bench` is imported from, or None if it is installed."""
    root = Path(bench.__file__).resolve().parents[1]
    try:
        # an installed copy may lie inside somebody else's repository: only one that tracks this package counts
        _ask_git(root, "ls-files", "--error-unmatch", "bench/__init__.py")
        commit = _ask_git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_ask_git(root, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _ask_git(root: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", "--no-optional-locks", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10
    )
    return answer.stdout.strip()
