"""What a table comes to, in sentences that stand before it: the answer, then what is open, failed and in doubt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench import words
from bench.protocol import Metric
from bench.report.cells import Outcome
from bench.report.layout import amount, figure
from bench.report.metrics import after, meaning
from bench.report.power import MOST, Margin, Need, need
from bench.report.rows import Row, doubts, failure
from bench.report.statistics import CONFIDENCE, Interval, holm
from bench.report.tables import Table
from bench.report.times import duration, training
from bench.report.verdicts import untested
from bench.sweep.record import FAILED
from bench.words import ended, shortened

Kind = Literal["better", "worse", "same", "undecided", "published", "failed", "cost", "doubt"]
_MANY = 4  # rows, beyond which some are counted and not named
_SIZES = 8  # rows with their differences, beyond which some are counted
_LONG = 200  # signs of a reason


@dataclass(frozen=True)
class Finding:
    """A sentence, or a few, on some rows of a table.

    Attributes:
        kind: what it is about.
        sentence: for a reader who has not seen the table yet.
        rows: the labels of the rows that it speaks of.
    """

    kind: Kind
    sentence: str
    rows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        words.clean(self, "sentence", "rows")


def findings(table: Table) -> list[Finding]:
    """Return what a table comes to, in the order in which it is to be read."""
    if not any(row.outcomes for row in table.rows):
        planned = sum(row.planned for row in table.rows)
        return [Finding("undecided", f"No record yet of {planned} cells; {table.command}."), *_notes(table)]
    parts = (_verdicts, _open, _tuned, _missing, _published, _failures)
    first = [finding for part in parts for finding in part(table)]
    return [*first, *_costs([table]), *doubts_of(table), *_notes(table)]


# ---------------------------------------------------------------- which way is better


def _verdicts(table: Table) -> Iterator[Finding]:
    """Say what is better, worse and the same, or what leads where nothing is compared."""
    metric = table.headline
    if metric is None:
        yield from _leading(table)
        return
    title, judged = meaning(metric.name).title, {kind: _judged(table, kind) for kind in ("better", "worse", "same")}
    if rows := judged["better"]:
        yield Finding("better", f"Better than {table.baseline} in {title}: {_sizes(rows, metric)}.", _labels(rows))
    elif any(row.verdict and row.verdict.kind in ("worse", "same", "undecided") for row in table.rows):
        yield Finding("undecided", f"Nothing is shown to be better than {table.baseline} in {title}.")
    else:
        yield Finding("undecided", f"No verdict yet on what is better than {table.baseline} in {title}.")
        yield from _leading(table)
    if rows := judged["worse"]:
        yield Finding("worse", f"Worse than {table.baseline}: {_sizes(rows, metric)}.", _labels(rows))
    if rows := judged["same"]:
        within = f"the same as {table.baseline} within {table.margin:g}{after(metric.unit)}"
        yield Finding("same", f"{_named(rows)}: {within}.", _labels(rows))


def _judged(table: Table, kind: str) -> list[Row]:
    """Return the rows with a verdict, the largest difference first."""
    rows = [row for row in table.rows if row.verdict and row.verdict.kind == kind]
    metric = table.headline
    return sorted(rows, key=lambda row: -abs(row.differences[metric.name].mean)) if metric else rows


def _sizes(rows: Sequence[Row], metric: Metric) -> str:
    parts = [f"{row.label} by {_size(row.differences[metric.name], metric)}" for row in rows]
    more = f"; and {len(parts) - _SIZES} more rows" if len(parts) > _SIZES else ""
    return f"{'; '.join(parts[:_SIZES])}{more}"


def _size(apart: Interval, metric: Metric) -> str:
    low, high = sorted((abs(apart.lower), abs(apart.upper)))
    ends = f"[{figure(low, metric.unit)}, {figure(high, metric.unit)}]"
    return f"{amount(abs(apart.mean), metric.unit)} {ends}"


def _leading(table: Table) -> Iterator[Finding]:
    """Say which row has the best score where there is no baseline to compare with."""
    metric, best = table.lead, _best(table)
    if metric and best:
        score = amount(best.scores[metric.name].mean, metric.unit)
        doubted = [row.label for row in table.rows if metric.name in row.scores and row.unreliable(metric.name)]
        left = f"; unreliable, and left out: {', '.join(doubted)}" if doubted else ""
        text = f"{_extreme(metric)} so far: {best.label}, {score}, without a verdict{left}."
        yield Finding("undecided", text, (best.label,))


def _best(table: Table) -> Row | None:
    """Return the row with the best score that is reliable; None where there is none or neither direction is better."""
    metric = table.lead
    rows = [row for row in table.rows if metric and metric.name in row.scores and not row.unreliable(metric.name)]
    if not metric or metric.better == "neither":
        return None
    sign = 1 if metric.better == "lower" else -1
    return min(rows, key=lambda row: sign * row.scores[metric.name].mean, default=None)


def _extreme(metric: Metric) -> str:
    return f"{'Lowest' if metric.better == 'lower' else 'Highest'} {meaning(metric.name).title}"


# ---------------------------------------------------------------- what would decide the rest


def needs(table: Table) -> dict[str, Need]:
    """Return what would decide each undecided row, by its label."""
    metric, rows = table.headline, [row for row in table.rows if row.verdict and row.verdict.kind == "undecided"]
    if metric is None:
        return {}
    wanted, verdicts = {}, [row.verdict for row in table.rows if row.verdict]
    for row in rows:
        baseline = next(r for r in table.rows if r.verdict and r.verdict.kind == "baseline" and _comparable(r, row))
        asked = need(
            row.scores[metric.name],
            baseline.scores[metric.name],
            row.differences[metric.name],
            table.comparisons - sum(verdict.marked for verdict in verdicts),
            Margin(table.margin, table.comparisons - sum(verdict.alike for verdict in verdicts))
            if table.margin is not None
            else None,
        )
        if asked:
            wanted[row.label] = asked
    return wanted


def _comparable(row: Row, other: Row) -> bool:
    return row.setting.context == other.setting.context


def _open(table: Table) -> Iterator[Finding]:
    """Say how many seeds would decide what is undecided, and where none would."""
    metric, wanted = table.headline, needs(table)
    if metric is None:
        return
    rows = {row.label: row for row in table.rows}
    more = {label: need for label, need in wanted.items() if need.seeds is not None}
    if more:
        now = sorted({n for label in more for n in rows[label].differences[metric.name].n})
        count = f"{now[0]}" if len(now) == 1 else f"{now[0]} to {now[-1]}"
        parts = [
            f"{label} over {MOST}" if need.seeds == MOST else f"{label} {need.seeds}"
            for label, need in sorted(more.items(), key=lambda item: item[1].seeds or 0)
        ]
        text = f"Undecided with {count} seeds each. Seeds that the row and {table.baseline} would each need"
        yield Finding("undecided", f"{text}: {', '.join(parts)}.", tuple(more))
    integrated = {label for label in wanted if all(s.estimator != "ais" for s in rows[label].seeds("log_z").values())}
    exact = {label: "a finer quadrature" if label in integrated else "a better log Z" for label in wanted}
    remedies = {label: need.remedy(exact[label]) for label, need in wanted.items() if need.seeds is None}
    for remedy in sorted(set(remedies.values()), key=lambda remedy: (len(remedy), remedy)):
        never = [label for label, own in remedies.items() if own == remedy]
        if never:
            text = f"Undecided, and more seeds would not help; {remedy} would"
            yield Finding("undecided", f"{text}: {', '.join(never)}.", tuple(never))


def _tuned(table: Table) -> Iterator[Finding]:
    """Say what tuning gained at 5 % for all rows together, the most first, and what it cost."""
    rows, metric = [row for row in table.rows if row.ledger], table.headline or table.lead
    if not rows or metric is None:
        return
    ledgers = [row.ledger for row in rows if row.ledger]
    trials = sorted({ledger.trials for ledger in ledgers})
    spent = f"{trials[0]} trials" if len(trials) == 1 else f"{trials[0]} to {trials[-1]} trials"
    text = f"Tuning took {spent} a row, {duration(sum(ledger.seconds for ledger in ledgers))} in all. "
    sign = -1 if metric.better == "higher" else 1
    gains = [(row, row.gains[metric.name]) for row in rows if metric.name in row.gains]
    reasons = {
        row.label: untested(row, before, metric) for row, _ in gains if (before := row.untuned(table.rows)) is not None
    }
    enough = [(row, gain) for row, gain in gains if not reasons[row.label]]
    shown = [p <= 1 - CONFIDENCE for p in holm([gain.p for _, gain in enough], len(gains))]
    decided = [one for one, differs in zip(enough, shown, strict=True) if differs]
    decided.sort(key=lambda one: sign * one[1].mean)
    sizes: dict[bool, list[str]] = {True: [], False: []}
    for row, gain in decided:
        before, size = row.untuned(table.rows), _size(gain, metric)
        sizes[sign * gain.mean < 0].append(f"{before.label if before else row.label} by {size}")
    title = meaning(metric.name).title
    improved = "; ".join(sizes[True])
    text += f"It improved {title}: {improved}." if improved else f"It is not shown to have improved {title}."
    text += f" It made worse: {'; '.join(sizes[False])}." if sizes[False] else ""
    if left := [f"{label} ({reason.removeprefix('none: ')})" for label, reason in reasons.items() if reason]:
        text += f" Not counted: {'; '.join(left)}."
    yield Finding("cost", text, tuple(row.label for row in rows))


def _published(table: Table) -> Iterator[Finding]:
    """Say how our numbers stand to the published ones of the same models."""
    column, rows = table.column, [row for row in table.rows if row.comparison]
    if not column or not rows:
        return
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row.comparison:
            shift = figure(row.comparison.difference, column.unit, sign=True)
            groups.setdefault(row.comparison.verdict, []).append(f"{row.label} {shift}")
    parts = "; ".join(f"{', '.join(labels)} ({verdict})" for verdict, labels in groups.items())
    title = meaning(column.metric).title
    yield Finding("published", f"{title}, ours minus published in {column.unit}: {parts}.", _labels(rows))


# ---------------------------------------------------------------- what went wrong, and what it cost


def _failures(table: Table) -> Iterator[Finding]:
    """Say which seeds failed and which were skipped, with the first reason of each kind."""
    parts: dict[str, dict[str, str]] = {}
    for row in table.rows:
        first: dict[str, Outcome] = {outcome.status: outcome for outcome in reversed(row.outcomes.values())}
        for title in ("Failed", "Skipped"):
            own = {status: n for status, n in row.failed.items() if (status in FAILED) == (title == "Failed")}
            ways = [
                f"{n} of {len(row.outcomes)}: {shortened(failure(first[status]), _LONG)}" for status, n in own.items()
            ]
            if ways:
                parts.setdefault(title, {})[row.label] = f"{row.label}, {', '.join(ways)}"
    for title, rows in sorted(parts.items()):
        shown, more = [*rows.values()][:_SIZES], f"; and {len(rows) - _SIZES} more rows" if len(rows) > _SIZES else ""
        yield Finding("failed", f"{title}: {'; '.join(shown)}{more}.", tuple(rows))


def _costs(tables: Sequence[Table]) -> Iterator[Finding]:
    """Say what training takes, the least and the most, and what is better beside the baseline; and all in all."""
    better = list(dict.fromkeys(row.label for table in tables for row in _judged(table, "better")))
    text, named = training(tables, better)
    if not text:
        return
    outcomes = [outcome for table in tables for row in table.rows for outcome in row.outcomes.values()]
    total = sum(o.resources.get(f"{name}_seconds", 0.0) for o in outcomes for name in ("fit", "evaluate", "overhead"))
    devices = sorted({outcome.device_kind or outcome.device or "an unknown device" for outcome in outcomes})
    whole = "The record" if len(outcomes) == 1 else f"All {len(outcomes)} records"
    text += f". {whole} took {duration(total)} with scoring, on {' and '.join(devices)}."
    yield Finding("cost", text, named)


def _missing(table: Table) -> Iterator[Finding]:
    rows = [row for row in table.rows if row.missing]
    count, planned = sum(len(row.missing) for row in rows), sum(row.planned for row in table.rows)
    if rows:
        text = f"{count} of {planned} cells have no record yet; {table.command}. Not complete: {_named(rows)}."
        yield Finding("undecided", text, _labels(rows))
    reasons: dict[str, list[Row]] = {}
    for row in table.rows:
        if row.verdict and row.verdict.kind == "none" and row.outcomes and row.scores:
            reasons.setdefault(row.verdict.words, []).append(row)
    for reason, without in reasons.items():
        yield Finding(
            "undecided", f"No verdict on {_named(without)}: {reason.removeprefix('none: ')}.", _labels(without)
        )


def doubts_of(table: Table, metrics: Sequence[Metric] = ()) -> Iterator[Finding]:
    """Say what casts doubt on these scores, by default the headline's, each reason once, with the rows concerned."""
    metrics = metrics or ([table.lead] if table.lead else [])
    concerned: dict[str, dict[str, Row]] = {}
    said: dict[str, dict[str, None]] = {}
    for row in table.rows:
        for outcome in row.outcomes.values():
            if outcome.status == "ok":
                for doubt in doubts(outcome, metrics):
                    said.setdefault(doubt.sentence, {})[doubt.reason] = None
                    concerned.setdefault(doubt.sentence, {})[row.label] = row
            if outcome.git and outcome.git.dirty:
                concerned.setdefault("made with uncommitted changes of the code", {})[row.label] = row
    scored = [row for row in table.rows if row.outcomes]
    for sentence, rows in concerned.items():
        first, *others = said.get(sentence, [""])
        reason = f"for example, {first}" if others else first
        who = "every row" if len(rows) == len(scored) > 1 else _named(rows.values())
        yield Finding("doubt", f"In doubt, {who}: {sentence}{f' ({reason})' if reason else ''}.", tuple(rows))
    lone = [
        row for row in scored if table.lead and table.lead.name in row.scores and row.scores[table.lead.name].n == (1,)
    ]
    if lone:
        text = "one seed, so that the interval is over test items alone; another training may differ by more"
        who = "every row" if len(lone) == len(scored) > 1 else _named(lone)
        yield Finding("doubt", f"In doubt, {who}: {text}.", _labels(lone))
    if table.lead and any(row.scores[table.lead.name].lost for row in scored if table.lead.name in row.scores):
        text = "scores of single items are not there, so that intervals and differences are wider than they need be"
        yield Finding("doubt", f"In doubt: {text}.")


