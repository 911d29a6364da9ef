"""Files of data sets: found or downloaded, and verified."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.protocol import DataError
from bench.protocol.data import MAY_DOWNLOAD

__all__ = ["fetch", "reason"]


def fetch(
    folder: Path,
    files: Mapping[str, str],
    mirrors: Sequence[str],
    unpacked: Mapping[str, str] | None = None,
    places: Sequence[str] = (),
) -> list[Path]:
    """Return the paths of `files` in `folder`; those that are not there are downloaded.

    A file that is there is used only if its digest is right, and is never overwritten: a wrong one may be the user's,
    so it is an error that says how to have it downloaded again. A download lies in a folder `.download` until its
    digest has been verified and is then renamed, so that half a file never passes for a whole one. Processes that want
    the same folder wait for each other.

    Args:
        folder: where the files lie; it exists.
        files: SHA-256 of each file, by name.
        mirrors: addresses of folders, tried in this order.
        unpacked: SHA-256 of what a file `NAME.gz` holds, by that name: browsers unpack what they download. A file
            `NAME` serves as well.
        places: folders within `folder` into which other libraries put the files, which serve there as well.

    Raises:
        DataError: the folder is missing, a file in it is wrong or unreadable, or no mirror has a right one.
    """
    if not folder.is_dir():
        wrong = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(
            f"the data folder {folder} {wrong}; create it to have the data downloaded into it, or correct --data-dir"
        )
    # all of them: a wrong file is told before any download
    there = {name: _lying(folder, name, sha256, (unpacked or {}).get(name), places) for name, sha256 in files.items()}
    if None not in there.values():
        return [path for path in there.values() if path]
    if not MAY_DOWNLOAD.get():
        lacking = ", ".join(name for name, path in there.items() if path is None)
        raise DataError(f"{folder} lacks {lacking}, and nothing is to be downloaded; {_by_hand(files)}")
    import filelock

    lock = folder / ".download.lock"
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass  # filelock may wait for ever where it cannot write; this says so at once
        with _without_flock(), filelock.FileLock(lock):
            for name, path in there.items():
                if path is None and not _right(folder / name, files[name]):
                    _download(folder / name, files, mirrors)
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise DataError(f"cannot download into {folder} ({reason(error)}); {_by_hand(files)}") from error
    return [path or folder / name for name, path in there.items()]


@contextlib.contextmanager
def _without_flock() -> Iterator[None]:
    """Silence that a lock makes do with its file alone where the file system has no flock."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flock not supported")
        yield


def _lying(folder: Path, name: str, sha256: str, unpacked: str | None, places: Sequence[str]) -> Path | None:
    """Return where a file lies, packed or not; None where it does not.

    Raises:
        DataError: it is there, but wrong.
    """
    for place in (folder, *(folder / place for place in places)):
        for own, digest in ((place / name, sha256), (place / name.removesuffix(".gz"), unpacked)):
            if digest is not None and _right(own, digest):
                return own
    return None


def _right(path: Path, sha256: str) -> bool:
    """Return whether `path` is there with this digest.

    Raises:
        DataError: it is there, but wrong.
    """
    import pooch

    if not path.exists():
        return False
    try:
        digest = pooch.file_hash(str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)})") from error
    if digest != sha256:
        raise DataError(
            f"{path} is truncated or altered: its SHA-256 is {digest}, expected {sha256}; "
            "delete it to have it downloaded again, or put the right file in its place"
        )
    return True


def _download(path: Path, files: Mapping[str, str], mirrors: Sequence[str]) -> None:
    """Download `path` from the first mirror that has it right. The caller holds the folder's lock."""
    import pooch
    import requests

    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=1 << 16,
        # a server that sends a .gz as an encoding would have it unpacked on the way, with another digest
        headers={"Accept-Encoding": "identity"},
    )
    unfinished = path.parent / ".download"
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
    failures = []
    try:
        for mirror in mirrors:
            url = f"{mirror.rstrip('/')}/{path.name}"
            try:
                pooch.retrieve(url, f"sha256:{files[path.name]}", path.name, unfinished, downloader=downloader)
            except requests.RequestException as error:
                failures.append(f"{url}: {_network_reason(error)}")
            except ValueError:  # pooch's word for another digest
                failures.append(f"{url}: not the expected file")
            else:
                downloaded = unfinished / path.name
                downloaded.chmod(0o644)  # pooch leaves it to its owner alone; data folders are shared
                downloaded.replace(path)
                return
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    raise DataError(f"cannot download {path.name} ({'; '.join(failures)}); {_by_hand(files)}")


def _network_reason(error: Exception) -> str:
    import requests
    from urllib3.exceptions import ReadTimeoutError

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    # a transfer that stalls is a connection error to requests, and its cause is named by what that wraps
    stalled = any(isinstance(cause, ReadTimeoutError) for cause in error.args)
    if isinstance(error, requests.Timeout) or stalled:
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "no trusted connection (TLS or its certificate)"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy that is set does not answer"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return reason(error)


def reason(error: Exception) -> str:
    """Return what the system or a library says of an error."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _by_hand(files: Mapping[str, str]) -> str:
    listing = ", ".join(f"{name} (SHA-256 {sha256})" for name, sha256 in files.items())
    return f"fetch these files on a machine that can, and name their folder with --data-dir: {listing}"
