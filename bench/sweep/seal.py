"""The seal of a JSON file: its first key is the SHA-256 of the bytes that follow, which tells what was altered."""

from __future__ import annotations

import re
from typing import Any

from bench.files import parsed, sha256

_SEAL = re.compile(rb'\{\n "sha256": "([0-9a-f]{64})",\n')


def sealed(content: bytes) -> bytes:
    """Return the JSON object of `json_bytes` with the SHA-256 of what follows as its first key."""
    rest = content.removeprefix(b"{\n")
    return b'{\n "sha256": "%s",\n' % sha256(rest).encode() + rest


def opened(content: bytes) -> tuple[bytes, bytes]:
    """Return the JSON object that was `sealed`, and its SHA-256; where there is no seal, the content and nothing.

    Raises:
        ValueError: it is not what was written.
    """
    seal = _SEAL.match(content)
    if seal is None:
        return content, b""
    rest = content[seal.end() :]
    if sha256(rest).encode() != seal[1]:
        raise ValueError("it is cut short or altered: its SHA-256 is not the one in its first line")
    return b"{" + rest, seal[1]


def unsealed(content: bytes) -> dict[str, Any]:
    """Return the JSON object that was `sealed`, or one of an earlier version, which has no SHA-256.

    Raises:
        ValueError: it is not what was written.
    """
    table = parsed(opened(content)[0])
    if not isinstance(table, dict):
        raise ValueError("it holds no table")
    if "sha256" in table:
        raise ValueError("its first line is not its SHA-256")
    return table
