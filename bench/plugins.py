"""Finds, describes and lazily loads the strategies and data sets that plugin files define.

Plugins come from three places: the built-in folders, the entry-point groups `bench.strategies` and `bench.datasets`,
and the folders given with `--plugins`. The working directory is never searched. A file that does not load is a
described error, never a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.protocol import Settings, UserError

Kind = Literal["strategy", "dataset"]


class PluginError(UserError):
    """A plugin that does not load; the sentence gives file, reason and line."""


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found, not necessarily loaded. It can be pickled.

    Attributes:
        kind: `strategy` or `dataset`.
        name: the file's stem with `-` for `_`, or the entry point's name.
        origin: `built-in`, `entry point PACKAGE`, or the folder it lies in.
        file: its source file.
        target: what an entry point imports, `package.module` or `package.module:Class`; empty for a plain file.
    """

    kind: Kind
    name: str
    origin: str
    file: Path
    target: str = ""

    def load(self) -> type[Settings]:
        """Execute the file and return its class, with `cls.name` set; an unchanged file is executed once a process.

        Raises:
            PluginError: why it does not load.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Option:
    """One field of a plugin: a hyper-parameter or an option.

    Attributes:
        key: its key in a grid, dotted where tables nest: `energy.hidden`.
        type: in words: `integer`, `number`, `one of "gibbs", "langevin"`, `list of integers`, ...
        default: as JSON; None where `required`.
        required: it has no default.
        bounds: in words: `above 0, at most 10`; empty without.
        description: what it means.
        search: `{low, high, log, choices}` where it can be tuned (`protocol.Search`), else None.
    """

    key: str
    type: str
    default: Any
    required: bool
    bounds: str
    description: str
    search: dict[str, Any] | None


@dataclass(frozen=True)
class Description:
    """What `bench list` says of a plugin; `error` is the one-line reason why it does not load, else empty."""

    kind: Kind
    name: str
    origin: str
    file: Path
    summary: str = ""
    fields: tuple[Option, ...] = ()
    error: str = ""


class Registry:
    """Every plugin that can be found. It can be pickled."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        """Look for plugins, executing none.

        Args:
            folders: further folders, each with `strategies/*.py` or `datasets/*.py` or both.

        Raises:
            UserError: a folder does not exist or holds neither.
        """
        raise NotImplementedError

    def names(self, kind: Kind) -> list[str]:
        """Return the names of all plugins of `kind`, sorted."""
        raise NotImplementedError

    def find(self, kind: Kind, name_or_file: str) -> Plugin:
        """Return the plugin with this NAME, or in this FILE (anything that ends in `.py`).

        Raises:
            UserError: there is none (with the nearest name), or two files claim the name.
        """
        raise NotImplementedError

    def describe(self, kind: Kind) -> list[Description]:
        """Return a description of every plugin of `kind`, sorted by name; a broken one has `error`."""
        raise NotImplementedError


def build(plugin: Plugin, values: Mapping[str, Any], where: str) -> Settings:
    """Return the plugin's class with `values` for its fields.

    Args:
        plugin: what to build.
        values: plain (TOML or JSON) values; fields left out take their defaults.
        where: what the error starts with, such as the grid's file or `cell 0123456789ab`.

    Raises:
        PluginError: the plugin does not load.
        UserError: `WHERE: strategy.NAME.KEY = VALUE is not allowed; it must be ...`.
    """
    raise NotImplementedError
