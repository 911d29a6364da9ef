"""Values as a caller in Python gives them, made what a grid's TOML could hold; the types of arguments, in words."""

from __future__ import annotations

import itertools
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from typing import Any

from bench.plugins.shapes import passed
from bench.protocol import UserError
from bench.sweep.limits import devices
from bench.sweep.progress import screen
from bench.sweep.requests import Display
from bench.sweep.screen import Screen
from bench.words import shortened

MOST = 100_000  # values of one list: as many as a grid may have cells
_LISTS = (Sequence, AbstractSet, Iterator, ValuesView)


def plain(value: Any) -> Any:
    """Return a value as TOML would have it.

    Lists stand for tuples, ranges, arrays, columns of pandas, sets and generators, text for paths, and Python's numbers
    for those of numpy.

    Raises:
        UserError: a list has more values than any grid could take.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, str | bytes | bytearray | memoryview | type):
        return value
    if callable(getattr(value, "tolist", None)):  # arrays, numbers and tensors; columns and indices of pandas
        inner = value.tolist()
        return inner if isinstance(inner, type(value)) else plain(inner)
    if isinstance(value, _LISTS):
        return [plain(item) for item in _entries("a list", value)]
    return value


def _entries(what: str, given: Iterable[Any]) -> list[Any]:
    """Return what is given as a list; that of a set in order, where it has one."""
    entries = list(itertools.islice(given, MOST + 1))
    if len(entries) > MOST:
        raise UserError(f"{what} holds more than {MOST:,} values, the most that are allowed")
    if isinstance(given, AbstractSet):
        try:
            return sorted(entries)
        except TypeError:
            return entries
    return entries


def listing(what: str, given: Any, of: str) -> list[Any]:
    """Return what is given as a list, whatever holds it; each entry is as it was.

    Args:
        what: the argument's name.
        given: a list, a tuple, a set, an array, a column, a generator.
        of: what an error says that it must be a list of.

    Raises:
        UserError: it is no list, or far too long.
    """
    if isinstance(given, Mapping | str | bytes) or not isinstance(given, Iterable):
        raise UserError(f"{_shown(what, given)} is not allowed; it must be a list of {of}")
    try:
        return _entries(what, given)
    except TypeError:  # an array without an axis
        raise UserError(f"{_shown(what, given)} is not allowed; it must be a list of {of}") from None


def whole(what: str, given: Any, least: int | None = None, other: str = "") -> int:
    """Return a whole number of Python's, of numpy's or of another library's.

    Args:
        what: the argument's name.
        given: the number.
        least: the smallest that is allowed; any where it is None.
        other: what else an error says is allowed.

    Raises:
        UserError: it is none, or too small.
    """
    try:
        number = None if _truth(given) else operator.index(given)
    except (TypeError, ValueError):
        number = None
    if number is None or (least is not None and number < least):
        bound = "" if least is None else f", at least {least}"
        shown = f"{what}=None" if given is None else _shown(what, given)
        raise UserError(f"{shown} is not allowed; it must be a whole number{bound}{other}")
    return number


def flag(what: str, given: Any) -> bool:
    """Return True or False.

    Raises:
        UserError: it is neither; a text such as "no" would count as True.
    """
    if not _truth(given):
        raise UserError(f"{what}={shortened(repr(given), 200)} is not allowed; it must be True or False")
    return bool(given)


def _truth(given: Any) -> bool:
    """Tell whether it is one of Python's or numpy's truths."""
    return isinstance(given, bool) or type(given).__name__ in ("bool", "bool_")


def text(what: str, given: Any) -> str:
    """Return a text.

    Raises:
        UserError: it is none.
    """
    if not isinstance(given, str):
        raise UserError(f"{what}={shortened(repr(given), 200)} is not allowed; it must be text")
    return given


def table(what: str, given: Any, example: str) -> dict[str, Any]:
    """Return a table as TOML would have it; an empty one for None.

    Raises:
        UserError: it is no dict.
    """
    if given is not None and not isinstance(given, Mapping):
        raise UserError(f"{_shown(what, given)} is not allowed; it must be a dict such as {example}")
    return plain(given or {})  # type: ignore[no-any-return]


def device_name(given: Any) -> str:
    """Return the name of a torch device, which may be given as such.

    Raises:
        UserError: it is no name; whether there is such a device is not asked.
    """
    kind = type(given)
    name = str(given) if (kind.__module__, kind.__name__) == ("torch", "device") else given
    if not isinstance(name, str):
        raise UserError(f"device={shortened(repr(name), 200)} is unknown; allowed: cpu, cuda, cuda:N, mps")
    return name


def one_device(given: Any) -> str:
    """Return the one torch device that a name stands for: the first GPU for `cuda`.

    Raises:
        UserError: the device is unknown or not there.
    """
    return devices(device_name(given), passed)[0]


def display_of(progress: Any) -> Display:
    """Return how a sweep is shown: not at all for False, else by what is given or what suits where this runs.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(progress, Screen):
        return lambda *_: progress
    return screen if progress is None or flag("progress", progress) else lambda *_: Screen()


def _shown(what: str, given: Any) -> str:
    """Return `seeds=2.0`, cut where it is long."""
    return shortened(passed(what, given), 200)
