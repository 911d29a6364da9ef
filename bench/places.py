"""Places in the file system as a user names them: what a path stands for, folders of the user's own, and the grids."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Literal

from bench import files
from bench.words import UserError, plain, shortened

_LONGEST = 255  # bytes of one part of a path, and so many of these in all
_MOST = 4095


def absolute(path: str | os.PathLike[str], what: str, home: Path | None = None) -> Path:
    """Return the absolute path that a user means, `~` expanded; links are not followed.

    Args:
        path: as it was given.
        what: what an error calls it: `--store`, `the grid`.
        home: the folder that it is relative to; by default the working directory.

    Raises:
        UserError: it is empty, cannot be a path, or begins with `~` of nobody whose home is known.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"{what} is {shortened(repr(path), 200)}; give the path of a file or folder")
    text = os.fspath(path)
    said = plain(shortened(text, 200))
    if not text or "\0" in text:
        wrong = f"{said}, which is no path" if text else "empty"
        raise UserError(f"{what} is {wrong}; give the path of a file or folder")
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text:
        raise UserError(f"{what} is {said}, and the home folder of {said.partition('/')[0]} is not known; write it out")
    whole = os.fsencode(os.path.join(home or _here(what), expanded))
    if len(whole) > _MOST or any(len(part) > _LONGEST for part in whole.split(b"/")):
        raise UserError(f"{what} is {said}, which is too long for a path")
    return Path(os.fsdecode(whole))


def resolved(path: Path, what: str) -> Path:
    """Return a path with its links followed, whether there is something or not.

    Args:
        path: of any kind.
        what: what an error calls it.

    Raises:
        UserError: its links lead round in a circle, for which versions of Python have errors of their own, or none.
    """
    real = os.path.realpath(path)
    try:
        os.stat(real)
    except OSError as error:
        if error.errno == errno.ELOOP:
            said = plain(shortened(str(path), 200))
            raise UserError(f"{what} is {said}, and its links lead round in a circle") from error
    return Path(real)


def existing(path: str | os.PathLike[str], what: str) -> Path:
    """Return the absolute path of the file that a user means, its links followed.

    Args:
        path: as it was given.
        what: what an error calls it.

    Raises:
        UserError: it is not there, or is no file: a folder, a device, a pipe.
    """
    file, said = resolved(absolute(path, what), what), plain(shortened(os.fspath(path), 200))
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{what} {said} does not exist") from error
    except OSError as error:
        raise UserError(f"{what} {said} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{what} {said} is {'a folder' if stat.S_ISDIR(mode) else 'a device or a pipe'}, not a file")
    return file


def _here(what: str) -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise UserError(f"{what} is relative to the working directory, which is gone ({error.strerror})") from error


def user_folder(kind: Literal["cache", "config"]) -> Path:
    """Return the folder for what is kept for this user; it need not exist.

    Where no home is known, it is one for this user among the temporary files.

    Raises:
        UserError: its links, or those of what the environment names, lead round in a circle: libraries crash on it.
    """
    from platformdirs import user_cache_path, user_config_path

    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        if named := os.environ.get(variable):
            resolved(absolute(named, variable), variable)
    with contextlib.suppress(RuntimeError):  # earlier versions give a path that begins with `~`
        folder = user_cache_path("priorbench") if kind == "cache" else user_config_path("priorbench")
        if folder.is_absolute():
            resolved(folder, f"the user's {kind} folder")
            return folder
    temporary = Path(tempfile.gettempdir(), f"priorbench-{os.getuid()}")
    try:
        temporary.mkdir(mode=0o700, exist_ok=True)
        if temporary.is_symlink() or temporary.stat().st_uid != os.getuid():  # somebody else has put it there
            temporary = Path(tempfile.mkdtemp(prefix="priorbench-"))
    except OSError:
        pass  # whoever writes there will say so
    return temporary / kind


GRIDS = Path(__file__).with_name("grids")


def embedded() -> list[str]:
    """Return the names of the grids that come with `bench`."""
    return sorted(file.stem for file in GRIDS.glob("*.toml"))


# ---------------------------------------------------------------- what this user has named

Kind = Literal["plugin", "store"]


TOKEN = "token"  # in a run store: what no other one has


def remember(kind: Kind, path: Path) -> None:
    """Keep that this user has named a plugin's FILE or has run a store, so that another command may take it up.

    Raises:
        OSError: that cannot be kept.
        UserError: its links lead round in a circle.
    """
    place = resolved(path, f"the {kind}")
    if kind == "store" and not _token(path):
        with contextlib.suppress(FileExistsError), files.creating(path / TOKEN) as file:
            file.write(secrets.token_hex(32).encode())
    with files.replacing(_receipt(kind, path)) as file:
        file.write(os.fsencode(f"{kind} {place}\n"))


def remembered(kind: Kind, path: Path) -> bool:
    """Tell whether `remember` has been called; of a store, of this folder, and not of another one in its place."""
    with contextlib.suppress(OSError, UserError):
        return (kind == "plugin" or bool(_token(path))) and _receipt(kind, path).is_file()
    return False


def _token(store: Path) -> bytes:
    """Return what a run store has that a copy of another one in its place has not; nothing where it has none."""
    with contextlib.suppress(OSError):
        return files.read(store / TOKEN, 1000, follow=False)
    return b""


def _receipt(kind: Kind, path: Path) -> Path:
    place = resolved(path, f"the {kind}")
    mark = os.fsencode(f"{kind}\0{place}\0")
    if kind == "store":
        mark += f"{place.stat().st_ino}\0".encode() + _token(place)
    return user_folder("cache") / "named" / hashlib.sha256(mark).hexdigest()
