"""The files of a report that take long to make: they stay where they would be the same."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from bench import files

NOTE = ".report.json"  # beside them: what they are of, and their digests
_NAME = re.compile(r"[A-Za-z0-9_.-]+\.(parquet|png|pdf)")


def there(out: Path, of: str) -> list[str] | None:
    """Return the names of what lies in a folder, all whole, and is of the same; None where that cannot be said.

    Args:
        out: the folder.
        of: a digest of whatever decides what the files hold.
    """
    try:
        note = json.loads(files.read(out / NOTE))
        digests = dict(note["files"]) if note["of"] == of else None
        if digests is not None and all(
            _NAME.fullmatch(name) and files.sha256(files.read(out / name)) == digest for name, digest in digests.items()
        ):
            return list(digests)
    except (OSError, ValueError, TypeError, KeyError):
        pass  # they are made
    return None


def note(out: Path, of: str, names: Sequence[str]) -> None:
    """Note what the files of a folder are of."""
    digests = {name: files.sha256(files.read(out / name)) for name in names}
    with files.replacing(out / NOTE) as file:
        file.write(files.json_bytes({"of": of, "files": digests}))
