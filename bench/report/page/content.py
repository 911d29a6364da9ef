"""What stands on the page: findings of each grid; tables, figures, rows, warnings and failures of each data set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.report import summary
from bench.report.accounts import accounts, tuning
from bench.report.cells import Outcome
from bench.report.figures import Shown
from bench.report.findings import Finding, findings
from bench.report.layout import NOTHING, OTHER, SIGNS, Entry, Heading, Layout, figure, layout
from bench.report.metrics import after, meaning
from bench.report.rows import Row, failure
from bench.report.sources import Source
from bench.report.tables import Table
from bench.report.times import minutes
from bench.sweep.store import Store

_FIRST = 2  # findings of a grid that stand at the top of a page of several
_TAIL = 30  # lines of a log
_READ = 16_384  # bytes of its end
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # what colours a terminal


@dataclass(frozen=True)
class Said:
    """A finding with the sign that stands before it."""

    kind: str
    sign: str
    sentence: str


@dataclass(frozen=True)
class Detail:
    """A row with everything that is recorded of it.

    Attributes:
        anchor: what links to it.
        label: of the row.
        settings: key and value of each, the strategy's own first.
        notes: its footnotes.
        origin: what its records say of how they were made, by name; one text where all seeds say the same.
    """

    anchor: str
    label: str
    settings: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    origin: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Failure:
    """A record without scores: whose, how it ended, and the end of its log; `log` is empty where there is none."""

    name: str
    how: str
    log: str


@dataclass(frozen=True)
class Section:
    """A data set.

    Attributes:
        anchor: what links to it.
        title: its heading.
        findings: what it comes to.
        doubts: what is to be known before it is believed.
        first: the table that answers.
        figures: charts and pictures.
        undrawn: which figures there are not, and why; empty where there are all.
        more: the other tables, by their titles.
        details: a row each.
        failures: of its cells.
        conditions: how all of it was made, one sentence each.
    """

    anchor: str
    title: str
    findings: tuple[Said, ...]
    doubts: tuple[str, ...]
    first: Layout
    figures: tuple[Shown, ...]
    undrawn: str
    more: tuple[tuple[str, Layout], ...]
    details: tuple[Detail, ...]
    failures: tuple[Failure, ...]
    conditions: tuple[str, ...]

    @property
    def links(self) -> Mapping[str, str]:
        """Label -> anchor of what is recorded of a row."""
        return {detail.label: detail.anchor for detail in self.details}


@dataclass(frozen=True)
class Part:
    """A grid: its findings across data sets, where it has several, and a section for each that has records.

    `absent` names the data sets without a record.
    """

    anchor: str
    title: str
    findings: tuple[Said, ...]
    overview: tuple[Layout, ...]
    figures: tuple[Shown, ...]
    sections: tuple[Section, ...]
    absent: tuple[str, ...]

    @property
    def answer(self) -> tuple[Said, ...]:
        """What a reader takes away first."""
        return (self.findings or self.sections[0].findings)[:_FIRST]


def part(
    title: str,
    pairs: Sequence[tuple[Table, Source]],
    overview: Sequence[Layout],
    figures: Sequence[Shown],
    number: int = 1,
) -> Part:
    """Return what stands on the page of a grid.

    Args:
        title: of the grid.
        pairs: its tables and where their records come from.
        overview: tables across data sets, the first with the findings.
        figures: drawn of these tables.
        number: which part of the page it is.
    """
    # of a grid without any record the first data set says what to do about it
    held = [(table, source) for table, source in pairs if any(row.outcomes for row in table.rows)] or list(pairs[:1])
    together = tuple(shown for shown in figures if not shown.table)
    sections = []
    for place, (table, source) in enumerate(held, 1):
        own = [shown for shown in figures if shown.table == table.name]
        sections.append(_section(f"g{number}d{place}", table, source, own, bool(together)))
    shown_names = {table.name for table, _ in held}
    return Part(
        f"g{number}",
        title,
        _said(finding for layout in overview for finding in layout.findings),
        tuple(map(_filled, overview)),
        together,
        tuple(sections),
        tuple(table.name for table, _ in pairs if table.name not in shown_names),
    )


def _filled(own: Layout) -> Layout:
    """Return a table without the columns and rows in which nothing stands."""
    columns = [0, *(n for n in range(1, len(own.headings)) if any(_there(row[n]) for row in own.rows))]
    sections = (
        tuple(tuple(row[n] for n in columns) for row in section if any(map(_there, row[1:])))
        for section in own.sections
    )
    return replace(own, headings=tuple(own.headings[n] for n in columns), sections=tuple(filter(None, sections)))


def _there(entry: Entry) -> bool:
    return entry.text != NOTHING or bool(entry.below)


def _said(all_of_them: Iterable[Finding]) -> tuple[Said, ...]:
    return tuple(Said(own.kind, SIGNS.get(own.kind, OTHER), own.sentence) for own in all_of_them)


def _section(anchor: str, table: Table, source: Source, figures: Sequence[Shown], plane: bool) -> Section:
    made = findings(table)
    rows = [row for row in table.rows if row.outcomes]
    outcomes = [outcome for row in rows for outcome in row.outcomes.values()]
    doubts = [finding.sentence for finding in made if finding.kind == "doubt"]
    more = [*summary.beside(table), *tuning(table), layout(table), *accounts(table, source.curves), *records(table)]
    return Section(
        anchor,
        table.title if table.name in table.title else f"{table.title} ({table.name})",
        _said(finding for finding in made if finding.kind != "doubt"),
        (*doubts, *mixtures(outcomes)),
        summary.summary(table),
        tuple(figures),
        _undrawn(figures, plane) if any(row.finished for row in rows) else "",
        tuple((_part_of(table, own), own) for own in more),
        tuple(_detail(f"{anchor}r{number}", row) for number, row in enumerate(rows, 1)),
        tuple(_failure(row, outcome, source) for row in rows for outcome in row.outcomes.values()
              if outcome.status != "ok"),
        (*table.conditions, f"Records: {table.source}"),
    )  # fmt: skip


#: beginning of a figure's name -> what it shows, which is drawn from arrays that do not lie beside every record
_FROM_ARRAYS = {
    "nll-curve-": "the NLL against the number of samples",
    "samples-": "samples, data and reconstructions",
    "latents-": "the aggregate posterior beside the prior",
}


def _undrawn(figures: Sequence[Shown], plane: bool) -> str:
    """Return which figures could not be drawn; of points in the plane there are other pictures than of images."""
    stems = [shown.stem for shown in figures]
    missing = [
        words
        for start, words in _FROM_ARRAYS.items()
        if not any(stem.startswith(start) for stem in stems) and not (plane and start == "samples-")
    ]
    why = "Not drawn, since the arrays for it do not lie beside these records (Parquet files hold none)"
    return f"{why}: {'; '.join(missing)}." if missing else ""


def _part_of(table: Table, own: Layout) -> str:
    """Return the title of one of several tables of a data set, without that of the data set."""
    title = own.title.removeprefix(f"{table.title}: ")
    return title[:1].upper() + title[1:]


# ---------------------------------------------------------------- warnings


def mixtures(outcomes: Sequence[Outcome]) -> list[str]:
    """Return in what records of one table differ that should be alike: hardware, versions, code."""
    kinds = {
        "Mixed hardware, so that times cannot be compared": {
            f"{o.device_kind or o.device} ({o.platform or 'unknown platform'})" for o in outcomes if o.device
        },
        "Mixed versions of torch": {o.torch for o in outcomes if o.torch},
        "Several commits": {
            f"{o.git.commit[:10]}{' with uncommitted changes' if o.git.dirty else ''}" for o in outcomes if o.git
        },
    }
    return [f"{words}: {', '.join(sorted(own))}." for words, own in kinds.items() if len(own) > 1]


# ---------------------------------------------------------------- every record


def records(table: Table) -> list[Layout]:
    """Return the table of every record: how it ended, its score, what it cost, and with what it was made."""
    metric = table.lead
    title = f"{meaning(metric.name).title}{after(metric.unit, ', ')}" if metric else "score"
    names = ("strategy", "seed", "status", title, "fit, min", "scoring, min", "host, GB", "device", "commit", "made")
    lines = []
    for row in table.rows:
        for seed, outcome in row.outcomes.items():
            score = outcome.by_metric.get(metric.name) if metric else None
            value = Entry(NOTHING)
            if score and metric:
                value = Entry(
                    figure(score.value, metric.unit),
                    "unreliable" if score.unreliable else f"± {figure(score.stderr, metric.unit)}",
                    sort=score.value,
                )
            clocks = (outcome.resources.get(f"{name}_seconds") for name in ("fit", "evaluate"))
            memory = outcome.resources.get("peak_host_bytes")
            commit = outcome.git.commit[:10] if outcome.git else NOTHING
            below = "dirty" if outcome.git and outcome.git.dirty else ""
            lines.append((
                summary.label(row),
                Entry(str(seed), sort=seed),
                Entry(outcome.status, "plugin changed" if outcome.plugin_changed else "stale" if outcome.stale else ""),
                value,
                *(Entry(minutes(clock), sort=clock) if clock is not None else Entry(NOTHING) for clock in clocks),
                Entry(f"{memory / 1e9:.2f}", sort=memory) if memory else Entry(NOTHING),
                Entry(outcome.device_kind or outcome.device or NOTHING),
                Entry(commit, below),
                Entry(outcome.finished[:10]),
            ))  # fmt: skip
    if not lines:
        return []
    headings = tuple(Heading(name) for name in names)
    return [Layout(f"{table.name}-records", f"{table.title}: every record", headings, (tuple(lines),))]


# ---------------------------------------------------------------- rows and failures


def _detail(anchor: str, row: Row) -> Detail:
    settings = tuple((key, _shown(value)) for key, value in row.setting.flat().items())
    origin: dict[str, dict[int, str]] = {}
    for seed, outcome in row.outcomes.items():
        for key, value in _origin(outcome).items():
            origin.setdefault(key, {})[seed] = value
    return Detail(anchor, row.label, settings, row.marks, tuple((key, _together(own)) for key, own in origin.items()))


def _origin(outcome: Outcome) -> dict[str, str]:
    """Return what a record says of how it was made, in words."""
    marks = outcome.fingerprints
    said = {
        "cell": outcome.cell,
        "attempts": f"{outcome.attempt}, {outcome.restarts} interrupted before",
        "device": outcome.device_kind or outcome.device or "unknown",
        "torch": outcome.torch or "unknown",
        "Python": outcome.python or "unknown",
        "platform": outcome.platform or "unknown",
        "commit": f"{outcome.git.commit}{' with uncommitted changes' if outcome.git.dirty else ''}"
        if outcome.git
        else "unknown",
        "data": f"version {outcome.dataset.version or 'unknown'}, SHA-256 {(outcome.dataset.sha256 or 'unknown')[:16]}",
        "code of plugin, training, scoring": ", ".join(
            (mark or "unknown")[:12] for mark in (marks.plugin, marks.fit, marks.evaluate)
        ),
        "steps captured": "no" if outcome.execution is None or not outcome.execution.captured else "yes",
        "begun and ended": f"{outcome.started} to {outcome.finished}",
    }
    return said | {name: f"{value:.4g}" for name, value in outcome.stability.items()}


def _together(own: Mapping[int, str]) -> str:
    """Return what seeds say of one thing: one text where all say the same."""
    if len(set(own.values())) == 1 and len(own) > 1:
        return next(iter(own.values()))
    return "; ".join(f"seed {seed}: {value}" for seed, value in own.items())


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _failure(row: Row, outcome: Outcome, source: Source) -> Failure:
    return Failure(f"{row.label}, seed {outcome.seed}", failure(outcome), tail(source, outcome))


def tail(source: Source, outcome: Outcome) -> str:
    """Return the last lines of the log of the attempt that made a record; empty where there is none."""
    for folder in source.stores:
        path = Store(folder).log(outcome.cell, outcome.attempt)
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _READ))
                content = file.read()
        except OSError:
            continue
        text = _ESCAPES.sub("", content.decode(errors="replace"))
        lines = [line.rsplit("\r", 1)[-1].expandtabs() for line in text.rstrip().split("\n")]
        return "\n".join(lines[-_TAIL:])
    return ""
