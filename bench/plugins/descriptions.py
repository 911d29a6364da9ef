"""What `bench list` says of plugins, from a cache that knows their sources by their contents."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import files
from bench.places import user_folder
from bench.plugins.kinds import MOST, Kind
from bench.words import UserError

if TYPE_CHECKING:
    from bench.plugins.registry import Plugin
    from bench.plugins.settings import Option


@dataclass(frozen=True)
class Description:
    """What `bench list` says of a plugin; `error` is the one-line reason why it does not load, else empty.

    There are `fields` only where these are asked for.
    """

    kind: Kind
    name: str
    origin: str
    file: Path
    summary: str = ""
    fields: tuple[Option, ...] = ()
    error: str = ""


def described(plugin: Plugin, problem: str, fields: bool) -> Description:
    """Describe a plugin, or say its `problem`; from the cache: files take time, and may import anything."""
    description = Description(plugin.kind, plugin.name, plugin.origin, plugin.file, error=problem)
    if problem:
        return description
    looked_at = fields or plugin.origin != "built-in"  # whose fields are as they should be
    cached = _cache_file(plugin, looked_at)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        if cached is not None:
            content = json.loads(files.read(cached))
            return replace(description, summary=str(content["summary"]), fields=_options(content) if fields else ())
    try:
        cls = plugin.load(looked_at)
    except UserError as error:
        return replace(description, error=str(error))
    from bench.plugins.settings import options

    own = inspect.cleandoc(vars(cls).get("__doc__") or "")  # not that of a base class
    kept = options(cls) if looked_at else ()
    description = replace(description, summary=own.partition("\n")[0], fields=kept if fields else ())
    if cached is not None:
        content = {"summary": description.summary, "fields": [asdict(field) for field in kept]}
        # a cache that cannot be written costs time only; an error is never cached: installing a library may cure it
        with contextlib.suppress(OSError), files.replacing(cached, durable=False) as file:
            file.write(files.json_text(content).encode())
    return description


def _options(content: Mapping[str, Any]) -> tuple[Option, ...]:
    from bench.plugins.settings import Option

    return tuple(Option(**field) for field in content["fields"])


def _cache_file(plugin: Plugin, fields: bool) -> Path | None:
    """Return where the description of this source by this bench lies, with its fields or without; None without one."""
    try:
        parts = [_own_code(), files.read(plugin.file, MOST), plugin.kind.encode(), str(fields).encode()]
    except OSError:
        return None
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return user_folder("cache") / "descriptions" / f"{digest}.json"


@functools.cache
def _own_code() -> bytes:
    """Return the digest of bench's own code: it gives fields and words, and plugins import it."""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(Path(__file__).resolve().parents[1]):
        folders.sort()
        for name in sorted(name for name in names if name.endswith(".py")):
            with open(f"{folder}/{name}", "rb") as file:
                digest.update(b"%s\0%s\0" % (os.fsencode(name), file.read()))
    return digest.digest()
