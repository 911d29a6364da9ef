"""Fingerprints of the code that a record depends on: the plugins, and what trains and scores them.

A fingerprint is a SHA-256 over source without comments and docstrings, so that only edits that can change a result
change it. Of a plugin that is a file it covers that file; of one that an installed package offers, all modules of that
package. Of bench it covers fixed rooms, `FIT` and `EVALUATE`, whatever a plugin uses of them. Not covered are:
libraries (a record names the version of torch); the protocol, which computes nothing, and whose settings stand in a
cell's request; how data files are found and downloaded, whose digest stands in a record.

Not every change of code changes a number. Those of bench that were shown to change none stand in `equal.toml`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bench import files
from bench.places import user_folder
from bench.plugins import Plugin, PluginError

__all__ = ["EQUAL", "Fingerprints", "Part", "fingerprints", "of_plugins", "remember", "remembered", "same_numbers"]

Part = Literal["plugin", "fit", "evaluate"]
#: changes of bench that left every number as it was
EQUAL = Path(__file__).parent / "equal.toml"

_BOTH = (
    *("streams", "data", "priors", "samplers", "strategy", "vae"),
    *("networks/__init__", "networks/modules", "energies/__init__", "energies/densities"),
)
_ELSEWHERE = frozenset({"data/downloads.py", "data/flaws.py"})  # of these rooms, and covered by what a record names
# where a statement, an `except` or a `case` holds others
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
#: rooms of bench on which the outcome of training depends
FIT = (*_BOTH, "objectives", "training")
#: those on which a score depends
EVALUATE = (*_BOTH, "estimators")


@dataclass(frozen=True)
class Fingerprints:
    """Three SHA-256, 64 hex digits each.

    Attributes:
        plugin: of the plugins' own code.
        fit: of bench's rooms `FIT`.
        evaluate: of bench's rooms `EVALUATE`.
    """

    plugin: str
    fit: str
    evaluate: str

    def changed(self, now: Fingerprints, equal: bool = True) -> list[Part]:
        """Return what has changed since.

        Args:
            now: fingerprints of the same plugins.
            equal: take the changes of bench that left every number as it was for none.
        """
        parts = [(part, getattr(self, part), getattr(now, part)) for part in get_args(Part)]
        read = same_numbers if equal else str
        return [part for part, before, after in parts if read(before) != read(after)]


def same_numbers(fingerprint: str) -> str:
    """Return one fingerprint, the latest, for all code of bench that gives the same numbers as that with this one."""
    return _equal().get(fingerprint, fingerprint)


@functools.cache
def _equal() -> dict[str, str]:
    """Return what `same_numbers` does, for the fingerprints that `equal.toml` names."""
    same: dict[str, str] = {}
    for change in tomllib.loads(files.read(EQUAL).decode()).get("change", ()):
        for part in ("fit", "evaluate"):
            before, after = (same.get(mark, mark) for mark in change[part])
            same |= {mark: after for mark in (before, *same) if same.get(mark, mark) == before}
    return same


def fingerprints(plugins: Sequence[Plugin], package: Path | None = None) -> Fingerprints:
    """Return the fingerprints of a cell's code, from the files as they are now; no plugin is executed.

    Args:
        plugins: those that the cell uses: its strategy, its data set, ...
        package: the folder of the `bench` package; the one that runs by default.

    Raises:
        PluginError: a plugin's file cannot be read or parsed.
    """
    package = package or Path(__file__).resolve().parents[1]
    return Fingerprints(of_plugins(plugins), _of_rooms(package, FIT), _of_rooms(package, EVALUATE))


def of_plugins(plugins: Sequence[Plugin], executed: bool = False) -> str:
    """Return the fingerprint of plugins' own code.

    Args:
        plugins: those that a cell uses.
        executed: as this process has executed it, where it has; else from the files as they are now.

    Raises:
        PluginError: a plugin's file cannot be read or parsed.
    """
    own: dict[str, str] = {}
    for number, plugin in enumerate(plugins):
        for file in _modules(plugin):
            place = "" if file == plugin.file else f"/{file.relative_to(_outermost(plugin.file))}"
            source = plugin.executed if executed and file == plugin.file else None
            try:
                own[f"{number}/{plugin.kind}{place}"] = _code(files.read(file) if source is None else source)
            except (OSError, SyntaxError, ValueError) as error:
                raise PluginError(f"{file} cannot be read: {type(error).__name__}: {error}") from error
    return _digest(own)


def _modules(plugin: Plugin) -> Iterable[Path]:
    """Return a plugin's own files: that file, or all of the package that an entry point lies in."""
    if plugin.origin == "built-in" or not plugin.target:
        return [plugin.file]
    folder = _outermost(plugin.file)
    return [plugin.file] if folder == plugin.file else sorted({plugin.file, *folder.rglob("*.py")})


