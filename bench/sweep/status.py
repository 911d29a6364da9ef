"""Where the cells of a grid stand in a run store, what a sweep would carry out, and whether its data can be had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from bench import demands
from bench.grid import MOST_CELLS, Cell, Grid
from bench.plugins import Plugin, Registry, build, plain_name
from bench.protocol import DataError, Dataset, Items, UserError
from bench.sweep.attempts import Job
from bench.sweep.columns import canonical
from bench.sweep.fingerprints import Fingerprints, fingerprints
from bench.sweep.progress import spoken
from bench.sweep.record import FAILED, RETRIED, STATUSES, one_line
from bench.sweep.standing import Standing
from bench.sweep.store import Store
from bench.words import other_data, plain

JUDGED_SEEDS = 3  # of either side of a comparison, below which no verdict is given
LIVE = ("pending", "preempted", "running")
SUBMITTED = ("pending", "preempted", "lost")
STATES = ("stale", "running", *SUBMITTED, "missing")
COLUMNS = ("ok", "failed", "skipped", *STATES)


@dataclass(frozen=True)
class Survey:
    """Every cell of a grid with its standing, in the grid's order.

    Attributes:
        grid: the grid.
        store: the run store.
        standings: one a cell.
        code: fingerprints by the plugins that a cell uses.
        names: plugin NAMEs by what cells call them.
    """

    grid: Grid
    store: Store
    standings: tuple[Standing, ...]
    code: dict[tuple[Plugin, ...], Fingerprints]
    names: dict[str, str]

    def jobs(self, *, stale: bool = False, retry: bool = False) -> list[Job]:
        """Return what a sweep carries out: the cells without a final record.

        Args:
            stale: also those whose record an earlier harness made.
            retry: also those that failed, but for diverged ones.
        """
        return [
            Job(
                standing.cell,
                standing.key,
                self.code[standing.cell.plugins],
                {},
                replaces=self._replaced(standing),
            )
            for standing in self.standings
            if _wanted(standing, stale=stale, retry=retry)
        ]

    def _replaced(self, standing: Standing) -> str | None:
        """Return what tells the record of a cell that is to run again; that of a lost one its job was to replace."""
        if standing.state not in ("finished", "lost"):
            return None
        return self.store.digest(standing.cell.id, standing.key) or None

    def rescored(self) -> list[Job]:
        """Return what can be scored without training: cells that this code has trained and that have no record yet."""
        return [job for job in self.jobs(stale=True) if self.store.trained(job)]

    def extends(self) -> tuple[int, int] | None:
        """Return how many seeds the last run in the store planned and how many there are now, where a verdict was out.

        That is, where two strategies on a data set have a final record of every seed that was planned then, of at least
        `JUDGED_SEEDS`, and more are planned now.
        """
        before = self.store.grid()
        seeds = before.get("seeds", 1) if isinstance(before, dict) else None
        count = range(min(seeds, MOST_CELLS)) if isinstance(seeds, int) else seeds if isinstance(seeds, list) else ()
        earlier = {seed for seed in count if isinstance(seed, int)}
        now = {cell.seed for cell in self.grid.cells}
        if not earlier < now or len(earlier) < JUDGED_SEEDS:
            return None
        final: dict[tuple[str, str], set[int]] = {}
        for standing in self.standings:
            if standing.state in ("finished", "stale"):
                final.setdefault((standing.cell.dataset, standing.cell.label), set()).add(standing.cell.seed)
        whole = Counter(dataset for (dataset, _), seeds in final.items() if earlier <= seeds)
        return (len(earlier), len(now)) if max(whole.values(), default=0) > 1 else None

    def counts(self) -> Counter[str]:
        """Return how many cells there are of each status (`ok`, `crashed`, ...) and each other state."""
        return Counter(_word(standing) for standing in self.standings)

    @property
    def goes_on(self) -> bool:
        """Whether a cell runs, or waits in a job that starts by itself."""
        return any(standing.state in LIVE and not standing.stuck for standing in self.standings)

    @property
    def stuck(self) -> dict[str, str]:
        """Why jobs do not start by themselves, in SLURM's words, by job."""
        return {standing.job: standing.stuck for standing in self.standings if standing.stuck}

    def name(self, cell: Cell) -> str:
        """Return what a line calls a cell."""
        return f"{self.names[cell.dataset]} {cell.label} seed {cell.seed}"


def survey(grid: Grid, store: Store, registry: Registry) -> Survey:
    """Find where every cell of `grid` stands under the code as it is now; nothing is executed or written.

    Raises:
        UserError: a plugin is gone.
    """
    code: dict[tuple[Plugin, ...], Fingerprints] = {}
    names: dict[str, str] = {}
    standings = []
    for cell in grid.cells:
        if cell.plugins not in code:  # once for those: to parse all code takes longer than to look at 1,000 cells
            code[cell.plugins] = fingerprints(cell.plugins)
            names |= {cell.strategy: plain_name(cell.strategy), cell.dataset: plain_name(cell.dataset)}
        standings.append(Standing.of(store, cell, code[cell.plugins]))
    return Survey(grid, store, tuple(standings), code, names)


