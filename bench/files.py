"""Files that are never half written: a temporary file in the same folder, fsync, then a rename or a link."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends, and leaves `path` alone if it fails."""
    with _complete(path) as (file, temporary):
        yield file
        _sync(file)
        os.replace(temporary, path)


@contextlib.contextmanager
def creating(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that becomes `path` when the block ends.

    Raises:
        FileExistsError: `path` exists already; it is left as it was, also when two processes race.
    """
    with _complete(path) as (file, temporary):
        yield file
        _sync(file)
        os.link(temporary, path)  # unlike a rename, a link never replaces: exactly one of two racers wins


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _complete(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = str(path.with_name(f".{path.name}.{secrets.token_hex(8)}.part"))
    try:
        # not mkstemp: its files are for their owner alone, and stores and caches are shared
        with open(temporary, "xb") as file:
            yield file, temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
