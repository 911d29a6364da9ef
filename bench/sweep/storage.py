"""The storage under a run store: whether it can be written, and whether what went wrong is its fault."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.files import Unread, replacing

_ROOM = 1 << 16  # bytes that a store has to take
#: what the system says of storage, whoever writes
_STORAGE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV}
    # of a network between
    | {errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTDOWN, errno.EHOSTUNREACH}
    | {errno.ENETDOWN, errno.ENETUNREACH, errno.ESHUTDOWN}
)


class StoreError(Exception):
    """The run store cannot be written or read; one sentence, and the system's number for it."""

    def __init__(self, sentence: str, number: int | None = None) -> None:
        super().__init__(sentence)
        self.errno = number


class Storage:
    """The storage of a run store's folder.

    Args:
        folder: absolute.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check_writable(self) -> None:
        """Make the store's folder and a file in it.

        Raises:
            StoreError: that is impossible.
        """
        with self.writing(), replacing(self.folder / ".writable") as file:
            file.write(b"")
        with self.writing():
            (self.folder / ".writable").unlink(missing_ok=True)

    def blame(self, error: BaseException, folder: Path) -> None:
        """Tell an error of the storage under this store from one of whoever ran into it.

        Args:
            error: that ended an attempt.
            folder: in which the attempt wrote.

        Raises:
            StoreError: it is the storage's, or there is no room any more.
        """
        seen: set[int] = set()
        cause: BaseException | None = error
        while cause and id(cause) not in seen:
            seen.add(id(cause))
            place = getattr(cause, "filename", None)
            ours = isinstance(place, str | os.PathLike) and Path(place).is_relative_to(self.folder)
            if ours and (isinstance(cause, Unread) or (isinstance(cause, OSError) and cause.errno in _STORAGE)):
                raise self._error(cause)
            cause = cause.__cause__ or cause.__context__
        try:  # libraries write in C++, and their errors bear no number
            self._probe(folder)
        except OSError as trouble:
            if trouble.errno in _STORAGE:
                raise self._error(trouble) from error

    def demand_read(self, reason: Exception) -> None:
        """Tell a file that cannot be read from one that was read and is not what was written.

        Args:
            reason: why it is taken for none.

        Raises:
            StoreError: its cause is that it cannot be read.
        """
        if isinstance(reason.__cause__, Unread):
            raise self._error(reason.__cause__) from reason

    def at_fault(self, folder: Path, number: int | None) -> bool:
        """Tell whether nobody can write the store, where a worker could not.

        Args:
            folder: of the worker's cell.
            number: what the system told it.
        """
        if number is None or number in _STORAGE:
            return True
        if number == errno.EFBIG and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
            return True  # files may not be larger wherever the user's shell starts them
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._probe(folder)
        except OSError:
            return True
        return False

    def _probe(self, folder: Path) -> None:
        """Write a file of some size into a folder of the store, and delete it."""
        path = (folder if folder.is_dir() else self.folder) / f".probe.{os.getpid()}.part"
        try:
            with open(path, "wb", buffering=0) as file:
                rest = memoryview(bytes(_ROOM))
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
        finally:
            with contextlib.suppress(OSError):
                path.unlink()

    @functools.cached_property
    def ahead(self) -> float:
        """Seconds by which the clock of its file system is ahead of ours; 0 where that cannot be told."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                return os.fstat(file.fileno()).st_mtime - time.time()
        except OSError:
            return 0.0

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Take what goes wrong in a block that writes for trouble of the store, as a StoreError."""
        return self._trouble("written")

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Take what goes wrong in a block that reads for trouble of the store, as a StoreError."""
        return self._trouble("read")

    @contextlib.contextmanager
    def _trouble(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error, done) from error

    def _error(self, error: OSError, done: str = "written") -> StoreError:
        done = "read" if isinstance(error, Unread) else done
        reason = error.strerror or str(error)
        place = f"{reason}: {error.filename}" if error.filename else reason
        return StoreError(f"the run store {self.folder} cannot be {done} ({place})", error.errno)
