"""Times as a report writes them: two digits that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report.rows import Row
    from bench.report.tables import Table

_ROUGH = 2  # times as long as another seed of its row: times then depend on more than on the row
_SHORT = 1  # seconds: of what is shorter such a factor says nothing


def duration(seconds: float) -> str:
    """Return a time with two digits that count, in a unit in which it is read."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds >= 0.01 else "<0.01 s"
    return f"{minutes(seconds)} min" if seconds < 3600 else f"{two(seconds / 3600)} h"


def minutes(seconds: float) -> str:
    """Return minutes with two digits that count."""
    value = seconds / 60
    if 0 < value < 0.01:
        return "<0.01"
    return two(value)


def two(value: float) -> str:
    """Return a number with two digits that count, and all that stand before the point."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.2g}"


def training(tables: Sequence[Table], better: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return what training a seed takes, the least and the most, and the labels of the rows that this names.

    Args:
        tables: one a data set; times are compared on the same data alone.
        better: labels of rows that are set beside the baseline.
    """
    spent: dict[str, dict[str, float]] = {}
    for table in tables:
        for row in table.rows:
            if own := row.resource("fit_seconds"):
                spent.setdefault(row.label, {})[table.name] = own
    if not spent:
        return "", ()
    every = sorted((seconds, label, name) for label, own in spent.items() for name, seconds in own.items())
    (least, first, _), (most, last, _) = every[0], every[-1]
    on = [f" on {name}" if len(tables) > 1 else "" for *_, name in (every[0], every[-1])]
    text = f"Training takes {duration(least)}"
    if len(every) == 1 or duration(least) != duration(most):
        text += f" ({first}{on[0]})"
        text += f" to {duration(most)} ({last}{on[1]})" if len(every) > 1 else ""
    rows = [row for table in tables for row in table.rows]
    base = next((row.label for row in rows if row.verdict and row.verdict.kind == "baseline"), "")
    ratios = []
    for label in better:
        both = spent.get(label, {}).keys() & spent.get(base, {}).keys()
        if both:
            ratio = sum(spent[label][name] for name in both) / sum(spent[base][name] for name in both)
            ratios.append(f"{label} {two(ratio)} times as long as {base}")
    sentence = f"{text} a seed{'; ' if ratios else ''}{', '.join(ratios)}"
    fits = [(_fits(row), row.label) for row in rows]
    factors = [(max(fit) / min(fit), label) for fit, label in fits if max(fit, default=0.0) > _SHORT]
    factor, widest = max(factors, default=(1.0, ""))
    if factor >= _ROUGH:
        sentence += f". These times are rough: seeds of one row differ by up to {two(factor)} times ({widest})"
    return sentence, tuple(dict.fromkeys([first, last, *better]))


def _fits(row: Row) -> list[float]:
    return [seconds for seconds in row.spent("fit_seconds") if seconds > 0]
