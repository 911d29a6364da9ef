"""Files that are never half written, and files that are known to be what was written.

The first are made by a temporary file in the same folder, fsync, then a rename or a link. The second have the SHA-256
of their contents in their name, `STEM-<64 hex digits>.pt`, so that one that was cut short or altered does not pass.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

MOST, ANY = 1 << 30, 1 << 62  # bytes of a file that is read whole; the second, of states
_LOOKS = 3  # at a folder in which files go
PAUSES = (0.05, 0.2)  # seconds before what could not be read is tried again
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK)
_SEALED = re.compile(r"(?P<stem>.+)-(?P<sha256>[0-9a-f]{64})\.pt")


class Damaged(Exception):
    """A file does not hold what was written; one sentence."""


class NoFile(OSError):
    """What lies there is no file that was written: a folder, a pipe, a link to itself, or one of far too many bytes."""


class Unread(OSError):
    """What may well be as it was written cannot be read, nor could it be when that was tried again."""


@contextlib.contextmanager
def replacing(path: str | Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends, and leaves `path` alone if it fails.

    Args:
        path: the file.
        durable: it is whole even after a loss of power; else only whatever becomes of this process.
    """
    with _complete(path) as (file, temporary):
        yield file
        if durable:
            _sync(file)
        else:
            file.flush()
        os.replace(temporary, path)