def _outermost(file: Path) -> Path:
    """Return the outermost package that a file lies in, or the file itself where it lies in none."""
    place = file
    while (place.parent / "__init__.py").is_file():
        place = place.parent
    return place


def _of_rooms(package: Path, rooms: Sequence[str]) -> str:
    """Return the fingerprint of modules and packages of bench."""
    there = [file for room in rooms for file in (package / f"{room}.py", *(package / room).rglob("*.py"))]
    places = {file.relative_to(package).as_posix(): file for file in there if file.is_file()}
    contents = {place: file.read_bytes() for place, file in sorted(places.items()) if place not in _ELSEWHERE}
    read = hashlib.sha256()
    for place, content in contents.items():
        read.update(b"%s\0%d\0%s" % (os.fsencode(place), len(content), content))
    if (key := read.hexdigest()) not in _rooms:
        _rooms[key] = _kept(key) or _keep(key, _digest({place: _code(code) for place, code in contents.items()}))
    return _rooms[key]


def _kept(key: str) -> str:
    """Return a fingerprint that an earlier command kept in this user's cache, which spares it to parse; or nothing."""
    with contextlib.suppress(OSError, ValueError):
        fingerprint, _, seal = files.read(_place(key)).decode("ascii").partition(" ")
        return fingerprint if seal == _seal(key, fingerprint) else ""
    return ""


def _keep(key: str, fingerprint: str) -> str:
    with contextlib.suppress(OSError), files.replacing(_place(key), durable=False) as file:
        file.write(f"{fingerprint} {_seal(key, fingerprint)}".encode())
    return fingerprint


def _seal(key: str, fingerprint: str) -> str:
    return files.sha256(f"{key} {fingerprint}".encode())


def _place(key: str) -> Path:
    # how a fingerprint is made from the files is this file's, and Python's
    made = files.sha256(Path(__file__).read_bytes() + sys.version.encode() + key.encode())
    return user_folder("cache") / "rooms" / made


_rooms: dict[str, str] = {}  # SHA-256 of the files of rooms, as they were read -> their fingerprint


def remembered() -> dict[str, str]:
    """Return what this process knows of rooms: a worker need not parse them again, which takes longer than to start."""
    return dict(_rooms)


def remember(rooms: Mapping[str, str]) -> None:
    """Take over what another process knows of rooms."""
    _rooms.update(rooms)


def _digest(texts: dict[str, str]) -> str:
    """Return the SHA-256 of named texts, whatever their order."""
    return hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in sorted(texts.items())).encode()).hexdigest()


@functools.lru_cache(maxsize=1024)
def _code(content: bytes) -> str:
    """Return a file's code without comments and docstrings."""
    tree = ast.parse(content)
    nodes: list[ast.AST] = [tree]
    while nodes:  # statements alone, for no expression holds any; every command and worker does this, and so quickly
        node = nodes.pop()
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # any text that stands alone is a docstring, of an attribute too; an empty body would not be code
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
        for block in _BLOCKS:
            nodes += getattr(node, block, ())
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
