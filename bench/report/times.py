"""Times as a report writes them: two digits that count."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a time with two digits that count, in a unit in which it is read."""
    if seconds < 60:
        return f"{max(seconds, 0.01):.2g} s"
    return f"{minutes(seconds)} min" if seconds < 3600 else f"{seconds / 3600:.2g} h"


def minutes(seconds: float) -> str:
    """Return minutes with two digits that count."""
    value = seconds / 60
    if 0 < value < 0.01:
        return "<0.01"
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