@contextlib.contextmanager
def creating(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file that becomes `path` when the block ends.

    Raises:
        FileExistsError: `path` exists already; it is left as it was, also when two processes race.
    """
    with _complete(path) as (file, temporary):
        yield file
        _sync(file)
        try:
            os.link(temporary, path)  # unlike a rename, a link never replaces: exactly one of two racers wins
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Samba, exFAT, mounts of object stores; who dies between these two leaves an empty file, which is no record
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            os.replace(temporary, path)
        else:
            os.unlink(temporary)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _complete(path: str | Path) -> Iterator[tuple[IO[bytes], str]]:
    folder, name = os.path.split(path)
    folder = folder or "."
    if not os.path.isdir(folder):
        os.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/.{name}.{secrets.token_hex(8)}.part"
    try:
        # not mkstemp: its files are for their owner alone, and stores and caches are shared
        with open(temporary, "x+b") as file:
            yield file, temporary
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk is reported without one, and the reader has to know which
        raise


def read(path: str | Path, most: int = MOST, follow: bool = True) -> bytes:
    """Return what a file holds; nothing is waited for, as at a named pipe.

    Args:
        path: the file.
        most: bytes that it may hold.
        follow: read what a link leads to, too; else a link is none.

    Raises:
        NoFile: it is no file, or holds more than `most` bytes.
        OSError: it cannot be read.
    """
    way = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        number = os.open(path, way)
    except OSError as error:
        if error.errno == errno.ELOOP or Path(path).is_socket():
            raise NoFile(error.errno, error.strerror, str(path)) from error
        raise
    try:
        status = os.fstat(number)
        if stat.S_ISDIR(status.st_mode):
            raise NoFile(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise NoFile(errno.EINVAL, "it is not a file", str(path))
        if status.st_size > most:
            raise NoFile(errno.EFBIG, f"it holds more than {most:,} bytes", str(path))
        with open(number, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        error.filename = str(path)  # the system knows its number alone
        raise
    finally:
        os.close(number)


def read_patiently(path: str | Path, most: int = MOST) -> bytes:
    """Return what a file holds, as `read` does; an error that may pass, as of a network, is waited out for a moment.

    Raises:
        FileNotFoundError: it is not there.
        NotADirectoryError: nor is its folder.
        NoFile: it is no file, or holds more than `most` bytes.
        Unread: it cannot be read, which says nothing of what it holds.
    """
    pauses = list(PAUSES)
    while True:
        try:
            return read(path, most)
        except (FileNotFoundError, NotADirectoryError, NoFile):
            raise
        except OSError as error:
            if not pauses or isinstance(error, PermissionError):
                raise Unread(error.errno, error.strerror or str(error), str(path)) from error
        time.sleep(pauses.pop(0))


def parsed(content: bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_bytes(content: Any) -> bytes:
    """Return JSON for a file; a number that is not finite stands as `"NaN"`, `"Infinity"` or `"-Infinity"`.

    Raises:
        ValueError: a text in it is no Unicode, or a value of no plain type.
    """
    from pydantic_core import to_json  # what writes nothing is quicker without it

    return to_json(content, indent=1, inf_nan_mode="strings") + b"\n"  # six times as quick as json.dumps


def json_text(content: Any) -> str:
    """Return the same JSON in ASCII, of any text: for a screen, and for paths of the system's own making."""
    return json.dumps(finite(content), indent=1, allow_nan=False)


def finite(content: Any) -> Any:
    """Return plain content with the words of `json_bytes` in the place of numbers that are not finite."""
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    return [finite(value) for value in content] if isinstance(content, list | tuple) else content


def set_aside(path: Path, suffix: str) -> Path:
    """Rename a file to `STEM.SUFFIX`, or to `STEM.2.SUFFIX`, ... where that exists; return its new path."""
    target, number = path.with_name(f"{path.stem}.{suffix}"), 1
    while target.exists():  # nothing is lost, not even what was set aside before
        number += 1
        target = path.with_name(f"{path.stem}.{number}.{suffix}")
    path.rename(target)
    return target


def listing(folder: str | Path) -> list[str]:
    """Return the names in a folder; none where there is no such folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


# ---------------------------------------------------------------- a seal within a file

SEAL = "priorbench.sha256"


def placeholder() -> str:
    """Return 64 hex digits that stand in a file, once and at a place of its own choice, until `fill` takes it."""
    return secrets.token_hex(32)


def fill(file: IO[bytes], unfilled: str) -> None:
    """Put the SHA-256 of a file, as it is with zeros in the place of the `placeholder`, into that place."""
    file.flush()
    file.seek(0)
    content = file.read()
    start = content.rindex(unfilled.encode())
    blank = content[:start] + b"0" * 64 + content[start + 64 :]
    file.seek(start)
    file.write(sha256(blank).encode())
    file.seek(0, os.SEEK_END)


def check_seal(content: bytes, seal: bytes) -> None:
    """Check the SHA-256 that `fill` put into a file.

    Raises:
        Damaged: it is another's.
    """
    start = content.rfind(seal)
    if len(seal) != 64 or start < 0 or sha256(content[:start] + b"0" * 64 + content[start + 64 :]).encode() != seal:
        raise Damaged("it is cut short or altered: its SHA-256 is not the one in it")


def sha256(content: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def save_tensors(folder: Path, stem: str, content: Mapping[str, Any]) -> Path:
    """Write tensors and plain types as `STEM-<sha256>.pt`, which `torch.load(weights_only=True)` reads."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    path = folder / f"{stem}-{sha256(buffer.getbuffer())}.pt"
    with replacing(path) as file:
        file.write(buffer.getbuffer())
    return path


def load_tensors(path: Path, device: Any = "cpu") -> dict[str, Any]:
    """Return what `save_tensors` wrote, with its tensors on `device`.

    Raises:
        Damaged: the file is not what was written.
        OSError: as of `read_patiently`.
    """
    import torch

    name, content = _SEALED.fullmatch(path.name), read_patiently(path, ANY)
    if name is None or sha256(content) != name["sha256"]:
        raise Damaged(f"{path} is cut short or altered: its SHA-256 is not the one in its name")
    loaded: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    return loaded


def sealed(folder: Path, stem: str = "") -> list[Path]:
    """Return the files of `save_tensors` in a folder whose stem begins like this, the last by name first."""
    names = os.listdir(folder) if folder.is_dir() else []
    ours = [name for name in names if (match := _SEALED.fullmatch(name)) and match["stem"].startswith(stem)]
    return [folder / name for name in sorted(ours, reverse=True)]


def latest(
    folder: Path, stem: str, note: Callable[[str], None], then: str, device: Any = "cpu"
) -> tuple[Path, dict[str, Any]] | None:
    """Return the last intact file of `save_tensors` in a folder and what it holds, or None where there is none.

    Those after it, which are damaged or no files, are set aside. One that goes meanwhile is passed over: whoever else
    is at work there may have put a later one in its place, for which it is looked again.

    Args:
        folder: where they lie.
        stem: what theirs begins with.
        note: takes a sentence for each that is set aside.
        then: what comes of it, the end of that sentence.
        device: of the tensors.

    Raises:
        Unread: one cannot be read, and may be what was written.
        OSError: one cannot be set aside.
    """
    for _ in range(_LOOKS):
        gone = False
        for path in sealed(folder, stem):
            try:
                try:
                    return path, load_tensors(path, device)
                except (Damaged, NoFile) as error:
                    aside = set_aside(path, "corrupt")
                    note(f"{error}; it is set aside as {aside.name}, and {then}")
            except FileNotFoundError:
                gone = True
        if not gone:
            break
    return None
