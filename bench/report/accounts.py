"""What strategies cost and how steadily they train: a table of each, from the records and their curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from bench.report.curves import VALIDATION, Curves
from bench.report.layout import NOTHING, Entry, Heading, Layout, figure, interval
from bench.report.metrics import after, meaning
from bench.report.rows import Row
from bench.report.summary import factor, label, seeds
from bench.report.tables import Table
from bench.report.times import minutes

LAG = "energy_gap"  # a figure of the end of training
R_HAT = "sampler_r_hat"  # a metric


def cost(table: Table, curves: Curves) -> Layout:
    """Return what a seed takes: seconds by clock, images a second, memory, and minutes to the baseline's bound."""
    headings = (
        "strategy",
        "fit, min",
        "scoring, min",
        "overhead, min",
        "items/s",
        "host, GB",
        "device, GB",
        "to target, min",
    )
    targets = _targets(table, curves)
    rows = []
    for row in _scored(table):
        clocks = [row.resource(f"{name}_seconds") for name in ("fit", "evaluate", "overhead")]
        entries = [label(row), *(_number(clock, minutes) for clock in clocks), _number(_speed(row), "{:,.0f}".format)]
        memory = (row.resource(name) for name in ("peak_host_bytes", "peak_device_bytes"))
        entries += [_number(size / 1e9 if size else None, "{:.2f}".format) for size in memory]
        entries.append(_reached(row, curves, targets.get(row.setting.context)))
        rows.append(tuple(entries))
    target_says = " To target: until the bound on the validation split is as good as the baseline's at its end."
    caption = "Medians over the seeds that came to scores."
    return _made(table, "cost", headings, rows, caption, {headings[-1]: target_says})


def stability(table: Table) -> Layout:
    """Return how steadily a strategy trains: seeds that failed and where, jumps, spread, lag of prior and chains."""
    metric = table.lead
    spread = f"spread{after(metric.unit, ', ')}" if metric else "spread"
    headings = (
        "strategy",
        "seeds",
        "restarts",
        "first bad step",
        "gradient jump",
        "log Z jump",
        spread,
        "prior lag",
        "R-hat",
    )
    rows = []
    for row in (row for row in table.rows if row.outcomes):
        bad = [o.last_step for o in row.outcomes.values() if o.status == "diverged" and o.last_step is not None]
        own = [score.value for score in row.trained(metric.name).values()] if metric else []
        rows.append(
            (
                label(row),
                seeds(row),
                Entry(str(sum(outcome.restarts for outcome in row.outcomes.values()))),
                _number(min(bad, default=None), "{:,}".format),
                factor(row.jumps.gradient),
                _number(row.jumps.log_z, "{:.2f}".format),
                _number(_deviation(own), lambda value: figure(value, metric.unit if metric else "")),
                _number(
                    _largest(abs(o.stability[LAG]) for o in row.outcomes.values() if LAG in o.stability),
                    "{:.2f}".format,
                ),
                _number(_largest(score.value for score in row.seeds(R_HAT).values()), "{:.2f}".format),
            )
        )
    title = meaning(metric.name).title if metric else "the score"
    caption = "Seeds: finished of planned, and how the others ended."
    there = {name for row in rows for name, entry in zip(headings, row, strict=True) if entry.text != NOTHING}
    if worst := [name for name in ("gradient jump", "log Z jump", "prior lag", "R-hat") if name in there]:
        caption += f" Of the worst seed: {', '.join(worst)}."
    of_spread = {spread: f" Spread: standard deviation of {title} over seeds."}
    return _made(table, "stability", headings, rows, caption, of_spread)


def tuning(table: Table) -> list[Layout]:
    """Return what tuning cost each row, and what it gained over the grid's own values; nothing where none was tuned."""
    rows, metric = [row for row in table.rows if row.ledger], table.headline or table.lead
    if not rows or metric is None:
        return []
    title = meaning(metric.name).title
    headings = ("strategy", "trials", "pruned", "failed", "tuning, min", f"gain in {title}{after(metric.unit, ', ')}")
    entries = []
    for row in rows:
        ledger = row.ledger
        assert ledger is not None, "these rows have one"
        counts = [_number(count, "{:,.0f}".format) for count in (ledger.trials, ledger.pruned, ledger.failed)]
        kept = ledger.chosen == ledger.defaults
        gain = Entry("0", "kept as it was") if kept else interval(row.gains.get(metric.name), metric.unit, sign=True)
        entries.append((label(row), *counts, _number(ledger.seconds, minutes), gain))
    chosen = " and ".join(sorted({meaning(row.ledger.metric).title for row in rows if row.ledger}))
    better = "above" if metric.better == "higher" else "below"
    caption = (
        f"Chosen by {chosen} on the validation split, at the worse end of log Z's interval. Gain: tuned minus the"
        f" grid's own values, items paired, 95 % each; {better} 0 is better."
    )
    return [_made(table, "tuning", headings, entries, caption)]


