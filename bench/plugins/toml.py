"""TOML, as a file or `--set` says it: read with errors in words, and only what a setting can hold."""

from __future__ import annotations

import datetime
import errno
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import files
from bench.plugins.shapes import shown
from bench.protocol import UserError
from bench.words import plain, shortened

DEEPEST = 32  # tables and lists in each other
MOST = 1 << 24  # bytes of a grid or profile
_OPEN = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")  # what a shell has opened for this process, such as `<(...)`


def read_toml(file: Path, name: str, where: str) -> dict[str, Any]:
    """Return what a TOML file says.

    Args:
        file: the file.
        name: what an error calls it, such as `the profile PATH`.
        where: what an error in its contents starts with.

    Raises:
        FileNotFoundError: it is not there.
        UserError: it cannot be read, is no file, holds more than `MOST` bytes, or is no TOML.
    """
    try:
        content = _opened(file) if str(file).startswith(_OPEN) else files.read(file, MOST)
        values = tomllib.loads(content.decode("utf-8-sig"))
        check_plain(values, where)
        return values
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}: invalid TOML: not UTF-8 (at line {line})") from error
    except tomllib.TOMLDecodeError as error:
        lines = content.count(b"\n") + (not content.endswith(b"\n"))
        message = str(error).replace("at end of document", f"at line {lines}, the end")
        raise UserError(f"{where}: invalid TOML: {message}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: invalid TOML: {_excess(error)}") from error


def _opened(file: Path) -> bytes:
    """Return what is in a pipe or file that a shell has opened; whoever writes into the pipe is waited for."""
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as source:
        os.set_blocking(source.fileno(), True)  # only to open it is not to wait, for a writer who may be done
        content = source.read(MOST + 1)
    if len(content) > MOST:
        raise OSError(errno.EFBIG, f"it holds more than {MOST:,} bytes", str(file))
    return content


def _excess(error: Exception) -> str:
    """Return what is too much in a TOML text that Python's parser gives up on."""
    deep = isinstance(error, RecursionError)
    return (
        "it is nested too deeply" if deep else f"it holds a number of more than {sys.get_int_max_str_digits()} digits"
    )


def check_plain(value: Any, where: str, key: str = "", depth: int = 0) -> None:
    """Refuse what TOML can say and no grid, profile or record can hold.

    Args:
        value: tables, lists and single values.
        where: what an error starts with, such as a file.
        key: the dotted key of the value.
        depth: of the value in others.

    Raises:
        UserError: tables and lists are nested more than `DEEPEST` deep, or there is a date, an integer of more than 64
            bits, or text that a terminal would obey.
    """
    if depth > DEEPEST:
        raise UserError(f"{where}: tables and lists are nested more than {DEEPEST} deep at {shortened(key, 60)}")
    wrong = ""
    if isinstance(value, Mapping):
        for name, part in value.items():
            inner = f"{key}.{name}" if key else str(name)
            check_plain(str(name), where, inner, depth)
            check_plain(part, where, inner, depth + 1)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            check_plain(part, where, f"{key}[{number}]", depth + 1)
    elif isinstance(value, datetime.date | datetime.time):
        wrong = "it is a date or time, which no setting takes; text needs quotes"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        wrong = "it must have 64 bits at most"
    elif isinstance(value, str) and not all(sign.isprintable() or sign.isspace() for sign in value):
        wrong = "text must be printable"
    if wrong:
        raise UserError(f"{where}: {plain(shortened(key, 60))} = {shown(value)} is not allowed; {wrong}")


def assignment(text: str, example: str) -> tuple[list[str], Any]:
    """Return the parts of the dotted key and the value of a `--set` text: a TOML value; a bare word is text.

    Raises:
        UserError: it is no KEY=VALUE, such as `example`.
    """
    path, equals, literal = (part.strip() for part in text.partition("="))
    keys = path.split(".")
    if not equals or not all(keys):
        raise UserError(f"--set {text}: write KEY=VALUE, such as {example}")
    try:
        parsed = tomllib.loads(f"value = {literal}")
        check_plain(parsed, f"--set {shortened(text, 60)}")
    except RecursionError as error:
        raise UserError(f"--set {shortened(text, 60)}: {_excess(error)}") from error
    except ValueError as error:
        if not isinstance(error, tomllib.TOMLDecodeError):
            raise UserError(f"--set {shortened(text, 60)}: {_excess(error)}") from error
        if re.fullmatch(r"(?:[A-Za-z_]|~/|\.{0,2}/)[\w./-]*", literal):
            return keys, literal
    else:
        if parsed.keys() == {"value"}:
            return keys, parsed["value"]
    text, literal = shortened(text, 60), shortened(literal, 60)
    raise UserError(f"--set {text}: {literal or 'nothing'} is not a TOML value; text with other signs needs quotes")
