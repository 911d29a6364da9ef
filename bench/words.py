"""Text that may come from a stranger, made fit for the medium that it goes into; names, and a mistake as a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST = 100  # signs of a name
_FORMULAS = ("=", "+", "-", "@")


def plain(text: str, keep: str = "") -> str:
    """Return text that a terminal shows and does not obey, and that every encoding of Unicode can hold.

    White space becomes blanks; any other sign that is not printable (escape sequences, signs that turn the direction of
    writing, halves of a pair) becomes `?`.

    Args:
        text: any text.
        keep: signs that stay what they are.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else " " if sign.isspace() else "?" for sign in text)


def plainly(value: Any) -> Any:
    """Return a value with all text in it made `plain`: a text, or nested tuples; any other as it is."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, tuple):
        parts = [plainly(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def clean(part: object, *names: str) -> None:
    """Make the text in these fields of a frozen dataclass `plain`, from its `__post_init__`, whatever renders it."""
    for name in names:
        object.__setattr__(part, name, plainly(getattr(part, name)))


def comma_separated(value: Any) -> Any:
    """Return what a spreadsheet takes for text where it is text: no formula; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def ended(sentence: str) -> str:
    """Return a sentence with its full stop, if it has no end yet."""
    return sentence if sentence.endswith(("?", ".")) else f"{sentence}."


def shortened(text: str, most: int) -> str:
    """Return text of at most so many signs; what is too much is cut out of its middle."""
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def lines(label: str, width: int) -> list[str]:
    """Return a label in lines of at most so many signs.

    It is broken before a bracket, else after a comma, else after a hyphen, `=`, a dot or a blank, and within a word
    only where that alone is longer.
    """
    if len(label) <= width:
        return [label]
    halves = re.split(r"(?=\[)", label)
    filled = [line.strip() for half in halves for line in _filled(half, width, (r"[^,]*,?", r"[^-=. ]*[-=. ]?"))]
    return [line for line in filled if line]


def _filled(text: str, width: int, pieces: Sequence[str]) -> list[str]:
    """Return a text in lines that hold as many of its pieces as they can; one that is too long is taken apart."""
    if not pieces:
        return [text[start : start + width] for start in range(0, len(text), width)]
    filled: list[str] = []
    for piece in filter(None, re.findall(pieces[0], text)):
        if filled and len((filled[-1] + piece).strip()) <= width:
            filled[-1] += piece
        else:
            filled += [piece] if len(piece.strip()) <= width else _filled(piece, width, pieces[1:])
    return filled


def is_name(text: str) -> bool:
    """Tell whether a text may name a plugin, a grid or a data set, and so be a part of a file's name."""
    return 0 < len(text) <= LONGEST and text.isprintable() and text[0] != "." and not {*text} & {*"/\\"}


NAME = f"a name has 1 to {LONGEST} printable signs, no / or \\ among them, and does not begin with a full stop"


# ---------------------------------------------------------------- sentences


class UserError(Exception):
    """A user's mistake, as one sentence: what, where, what is allowed, the nearest valid name.

    What it echoes of a file may come from a stranger, and may be long.
    """

    def __str__(self) -> str:
        """Return the sentence, fit for a terminal."""
        return shortened(plain(super().__str__()), 1500)


def listed(names: Iterable[str]) -> str:
    """Return `a, b, c`, or `none`."""
    return ", ".join(names) or "none"


def other_data(theirs: str, ours: str) -> str:
    """Return how data differ by their SHA-256: `other data (SHA-256 0123abcd... instead of 4567cdef...)`."""
    return f"other data (SHA-256 {theirs[:8]}... instead of {ours[:8]}...)"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the name that is most like `name`, or nothing."""
    import difflib  # where there is a mistake alone

    there = {known.casefold(): known for known in names}
    matches = difflib.get_close_matches(name.casefold(), list(there), n=1)
    return f'; did you mean "{there[matches[0]]}"?' if matches else ""
