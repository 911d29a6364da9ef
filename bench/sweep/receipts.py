"""Which plugins have passed `bench check`: a small file in the user's cache for each code that did.

It is named after the plugin's fingerprint, so that a plugin whose code changes has to be checked again. Built-in ones
are checked by the tests of bench itself.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from bench import files
from bench.places import user_folder
from bench.plugins import Plugin, PluginError
from bench.sweep.circumstances import now
from bench.sweep.fingerprints import fingerprints


def checked(plugin: Plugin) -> bool:
    """Tell whether a plugin, as its code is now, has passed `bench check` on this machine or is built in."""
    if plugin.origin == "built-in":
        return True
    with contextlib.suppress(PluginError):  # its file cannot be read or parsed
        return _place(fingerprint(plugin)).is_file()
    return False


def fingerprint(plugin: Plugin) -> str:
    """Return the fingerprint of a plugin's own code, as it is now.

    Raises:
        PluginError: its file cannot be read or parsed.
    """
    return fingerprints([plugin]).plugin


def keep(plugin: Plugin, code: str) -> None:
    """Keep a receipt: the plugin has passed, when its fingerprint was `code`.

    Raises:
        OSError: the cache cannot be written.
    """
    content = {"kind": plugin.kind, "name": plugin.name, "file": str(plugin.file), "passed": now()}
    with files.replacing(_place(code)) as file:
        file.write(files.json_text(content).encode())


def _place(code: str) -> Path:
    return user_folder("cache") / "checked" / f"{code}.json"