def _wanted(standing: Standing, *, stale: bool, retry: bool) -> bool:
    if standing.state == "finished":
        return retry and _word(standing) in RETRIED
    return stale if standing.state == "stale" else standing.state not in ("pending", "preempted")


def _word(standing: Standing) -> str:
    return standing.record.status if standing.state == "finished" and standing.record else standing.state


# ---------------------------------------------------------------- data, before a sweep


@dataclass(frozen=True)
class Facts:
    """What a loaded data set is.

    Attributes:
        dataset: with its options.
        sha256: of its arrays.
        items: how many there are, and of what shape.
    """

    dataset: Dataset
    sha256: str
    items: Items


def load(registry: Registry, name: str, options: Mapping[str, Any], folder: Path, kept: Path | None = None) -> Facts:
    """Load a data set and return what it is; its arrays are not kept.

    Args:
        registry: where plugins are found.
        name: a NAME or FILE.
        options: of the data set.
        folder: where its files lie, or go.
        kept: where a run store keeps those of its own.

    Raises:
        UserError: there is no such data set, it cannot be had, or it is not what it says.
    """
    plugin, dataset = registry.find("dataset", name), _built(registry, name, options)
    try:
        splits = demands.loaded(dataset, kept if kept and _kept_in_store(dataset) else folder)
        items = splits.items
    except UserError as error:
        raise DataError(f"data set {plugin.name!r}: {error}") from error
    except Exception as error:  # a plugin's own mistake is told like any other reason
        reason = one_line(f"{type(error).__name__}: {error}")
        raise DataError(f"data set {plugin.name!r} ({plugin.file}) does not load: {reason}") from error
    return Facts(dataset, splits.sha256, items)


def declared(registry: Registry, cell: Cell) -> Items | None:
    """Return what a cell's data set says that it holds; None where it does not say."""
    return demands.declared(_built(registry, cell.dataset, cell.options))


def _built(registry: Registry, name: str, options: Mapping[str, Any]) -> Dataset:
    plugin = registry.find("dataset", name)
    return cast(Dataset, build(plugin, options, f"data set {plugin.name!r}", registry.component))


def _kept_in_store(dataset: Dataset) -> bool:
    return getattr(dataset, "kept_in_store", False)


def verified(jobs: Iterable[Job], registry: Registry, folder: Path, kept: Path | None = None) -> list[Job]:
    """Load every data set that `jobs` need, once each, and return the jobs with its version and digest.

    Data sets lie in `folder`, or in `kept` if the run store keeps them.

    Raises:
        UserError: a data set cannot be had, or a cell's networks, budget and scoring do not suit it.
    """
    loaded: dict[tuple[str, str], Facts] = {}
    suited: dict[tuple[str, str], Facts] = {}  # by data set and label, which tell all cells apart but for their seeds
    ready = []
    for job in jobs:
        cell, row = job.cell, (job.cell.dataset, job.cell.label)
        if row not in suited:
            data = cell.dataset, canonical(cell.options)
            if data not in loaded:
                loaded[data] = load(registry, cell.dataset, cell.options, folder, kept)
            suited[row] = facts = loaded[data]
            networks = registry.networks(cell.networks, f"cell {cell.id}")
            demands.check(plain_name(cell.dataset), facts.dataset, facts.items, networks, cell.budget, cell.evaluation)
        facts = suited[row]
        ready.append(replace(job, data={"version": facts.dataset.version, "sha256": facts.sha256}))
    return ready


def demand_same_data(jobs: Iterable[Job], store: Store) -> None:
    """Refuse to score what was trained on other data.

    Raises:
        UserError: a cell was.
    """
    for job in jobs:
        before, now = store.trained_on(job), str(job.data["sha256"])
        if before not in (None, now):
            what = f"{plain_name(job.cell.dataset)} {job.cell.label} seed {job.cell.seed}"
            why = f"was trained on {other_data(before, now)}"
            raise UserError(f"{what} {why}; `bench run` with another --store trains on what is there now")


def unchecked(jobs: Iterable[Job], registry: Registry, folder: Path, kept: Path) -> list[str]:
    """Return the NAMEs of data sets that would have to be loaded to be checked, for they do not say what they hold.

    What the run store keeps is loaded, since nothing is downloaded for that; what others say of themselves has been
    checked with the grid.

    Raises:
        UserError: as `verified`, for data sets that the run store keeps.
    """
    silent: dict[str, None] = {}
    for job in jobs:
        dataset = _built(registry, job.cell.dataset, job.cell.options)
        if _kept_in_store(dataset):
            verified([job], registry, folder, kept)
        elif demands.declared(dataset) is None:
            silent[plain_name(job.cell.dataset)] = None
    return list(silent)


# ---------------------------------------------------------------- in words


