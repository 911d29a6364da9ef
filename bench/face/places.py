"""Where plugins and data lie, as a caller in Python names them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import contracts
from bench.face.values import listing
from bench.places import absolute, resolved
from bench.plugins import Registry, is_file
from bench.plugins.shapes import passed
from bench.protocol import UserError
from bench.sweep.requests import Request
from bench.words import shortened

Place = str | os.PathLike[str]


def registry_of(plugins: Sequence[Place]) -> Registry:
    """Return the plugins that are built in or installed, and those of folders or files; by default `BENCH_PLUGINS`.

    Raises:
        UserError: a folder or file does not exist or holds no plugin.
    """
    texts = names("plugins", plugins)
    texts = texts or [folder for folder in os.environ.get("BENCH_PLUGINS", "").split(os.pathsep) if folder]
    registry = Registry([Path(text) for text in texts if not text.endswith(".py")])
    for text in texts:
        if text.endswith(".py"):
            contracts.find(registry, str(absolute(text, "the plugin file")))
    return registry


def data_of(data_dir: Place | None) -> Path:
    """Return the folder of data sets: what is given, else `BENCH_DATA`, else the profile's or the user's cache.

    Raises:
        UserError: it cannot be made.
    """
    folder = os.environ.get("BENCH_DATA") or None if data_dir is None else data_dir
    return Request(data_dir=None if folder is None else absolute(folder, "data_dir"), spelling=passed).data


def text_of(what: str, name: Any) -> str:
    """Return a NAME or FILE as text.

    Raises:
        UserError: it is neither.
    """
    if not isinstance(name, str | os.PathLike):
        raise UserError(f"{what} is {shortened(repr(name), 200)}; it must be a name or a file")
    return os.fspath(name)


def names(what: str, given: Any) -> list[str]:
    """Return NAMEs or FILEs, of which one may be given alone, as text.

    Raises:
        UserError: something else is among them.
    """
    if isinstance(given, str | os.PathLike):
        return [os.fspath(given)]
    return [text_of(what, name) for name in listing(what, given, "names or files")]


def wanted(what: str, given: Any, found: list[Any]) -> list[Any]:
    """Return what was found in an argument that may be left out; a list that turned out empty is no wish for all.

    Raises:
        UserError: it is such a list.
    """
    if not found and not isinstance(given, tuple):  # the default is one
        raise UserError(f"{what} holds nothing, so that there is nothing to do; leave it out for all of the grid's")
    return found


def located(name: Place) -> str:
    """Return a NAME as it is, and a FILE as its absolute path."""
    text = text_of("the name", name)
    return str(resolved(absolute(text, "the file"), "the file")) if is_file(text) else text