def _notes(table: Table) -> Iterator[Finding]:
    """Say what was left out or could not be read."""
    for note in table.notes:
        yield Finding("doubt", ended(note))


# ---------------------------------------------------------------- across data sets


def across(tables: Sequence[Table]) -> list[Finding]:
    """Return what the tables of several data sets come to together."""
    judged: dict[Metric, list[Table]] = {}
    for table in tables:
        if table.headline:
            judged.setdefault(table.headline, []).append(table)
    said = [finding for metric, own in judged.items() for finding in _verdicts_across(own, metric, len(tables))]
    lacking = sum(len(row.missing) for table in tables for row in table.rows)
    planned = sum(row.planned for table in tables for row in table.rows)
    if lacking:
        text = f"{lacking} of {planned} cells have no record yet; {tables[0].command}."
        said.append(Finding("undecided", text))
    for table in tables:
        said += [Finding(f.kind, f"{table.name}: {f.sentence}", f.rows) for f in _failures(table)]
    said += _costs(tables)
    places: dict[str, list[str]] = {}
    recorded = [table for table in tables if any(row.outcomes for row in table.rows)]
    for table in recorded:
        for finding in (*doubts_of(table), *_notes(table)):
            places.setdefault(finding.sentence, []).append(table.name)
    for sentence, names in places.items():
        said.append(Finding("doubt", sentence if len(names) == len(recorded) else f"{', '.join(names)}: {sentence}"))
    return said


