"""Example plugins: files that work, to be changed into one's own. Nothing here imports torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bench import files
from bench.plugins import Kind, Registry
from bench.protocol import UserError

FOLDERS: Mapping[Kind, str] = {"strategy": "strategies", "dataset": "datasets"}
WORDS: Mapping[Kind, str] = {"strategy": "strategy", "dataset": "data set"}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write(kind: Kind, name: str, folder: Path) -> Path:
    """Write the example of a kind as `FOLDER/strategies/NAME.py` or `FOLDER/datasets/NAME.py`, and return its path.

    Args:
        kind: `strategy` or `dataset`.
        name: words of small letters and digits, with `-` or `_` between them.
        folder: what `--plugins` takes; it is made where it does not exist.

    Raises:
        UserError: the name is no plugin's name or has been claimed, the file exists, or it cannot be written.
    """
    plain = name.replace("_", "-")
    if not NAME.fullmatch(plain):
        raise UserError(
            f'"{name}" is no name for a {WORDS[kind]}; allowed are words of small letters and digits, the first of '
            "them a letter, with - between them: my-idea"
        )
    file = folder.expanduser() / FOLDERS[kind] / f"{plain.replace('-', '_')}.py"
    if file.exists():
        raise UserError(f"{file} exists already and is left as it is; give another name, or delete it first")
    registry = Registry()
    if plain in registry.names(kind):
        raise UserError(
            f'the {WORDS[kind]} name "{plain}" is claimed by {registry.find(kind, plain).file}; give another name'
        )
    source = (Path(__file__).parent / "templates" / f"{kind}.py").read_text(encoding="utf-8")
    source = source.replace("class Example(", f"class {''.join(map(str.capitalize, plain.split('-')))}(")
    try:
        with files.creating(file) as out:
            out.write(source.encode())
    except FileExistsError as error:  # also a file where the folder should be
        raise UserError(f"{error.filename} exists already and is left as it is; give another name") from error
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror})") from error
    return file