def _made(
    table: Table,
    kind: str,
    headings: Sequence[str],
    rows: Sequence[tuple[Entry, ...]],
    caption: str,
    of_columns: Mapping[str, str] = MappingProxyType({}),
) -> Layout:
    """Return a table without the columns in which there is nothing, nor what its caption says of these."""
    kept = [index for index in range(len(headings)) if any(row[index].text != NOTHING for row in rows)]
    return Layout(
        f"{table.name}-{kind}",
        f"{table.title}: {kind}",
        tuple(Heading(headings[index]) for index in kept),
        (tuple(tuple(row[index] for index in kept) for row in rows),),
        caption=caption + "".join(of_columns.get(headings[index], "") for index in kept),
    )


def accounts(table: Table, curves: Curves) -> list[Layout]:
    """Return the tables of cost and stability, where there are records to make them from."""
    if not any(row.outcomes for row in table.rows):
        return []
    return [*([cost(table, curves)] if _scored(table) else []), stability(table)]


def _scored(table: Table) -> list[Row]:
    return [row for row in table.rows if row.finished]


def _number(value: float | None, text: Callable[[float], str]) -> Entry:
    return Entry(NOTHING) if value is None or not math.isfinite(value) else Entry(text(value), sort=float(value))


def _largest(values: Iterable[float]) -> float | None:
    return max((value for value in values if math.isfinite(value)), default=None)


def _deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _speed(row: Row) -> float | None:
    """Return training items a second: steps times their batch over the seconds of training; none of a single step."""
    rates = [
        outcome.last_step * outcome.budget["batch_size"] / outcome.resources["fit_seconds"]
        for outcome in row.outcomes.values()
        if outcome.status == "ok" and (outcome.last_step or 0) > 1 and outcome.resources.get("fit_seconds")
    ]
    return statistics.median(rates) if rates else None


def _bounds(row: Row, curves: Curves) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return seconds of training and the validation bound at the end of epochs, of the seeds that end with it.

    A strategy of two stages has a bound of its own in the second alone, where the name is another: its epochs follow
    those of the first.
    """
    found = []
    for outcome in row.outcomes.values():
        series = curves.of(outcome) if outcome.status == "ok" else {}
        seconds = outcome.resources.get("fit_seconds")
        if not series or not seconds:
            continue
        first, last = min(epochs[0] for epochs, _ in series.values()), max(epochs[-1] for epochs, _ in series.values())
        own = (series[name] for name in VALIDATION if name in series and series[name][0, -1] == last)
        if (bound := next(own, None)) is not None:
            epochs, values = bound
            found.append((seconds * (epochs - first + 1) / (last - first + 1), values))
    return found


def _targets(table: Table, curves: Curves) -> dict[tuple[str, ...], float]:
    """Return the validation bound at which each baseline ends, the mean over its seeds, by what its rows share."""
    bases = [row for row in table.rows if row.verdict and row.verdict.kind == "baseline"]
    ends = {row.setting.context: [float(values[-1]) for _, values in _bounds(row, curves)] for row in bases}
    return {context: sum(own) / len(own) for context, own in ends.items() if own}


def _reached(row: Row, curves: Curves, target: float | None) -> Entry:
    """Return the median time until the target, over the seeds that get there, counting epochs as equally long."""
    taken: list[float] = []
    for seconds, values in _bounds(row, curves) if target is not None else ():
        taken += seconds[values <= target][:1].tolist()
    entry = _number(statistics.median(taken) if taken else None, minutes)
    # a median without those that never do is too good, and says so
    some = 0 < len(taken) < len(row.outcomes)
    return replace(entry, below=f"{len(taken)} of {len(row.outcomes)} seeds") if some else entry
