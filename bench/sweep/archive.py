"""A run store as one file, for a colleague: its records, what lies beside them, its plan, and logs of failed cells.

It is a zip file of the store's own names (`bench.sweep.store`), in one order and of one date, so that the same store
gives the same bytes. `manifest.json` names them with their SHA-256. Trained models, which are tensors alone, are in it
where they are asked for. Nothing is in it that could be executed or gone on with: no checkpoints, attempts, launches or
data.

An archive may come from a stranger. It is read whole and checked beside its place, then moved there, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench import profile
from bench.files import MOST, creating, json_bytes, read, sha256
from bench.protocol import UserError
from bench.sweep import states
from bench.sweep.record import FAILED, CorruptRecord, Name, Record, Sha256, explained
from bench.sweep.seal import sealed, unsealed
from bench.sweep.store import BESIDE, Store, file_beside
from bench.words import is_name, plain, shortened

SCHEMA = 1
MANIFEST = "manifest.json"
MOST_FILES, MOST_BYTES = 500_000, 16 << 30  # of an archive, unpacked; a file has `files.MOST` bytes at most
_PLANS = ("grid.json", "extended.json")
_NAME = re.compile(
    r"cells/(?P<cell>[^/]+)/(?:(?P<kind>record|curves|arrays)-(?P<key>[0-9a-f]{16})(?:-[0-9a-f]{64})?\.(?:json|npz)"
    r"|log-(?P<attempt>[1-9][0-9]{0,18})\.txt"
    r"|(?P<workspace>[0-9a-f]{8}-[0-9a-f]{8})/state-[0-9a-f]{64}\.pt)"
)
_DATE = (1980, 1, 1, 0, 0, 0)
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError),
    *(struct.error, OverflowError),
)


class _Manifest(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    archive: Literal[1]
    grid: Name
    files: dict[str, Sha256]


@dataclass(frozen=True)
class Copied:
    """What was exported or imported.

    Attributes:
        place: the archive, or the folder of the run store.
        grid: the name of the grid.
        records: how many.
        notes: what was left out and why, one sentence each.
    """

    place: Path
    grid: str
    records: int
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- writing


def pack(store: Store, path: Path, models: bool = False) -> Copied:
    """Write the archive of a store; what is damaged in it is left out.

    Args:
        store: the store.
        path: of the archive.
        models: whether the trained models are in it, too.

    Raises:
        UserError: there is no such store, it holds no record, or the archive exists already or cannot be written.
    """
    if not store.folder.is_dir():
        raise UserError(f"there is no run store {store.folder}")
    if os.path.lexists(path):
        raise UserError(f"{path} exists already and is not overwritten; give another file")
    records, notes = 0, list[str]()
    grids: set[str] = set()
    digests: dict[str, str] = {}
    try:
        with creating(path) as file, zipfile.ZipFile(file, "w") as archive:
            for name, content, record in _contents(store, notes, models):
                records += record is not None
                grids |= {record.grid} if record else set()
                digests[name] = sha256(content)
                _add(archive, name, content)
            if not records:
                raise UserError(f"{store.folder} is no run store with records")
            if len(digests) > MOST_FILES or sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
                raise UserError(f"{store.folder} cannot be exported: it holds more than {_limits()}")
            own = store.folder.name if is_name(store.folder.name) else "imported"
            grid = next(iter(grids)) if len(grids) == 1 else own
            manifest = _Manifest(archive=1, grid=grid, files=digests)
            _add(archive, MANIFEST, sealed(json_bytes(manifest.model_dump())))
    except OSError as error:
        if os.path.lexists(path):  # made meanwhile
            raise UserError(f"{path} exists already and is not overwritten; give another file") from None
        raise UserError(f"{path} cannot be written ({error.strerror or error})") from None
    return Copied(path, grid, records, tuple(notes))


def _limits() -> str:
    return f"{MOST_FILES:,} files, {MOST_BYTES >> 30} GiB, or {MOST >> 30} GiB a file"


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # as on Unix, wherever it is written
    # arrays are compressed already
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".npz") else zipfile.ZIP_DEFLATED
    archive.writestr(info, content, compresslevel=6)


def _contents(store: Store, notes: list[str], models: bool) -> Iterator[tuple[str, bytes, Record | None]]:
    """Give name and content of each file, and the record where it is one."""
    trained = dict[str, str]()  # records that were scored in several ways share a model
    for name in _PLANS:
        try:
            unsealed(content := read(store.folder / name))
            yield name, content, None
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            notes.append(f"left out: {store.folder / name}, which cannot be read: {error}")
    for cell, key, record in store.scan():
        path = store.record_path(cell, key)
        if isinstance(record, CorruptRecord):
            notes.append(f"left out: {path}, which is no record: {record}")
            continue
        with contextlib.suppress(FileNotFoundError):  # set aside since, for a cell that is carried out again
            yield f"cells/{cell}/{path.name}", read(path), record
            for kind in BESIDE:
                place = store.place(record, key, kind)
                try:
                    beside = store.beside(record, key, kind)
                except CorruptRecord as reason:
                    notes.append(f"left out: {place}: {reason}")
                else:
                    if beside is not None:
                        yield f"cells/{cell}/{place.name}", beside, None
            if models and (own := states.place(record)):
                trained[own] = record.digests[states.STEM]
            if record.status in FAILED:
                log = store.log(cell, record.attempt)
                try:
                    yield f"cells/{cell}/{log.name}", read(log, follow=False), None
                except FileNotFoundError:
                    pass  # it printed nothing
                except OSError as error:
                    notes.append(f"left out: {log}, which cannot be read: {error.strerror or error}")
    for own, digest in trained.items():
        try:
            content = read(store.folder / "cells" / own)
        except OSError as error:
            notes.append(f"left out: {store.folder / 'cells' / own}, which cannot be read: {error.strerror or error}")
            continue
        if sha256(content) == digest:
            yield f"cells/{own}", content, None
        else:
            notes.append(f"left out: {store.folder / 'cells' / own}: it is cut short or altered")


# ---------------------------------------------------------------- reading


def unpack(path: Path, folder: Path | None = None) -> Copied:
    """Make a run store of an archive: a new one, which counts as a stranger's.

    Args:
        path: of the archive.
        folder: of the store; by default the one of the grid's name among the user's.

    Raises:
        UserError: the archive cannot be read, is not what was written, or holds what is none of a store's; or there is
            something in the folder already, or it cannot be written.
    """
    with _opened(path) as archive:
        members, manifest = _members(archive, path)
        target = Path(os.path.abspath(folder or profile.stores() / manifest.grid))
        staging = target.parent / f".import-{secrets.token_hex(8)}.part"
        try:
            if os.path.lexists(target) and (target.is_symlink() or not target.is_dir() or any(target.iterdir())):
                raise UserError(f"there is something at {target} already and is not overwritten; give another store")
            staging.mkdir(parents=True)
            size, room = sum(info.file_size for info in members.values()), shutil.disk_usage(staging).free
            if size > room:
                raise UserError(f"{path} needs {size:,} bytes in {target.parent}, and {room:,} are free")
            records = _write(archive, members, manifest.files, path, staging)
            staging.rename(target)
        except OSError as error:
            raise UserError(f"{target} cannot be written ({error.strerror or error})") from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return Copied(target, manifest.grid, records)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with contextlib.ExitStack() as stack:
        try:
            # nothing is waited for, as at a named pipe
            file = stack.enter_context(open(path, "rb", opener=lambda name, way: os.open(name, way | os.O_NONBLOCK)))
        except FileNotFoundError:
            raise UserError(f"there is no file {path}") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UserError(f"{path} is not a file")
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
        except _UNREADABLE as error:
            raise _not_one(path, str(error)) from None
        yield archive


def _not_one(path: Path, why: str) -> UserError:
    return UserError(f"{path} is no export of a run store: {shortened(plain(why), 300)}")


def _members(archive: zipfile.ZipFile, path: Path) -> tuple[dict[str, zipfile.ZipInfo], _Manifest]:
    """Return the files of an archive by name, and its manifest; all that their headers tell is checked.

    Raises:
        UserError: something is wrong.
    """
    listing = archive.infolist()
    size, largest = sum(info.file_size for info in listing), max((info.file_size for info in listing), default=0)
    if len(listing) > MOST_FILES + 1 or size > MOST_BYTES or largest > MOST:
        raise _not_one(path, f"it holds more than {_limits()}, unpacked")
    if min((info.header_offset for info in listing), default=0) > 0:  # what lists these files is in one of an export's
        raise _not_one(path, "it is cut short")
    members = {info.filename: info for info in listing}
    if len(members) < len(listing):
        raise _not_one(path, "a name is in it twice")
    for name, info in members.items():
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG) or info.is_dir():
            raise _not_one(path, f"{name} is not a plain file")
        if name not in (MANIFEST, *_PLANS) and not ((match := _NAME.fullmatch(name)) and is_name(match["cell"])):
            raise _not_one(path, f"{name} is none of the files of a run store")
    if MANIFEST not in members:
        raise _not_one(path, f"it has no {MANIFEST}")
    try:
        table = unsealed(_content(archive, members.pop(MANIFEST)))
        if table.get("archive") != SCHEMA:
            raise _not_one(path, f"its schema is {table.get('archive')!r}; {SCHEMA} is what this version reads")
        manifest = _Manifest.model_validate(table)
    except ValidationError as error:
        raise _not_one(path, f"{MANIFEST}: {explained(error)}") from None
    except _UNREADABLE as error:
        raise _not_one(path, f"{MANIFEST}: {error}") from None
    if lacking := [*(manifest.files.keys() ^ members.keys())]:
        raise _not_one(path, f"{min(lacking)} is in it or in its {MANIFEST} alone")
    return members, manifest


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return what a member holds, of which no more is unpacked than its header says."""
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is encrypted, or compressed in an unusual way")
    with archive.open(info) as file:
        content = file.read(info.file_size)
    if len(content) != info.file_size:
        raise ValueError("it is cut short")
    return content