def table(survey: Survey) -> str:
    """Return one row per data set and strategy, with the number of its cells in every state."""
    rows: dict[tuple[str, str], Counter[str]] = {}
    for standing in survey.standings:
        cell = standing.cell
        word = _word(standing)
        row = rows.setdefault((survey.names[cell.dataset], cell.label), Counter())
        row["failed" if word in FAILED else word] += 1
    shown = [name for name in COLUMNS if name not in SUBMITTED or any(row[name] for row in rows.values())]
    head = ("data set", "strategy", *shown)
    body = [(dataset, label, *(str(row[name]) for name in shown)) for (dataset, label), row in rows.items()]
    return aligned([head, *body], left=2)


def explanations(survey: Survey) -> Iterable[str]:
    """Give one line per cell: which it is, where it stands and why."""
    for standing in survey.standings:
        yield f"{standing.cell.id}  {survey.name(standing.cell)}  {standing.state}: {standing.why}"


def summary(counts: Counter[str]) -> str:
    """Return `12 cells: 10 ok, 1 crashed, 1 missing`."""
    total = counts.total()
    parts = ", ".join(f"{counts[word]} {word}" for word in (*STATUSES, *STATES) if counts[word])
    return f"{total} {'cell' if total == 1 else 'cells'}: {parts}" if parts else "no cells"


def running(survey: Survey) -> list[str]:
    """Return a line for every cell that runs: which it is, how far, the time left and the last figures."""
    lines = []
    for standing in survey.standings:
        if standing.state == "running":
            live = survey.store.progress(standing.cell.id)
            words = spoken(live.stage, live.done, live.total, live.figures, live.left) if live else "begins"
            lines.append(f"running: {survey.name(standing.cell)}: {plain(words)}")
    return lines


def advice(survey: Survey, retry: str, stale: str, collect: str, cancel: str, wait: str) -> list[str]:
    """Return how to go on with what a plain sweep leaves alone, one sentence each.

    Args:
        survey: the cells.
        retry: the command that runs failed cells again.
        stale: the command that runs stale cells again.
        collect: the command that records lost cells.
        cancel: the command that ends the jobs of a cell.
        wait: the command that waits for submitted cells.
    """
    sentences, counts = [], survey.counts()
    failed = {status: counts[status] for status in RETRIED if counts[status]}
    if failed:
        kinds = ", ".join(f"{count} {status}" for status, count in failed.items())
        number = sum(failed.values())
        cells = "1 cell" if number == 1 else f"{number} cells"
        sentences.append(f"{cells} failed ({kinds}); to run {_them(number)} again: {retry}")
    if number := counts["stale"]:
        cells = "1 cell was" if number == 1 else f"{number} cells were"
        sentences.append(f"{cells} recorded by earlier code of bench; to run {_them(number)} again: {stale}")
    stuck = sum(bool(standing.stuck) for standing in survey.standings)
    if number := counts["lost"]:
        cells = "1 cell is lost: its job is" if number == 1 else f"{number} cells are lost: their jobs are"
        sentences.append(f"{cells} gone without a record; to record {_them(number)}: {collect}")
    if number := counts["pending"] + counts["preempted"] - stuck:
        cells = "1 cell is" if number == 1 else f"{number} cells are"
        sentences.append(f"{cells} left to SLURM; to wait for {_them(number)}: {wait}")
    if stuck:
        waits = "1 cell waits in a job that does" if stuck == 1 else f"{stuck} cells wait in jobs that do"
        themselves = "itself" if stuck == 1 else "themselves"
        why = f"{waits} not start by {themselves}: {unstarted(survey.stuck)}"
        sentences.append(f"{why}; to give one up: {cancel}, with an id of `bench status --why`")
    return sentences


def unstarted(stuck: Mapping[str, str]) -> str:
    """Return `job 12_3 (JobHeldUser), jobs 7_0, 7_1, 7_2 and 37 more (PartitionTimeLimit)`; `stuck` as of `Survey`."""
    jobs: dict[str, list[str]] = {}
    for job, reason in stuck.items():
        jobs.setdefault(reason, []).append(job)
    parts = []
    for reason, named in jobs.items():
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        parts.append(f"job{'s' * (len(named) > 1)} {', '.join(named[:3])}{more} ({one_line(reason)})")
    return ", ".join(parts)


def _them(number: int) -> str:
    return "it" if number == 1 else "them"


def as_json(survey: Survey) -> dict[str, Any]:
    """Return the survey for a program to read."""
    return {
        "grid": survey.grid.name,
        "store": str(survey.store.folder),
        "counts": dict(survey.counts()),
        "cells": [_plain(survey, standing) for standing in survey.standings],
    }


def _plain(survey: Survey, standing: Standing) -> dict[str, Any]:
    cell, names = standing.cell, survey.names
    live = survey.store.progress(cell.id) if standing.state == "running" else None
    return {
        "cell": cell.id,
        "dataset": names[cell.dataset],
        "options": cell.options,
        "strategy": names[cell.strategy],
        "label": cell.label,
        "hyper": cell.hyper,
        "seed": cell.seed,
        "state": standing.state,
        "why": standing.why,
        "job": standing.job or None,
        "live": live and live.plain(),
        **{name: getattr(standing.record, name, None) for name in ("status", "reason", "attempt")},
    }


def aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """Return rows of equal length as a table; the first `left` columns are aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < left else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
