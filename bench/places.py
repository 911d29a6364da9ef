"""Places in the file system as a user names them: what a path stands for, folders of the user's own, and the grids."""

from __future__ import annotations

import contextlib
import hashlib
import os
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


def _here(what: str) -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise UserError(f"{what} is relative to the working directory, which is gone ({error.strerror})") from error


def user_folder(kind: Literal["cache", "config"]) -> Path:
    """Return the folder for what is kept for this user; it need not exist.

    Where no home is known, it is one for this user among the temporary files.
    """
    from platformdirs import user_cache_path, user_config_path

    with contextlib.suppress(RuntimeError):  # earlier versions give a path that begins with `~`
        folder = user_cache_path("priorbench") if kind == "cache" else user_config_path("priorbench")
        if folder.is_absolute():
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


def remember(kind: Kind, path: Path) -> None:
    """Keep that this user has named a plugin's FILE or has run a store, so that another command may take it up.

    Raises:
        OSError: that cannot be kept.
    """
    with files.replacing(_receipt(kind, path)) as file:
        file.write(os.fsencode(f"{kind} {path.resolve()}\n"))


def remembered(kind: Kind, path: Path) -> bool:
    """Tell whether `remember` has been called; of a store, of this folder, and not of another one in its place."""
    with contextlib.suppress(OSError):
        return _receipt(kind, path).is_file()
    return False


def forget_store(path: Path, content: Path) -> None:
    """Take back that this user has run a store at `path`, for a folder that is to be moved there.

    A new folder may have the number of one that is gone.

    Raises:
        OSError: that cannot be taken back.
    """
    _receipt("store", path, content).unlink(missing_ok=True)


def _receipt(kind: Kind, path: Path, content: Path | None = None) -> Path:
    place = path.resolve()
    mark = f"{kind}\0{place}\0{(content or place).stat().st_ino if kind == 'store' else ''}"
    return user_folder("cache") / "named" / hashlib.sha256(os.fsencode(mark)).hexdigest()
