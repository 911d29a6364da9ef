"""What a storage of studies says, read in one place: what is damaged or forged there is one sentence, whoever reads."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from bench.files import parsed, read
from bench.protocol import UserError
from bench.sweep.fingerprints import Fingerprints
from bench.words import plain

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

JOURNAL = "studies.journal"  # in the run store, where no other storage is named
SETTLED = 2.0  # seconds after which a line that is cut short is nobody's that is still being written
_CODE = TypeAdapter(Fingerprints)


def storage_of(url: str | None, store: Path, create: bool = True) -> BaseStorage | None:
    """Return the storage of studies: Optuna's file journal in the run store, or what a URL names.

    Args:
        url: of an Optuna storage, such as `sqlite:///studies.db`; None for the journal.
        store: the run store's folder.
        create: make the journal where there is none; else return None.

    Raises:
        UserError: it cannot be reached, or a line of the journal is damaged.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    path = store / JOURNAL
    try:
        if url is not None:
            return RDBStorage(url)
        if flaw := _flaw(path):
            raise damaged(path, flaw)
        if not create and not path.is_file():
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    except UserError:
        raise
    except Exception as error:  # every kind of storage has its own
        if url is None:
            raise damaged(path, _reason(error)) from error
        why = f"the storage of studies {_without_password(url)} cannot be reached: {_reason(error)}"
        raise UserError(f"{why}; give another storage") from error


def _without_password(url: str) -> str:
    from sqlalchemy import make_url

    with contextlib.suppress(Exception):  # whatever is wrong with it
        return make_url(url).render_as_string(hide_password=True)
    return url


def _flaw(path: Path) -> str:
    """Return what is wrong with a journal; empty where nothing is, or where there is none.

    Optuna passes over a last line that is damaged, and writes on after it: all of it would be lost with the next line.
    """
    deadline = time.monotonic() + SETTLED
    while True:
        try:
            content = read(path)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            return error.strerror or str(error)
        flaw = _flaw_of(content)
        if content.endswith(b"\n") or not flaw or time.monotonic() > deadline:
            return flaw
        time.sleep(0.1)  # somebody may be writing the last line


def _flaw_of(content: bytes) -> str:
    from optuna.storages.journal._storage import JournalStorageReplayResult

    replay = JournalStorageReplayResult("")
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            return f"its line {number} is cut short"
        try:
            replay.apply_logs([parsed(line)])
        except Exception:  # whatever Optuna runs into
            return f"its line {number} is not what Optuna writes"
    return ""


# ---------------------------------------------------------------- what goes wrong, in words


Place = Path | str  # a journal's file, or the URL of another storage


def place_of(storage: BaseStorage) -> Place:
    """Return where a storage is, without a password."""
    from optuna.storages import JournalStorage, RDBStorage

    if isinstance(storage, JournalStorage):
        return Path(getattr(storage._backend, "_file_path", JOURNAL))
    inner = getattr(storage, "_backend", storage)  # Optuna keeps a cache before a database
    if isinstance(inner, RDBStorage):
        return inner.engine.url.render_as_string(hide_password=True)
    return type(storage).__name__


def damaged(place: Place, why: str) -> UserError:
    """Return the refusal of a storage: why, and what to do."""
    another = "move it away or give another run store" if isinstance(place, Path) else "give another storage"
    return UserError(f"the storage of studies {place} cannot be used: {plain(why)}; to begin anew, {another}")


@contextlib.contextmanager
def reading(place: Place) -> Iterator[None]:
    """Take what goes wrong in the block for trouble of the storage; that a trial has ended already is none.

    Raises:
        UserError: something did.
    """
    try:
        yield
    except (UserError, optuna.exceptions.UpdateFinishedTrialError):
        raise
    except Exception as error:  # a journal is replayed by whoever asks, and every kind of storage has its own errors
        flaw = _flaw(place) if isinstance(place, Path) else ""
        raise damaged(place, flaw or _reason(error)) from error


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    first = said.strip().splitlines()
    return first[0].rstrip(".") if first else type(error).__name__


# ---------------------------------------------------------------- what may stand there


def _table(text: str) -> str:
    """Refuse what is no table in JSON."""
    if not isinstance(json.loads(text), dict):
        raise ValueError("it is no table")
    return text


def _code(text: str) -> str:
    """Refuse what are no fingerprints."""
    _CODE.validate_json(text, strict=True)
    return text


Table = Annotated[str, AfterValidator(_table)]
Seconds = Annotated[FiniteFloat, Field(ge=0)]


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, populate_by_name=True)


class Context(_Said):
    """What a study was made of, each part as canonical JSON (`bench.tuning.rows.Row.context`)."""

    space: Table = Field(alias="search space")
    settings: Table
    code: Annotated[str, AfterValidator(_code)]

    @property
    def fingerprints(self) -> Fingerprints:
        """Those of its code."""
        return _CODE.validate_json(self.code)

    @property
    def parts(self) -> dict[str, str]:
        """Its parts by the names that they have in a study."""
        return self.model_dump(by_alias=True)


class OfStudy(_Said):
    """What bench notes of a study: what it was made of, once it is whole, and the seconds that its row may have."""

    context: Context | None = None
    seconds: Seconds | None = None


class OfTrial(_Said):
    """What bench notes of a trial, and its values as Optuna keeps them."""

    cell: str | None = Field(None, pattern=r"^[0-9a-f]+$")
    void: str | None = None
    own: bool | None = None
    status: str | None = None
    reason: str | None = None
    unreliable: str | None = None
    seconds: Seconds | None = None
    values: list[FiniteFloat] | None = Field(None, min_length=1, max_length=1)
    steps: dict[int, float] = {}


Said = TypeVar("Said", bound=_Said)


def _validated(model: type[Said], content: Mapping[str, Any], whose: str, place: Place) -> Said:
    try:
        return model.model_validate(dict(content))
    except (ValidationError, TypeError) as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else ""
        raise damaged(place, f"{where or 'something'} of {whose} is not what bench writes") from error


def of_study(study: optuna.Study, place: Place) -> OfStudy:
    """Return what is noted of a study.

    Raises:
        UserError: it is not what bench writes.
    """
    with reading(place):
        content, directions = study.user_attrs, study.directions
    if directions != [optuna.study.StudyDirection.MINIMIZE]:
        raise damaged(place, f"the direction of the study {study.study_name} is not what bench writes")
    return _validated(OfStudy, content, f"the study {study.study_name}", place)


def of_trial(
    trial: FrozenTrial, distributions: Mapping[str, BaseDistribution], study: str, place: Place
) -> tuple[OfTrial, FrozenTrial]:
    """Return what is noted of a trial, and the trial, whose values are of these distributions.

    Raises:
        UserError: one of these is not what bench writes.
    """
    whose = f"trial {trial.number} of the study {study}"
    content = {**trial.user_attrs, "values": trial.values, "steps": trial.intermediate_values}
    said = _validated(OfTrial, content, whose, place)
    if trial.state == TrialState.COMPLETE and said.values is None:
        raise damaged(place, f"{whose} is complete and has no value")
    for key, value in trial.params.items():
        ours = distributions.get(key)
        if ours is None or trial.distributions.get(key) != ours or not _among(value, ours):
            raise damaged(place, f"{key} of {whose} is none of the values that are searched")
    return said, trial


def _among(value: Any, distribution: BaseDistribution) -> bool:
    with contextlib.suppress(ValueError, TypeError):
        return distribution._contains(distribution.to_internal_repr(value))
    return False