def _write(
    archive: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    digests: Mapping[str, str],
    path: Path,
    folder: Path,
) -> int:
    """Write the members into a new folder, once each is checked; return how many records there are.

    Raises:
        UserError: one is not what was written, or belongs to no record.
        OSError: they cannot be written.
    """
    records: dict[tuple[str, str], Record] = {}
    logs: set[tuple[str, int]] = set()
    models: set[str] = set()
    for name in sorted(members, key=lambda name: ("/record-" not in name, name)):  # by which the others are checked
        try:
            content = _content(archive, members[name])
            if sha256(content) != digests[name]:
                raise ValueError(f"its SHA-256 is not the one in {MANIFEST}")
            match = _NAME.fullmatch(name)
            if match is None:
                unsealed(content)
            elif match["kind"] == "record":
                record = Record.read(content, match["cell"])
                if name.rpartition("/")[2] != f"record-{match['key']}.json":
                    raise ValueError("it has no name of a record")
                records[match["cell"], match["key"]] = record
                logs |= {(record.cell, record.attempt)} if record.status in FAILED else set()
                models |= {f"cells/{states.place(record)}"}
            elif match["attempt"]:
                if (match["cell"], int(match["attempt"])) not in logs:
                    raise ValueError("it belongs to no record of a failed cell")
            elif match["workspace"]:
                if name not in models or f"-{digests[name]}." not in name:
                    raise ValueError("no record was scored from it")
            else:
                _check_beside(name, match, digests[name], records.get((match["cell"], match["key"])))
        except (*_UNREADABLE, CorruptRecord) as error:
            raise UserError(f"{path} is damaged or forged: {plain(name)}: {plain(str(error))}") from None
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "xb") as file:  # not on disk for certain, but every file says what it should hold
            file.write(content)
    return len(records)


def _check_beside(name: str, match: re.Match[str], digest: str, record: Record | None) -> None:
    """Check that a record names a file beside it; one of schema 1 says nothing of what lies there.

    Raises:
        ValueError: it does not.
    """
    kind, key = match["kind"], match["key"]
    names = {f"{kind}-{key}.{BESIDE[kind]}", file_beside(kind, key, digest)}
    own = record and (record.digests.get(kind) or (digest if record.format == 1 else None))
    if own != digest or name.rpartition("/")[2] not in names:
        raise ValueError("no record says that it lies beside it")