def _verdicts_across(judged: Sequence[Table], metric: Metric, count: int) -> Iterator[Finding]:
    baseline, title = judged[0].baseline, meaning(metric.name).title
    decided = False
    kinds: tuple[Literal["better", "worse", "same"], ...] = ("better", "worse", "same")
    for kind in kinds:
        places: dict[str, list[str]] = {}
        for table in judged:
            for row in _judged(table, kind):
                places.setdefault(row.label, []).append(table.name)
        parts = [f"{label} on {_listed(names, count)}" for label, names in places.items()]
        start = f"The same as {baseline}" if kind == "same" else f"{kind.capitalize()} than {baseline}"
        if parts:
            yield Finding(kind, f"{start} in {title}: {'; '.join(parts)}.", tuple(places))
        decided = decided or bool(parts)
    undecided = {table.name: len(_judged(table, "undecided")) for table in judged}
    if total := sum(undecided.values()):
        where = ", ".join(f"{number} on {name}" for name, number in undecided.items() if number)
        text = f"Undecided comparisons: {total} ({where}); the findings of each data set say what would decide them."
        yield Finding("undecided", text)
    elif not decided:
        yield Finding("undecided", f"No verdict yet on what is better than {baseline} in {title}.")
        leading: dict[str, list[str]] = {}
        for table in judged:
            if best := _best(table):
                leading.setdefault(best.label, []).append(table.name)
        if leading:
            parts = [f"{label} on {_listed(names, count)}" for label, names in leading.items()]
            text = f"{_extreme(metric)} so far, without a verdict: {'; '.join(parts)}."
            yield Finding("undecided", text, tuple(leading))
    reasons: dict[str, list[str]] = {}
    for table in judged:
        for row in table.rows:
            if row.verdict and row.verdict.kind == "none" and row.scores:
                reasons.setdefault(row.verdict.words, []).append(f"{row.label} on {table.name}")
    for reason, rows in reasons.items():
        many = f"{', '.join(rows[:_MANY])}{f' and {len(rows) - _MANY} more' if len(rows) > _MANY else ''}"
        yield Finding("undecided", f"No verdict on {many}: {reason.removeprefix('none: ')}.")


def _listed(names: Sequence[str], total: int) -> str:
    return "every data set" if len(names) == total else ", ".join(names)


def _labels(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(row.label for row in rows)


def _named(rows: Iterable[Row]) -> str:
    labels = _labels(rows)
    more = f" and {len(labels) - _MANY} more" if len(labels) > _MANY else ""
    return f"{', '.join(labels[:_MANY])}{more}"
