"""What `bench report` prints and writes."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from bench.files import json_text, replacing, sha256
from bench.protocol import UserError
from bench.report import (
    Records,
    View,
    accounts,
    cells,
    figures,
    findings,
    formats,
    lasting,
    page,
    parquet,
    published,
    sources,
    stored,
    summary,
    terminal,
)
from bench.report.cells import Outcome
from bench.report.figures.canvas import Undrawable
from bench.report.findings import Finding
from bench.report.layout import Layout, across, layout
from bench.report.page import content
from bench.report.sources import Source
from bench.report.tables import Table, build, demand
from bench.report.terms import glossary
from bench.sweep.store import Store
from bench.words import ended

PAGE = "index.html"
_ABREAST = 4  # data sets in a table of LaTeX


@dataclass(frozen=True)
class Report:
    """A report before it is printed.

    Attributes:
        grid: its title; empty where it is of the paper's table, which is of several grids.
        tables: one a data set, each with where its records come from.
        overview: tables across data sets.
        remarks: sentences at the end.
        out: the folder of its files; None where nothing is to be written.
    """

    grid: str
    tables: tuple[tuple[Table, Source], ...]
    overview: tuple[Layout, ...]
    remarks: tuple[str, ...]
    out: Path | None

    @cached_property
    def findings(self) -> dict[str, tuple[Finding, ...]]:
        """Name of a table -> what it comes to."""
        return {table.name: tuple(findings.findings(table)) for table, _ in self.tables}

    @cached_property
    def accounts(self) -> dict[str, list[Layout]]:
        """Name of a table -> tables of cost and stability."""
        return {table.name: accounts.accounts(table, source.curves) for table, source in self.tables}


def report(records: Records, out: Path | None, view: View) -> str:
    """Write the tables into files and return them as text; see `bench.report.report`."""
    made = gathered(records, view, out)
    remarks = [*made.remarks]
    shown = [(table, source) for table, source in made.tables if not (view.wide and recorded(table))]
    sources: dict[str, list[str]] = {}
    for table, source in shown:
        sources.setdefault(source.words, []).append(table.title)
    of = [f"{', '.join(titles)}. " if len(sources) > 1 else "" for titles in sources.values()]
    remarks += [f"{titles}Records: {words}." for titles, words in zip(of, sources, strict=True)]
    parts = printed(made, view)
    tables = [table for table, _ in made.tables]
    if made.out is not None:
        names, undrawn = _write(made, view)
        remarks += undrawn
        if not view.wide and any(map(recorded, tables)):
            remarks.append("Every metric, cost and stability: --wide, or table.md")
        remarks.append(f"Written into {made.out}: {', '.join(names)}")
        if PAGE in names:
            remarks.append(f"The page: {made.out / PAGE}")
            if view.opens:
                view.opens(made.out / PAGE)
    return terminal.text(parts, remarks, terms=_terms(made, view.wide), last=view.last)


def gathered(records: Records, view: View, out: Path | None = None) -> Report:
    """Return the tables of a grid, or both columns of the paper's table."""
    with _uncollected():
        return _gathered(records, view, out)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python from looking for circles meanwhile: among 100,000 scores there are none, and it takes a second."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _gathered(records: Records, view: View, out: Path | None) -> Report:
    numbers = published.read()
    if records.grid is not None:
        source = sources.of_grid(records)
        default = source.stores[0] / "report" if source.stores else Path("report")
        if default.is_symlink() and Store(source.stores[0]).foreign:  # it may lead to what is this user's own
            default = Path("report")
        return replace(_grid(source, numbers, view), out=out or default)
    registry, stores = records.registry or sources.default_registry(), records.stores
    columns = list(numbers.columns.values())
    origins = [sources.of_column(column, stores, registry) for column in columns]
    tables = [_built(column.dataset, source, numbers, view) for column, source in zip(columns, origins, strict=True)]
    demand(tables, view.baseline, view.metric)
    folders = tuple(dict.fromkeys(folder for source in origins for folder in source.stores))
    if unused := [store for store in stores if store not in folders]:
        wanted = " or ".join(column.dataset for column in columns)
        raise UserError(
            f"{unused[0]} holds no record of {wanted}, the columns of Table 2; `bench report --grid NAME "
            f"--store {unused[0]}` prints those of another grid"
        )
    if out is None and any(source.records for source in origins):
        out = Path("report")
    remarks = [
        f"{path} is not in Table 2: `bench report --grid {path.name}`" for path in sources.others(folders, columns)
    ]
    return Report("", tuple(zip(tables, origins, strict=True)), (), tuple(remarks), out)


def _grid(source: Source, numbers: published.Published, view: View) -> Report:
    """Return the report of a grid."""
    tables, title = of_grid(source, numbers, view), source.plan.title or source.plan.name
    overview = across(tables, title, source.command)
    if overview:
        overview[0] = replace(overview[0], findings=tuple(findings.across(tables)))
    return Report(title, tuple((table, source) for table in tables), tuple(overview), (), None)


def _grid_or_own(source: Source, view: View) -> Report:
    """Return the report of a grid, by its own metric and baseline where it lacks those that were asked for."""
    numbers = published.read()
    try:
        return _grid(source, numbers, view)
    except UserError:
        return _grid(source, numbers, View())


def of_grid(source: Source, numbers: published.Published, view: View | None = None) -> list[Table]:
    """Return a table for each data set of a grid."""
    planned = [cell.setting.dataset for cell in source.plan.cells]
    names = dict.fromkeys([*planned, *(record.dataset.name for record in source.records)])
    view = view or View()
    tables = [_built(name, source, numbers, view, alone=len(names) == 1) for name in names]
    demand(tables, view.baseline, view.metric)
    return tables


def _built(name: str, source: Source, numbers: published.Published, view: View, alone: bool = True) -> Table:
    return build(name, source, numbers, alone, view.baseline, view.metric)


def printed(made: Report, view: View) -> list[Layout]:
    """Return what is printed: the overview where there is one, else the tables of each data set."""
    parts = [part if view.wide else part.plain for part in made.overview]
    for table, _ in made.tables:
        if not made.overview or view.pairs or view.wide:
            parts += _parts(made, table, view.pairs, view.wide)
    return parts


def recorded(table: Table) -> bool:
    """Tell whether a table has a record."""
    return any(row.outcomes for row in table.rows)


def _parts(made: Report, table: Table, pairs: bool, wide: bool) -> list[Layout]:
    """Return the tables of one data set: the summary with its findings, and what else is asked for."""
    parts = [summary.summary(table), *summary.beside(table), *accounts.tuning(table)]
    if len(parts) > 1 and not recorded(table):
        parts = parts[1:]  # the published numbers alone
    parts[0] = replace(parts[0], title=table.title, findings=made.findings[table.name])
    if not recorded(table):
        return parts
    parts += summary.pairs(table) if pairs else []
    return [*parts, layout(table), *made.accounts[table.name]] if wide else parts


def everything(made: Report, view: View) -> str:
    """Return the whole report as Markdown."""
    layouts = [*made.overview]
    for table, _ in made.tables:
        layouts += _parts(made, table, view.pairs, wide=True)
    return formats.markdown(layouts, _terms(made, wide=True))


def publication(made: Report) -> str:
    """Return the report as LaTeX: a table for each metric, the published numbers, cost and stability; notes apart.

    It names no place on this machine.
    """
    layouts = []
    for overview in made.overview:
        cut = overview.plain.cut(-(-overview.parts // _ABREAST))
        layouts += [replace(part, name=f"{part.name}-{number}") for number, part in enumerate(cut, 1)]
    notes: list[str] = []
    for table, source in made.tables:
        layouts += [summary.single(table, metric) for metric in table.shown]
        layouts += [*summary.beside(table), *accounts.tuning(table), *made.accounts[table.name]]
        said = [f"{sentence}." for sentence in table.conditions]
        said += [finding.sentence for finding in findings.doubts_of(table, table.shown)]
        missing = table.missing.removesuffix(f"; {table.command}")
        said += [ended(note) for note in (missing, *table.notes) if note and note not in source.notes]
        notes += [f"{table.title}: {sentence}" for sentence in said]
    return formats.latex(layouts, list(dict.fromkeys(notes)))


def _terms(made: Report, wide: bool) -> list[tuple[str, str]]:
    tables = [table for table, _ in made.tables]
    names = [metric.name for table in tables for metric in (table.shown if wide else filter(None, [table.lead]))]
    names += [layout.name for layout in made.overview]
    names += [table.column.metric for table in tables if table.column and summary.beside(table)]
    return glossary(tables, names, wide)


def _write(made: Report, view: View) -> tuple[list[str], list[str]]:
    """Write every file of a report, all of the records that its tables show; return their names and what is lacking."""
    assert made.out is not None, "asked for where there is a folder"
    out, tables = made.out, [table for table, _ in made.tables]
    origins = list({id(source): source for _, source in made.tables}.values())
    texts = {
        "table.md": everything(made, view),
        "table.tex": publication(made),
        "table.csv": formats.comma_separated(tables),
    }
    _check_own(out, [*texts, PAGE], origins)
    chosen = [outcome for table in tables for row in table.rows for outcome in row.outcomes.values()]
    of = _origin(made, view, chosen)
    names = None if view.html else lasting.there(out, of)  # a page holds the figures themselves
    shown: list[figures.Shown] = []
    remarks: list[str] = []
    try:
        for name, text in texts.items():
            with replacing(out / name) as file:
                file.write(text.encode())
        if names is None:
            names = _tables(out, origins, chosen)
            try:
                pictures, shown = figures.write(made.tables, out, view.html)
            except Undrawable as reason:
                remarks.append(f"No figures: {reason}")
            else:
                names += pictures
                lasting.note(out, of, names)
        if view.html:
            with replacing(out / PAGE) as file:
                file.write(_page(made, shown, view).encode())
    except OSError as error:
        raise UserError(
            f"the report cannot be written into {out} ({error.strerror or error}); --out gives another folder"
        ) from None
    return [*texts, *names, *([PAGE] if view.html else [])], remarks


def _check_own(out: Path, names: Sequence[str], origins: Sequence[Source]) -> None:
    """Refuse a folder outside of the run stores that holds files of these names and no report."""
    if out.parent in {store for source in origins for store in source.stores} or (out / "records.parquet").exists():
        return
    if there := next((name for name in names if (out / name).exists()), None):
        raise UserError(f"{out} holds a {there} that is not of a report; --out gives another folder")


def _tables(out: Path, origins: Sequence[Source], chosen: Sequence[Outcome]) -> list[str]:
    """Write the long tables of records, their curves and the scores of single items; return the files' names."""
    records = cells.selected((record for source in origins for record in source.records), chosen)
    stores = list(dict.fromkeys(folder for source in origins for folder in source.stores))
    items = (vector for source in origins for vector in stored.items(_held(chosen, source), source.arrays))
    parquet.write_parquet(parquet.long(records), out / "records.parquet")
    tables = list(dict.fromkeys(path for source in origins for path in source.curves.tables))
    parquet.write_parquet(stored.curves(stores, [], chosen, tables), out / "curves.parquet", "curves")
    parquet.write_items(items, out / "items.parquet")
    return ["records.parquet", "curves.parquet", "items.parquet"]


def _origin(made: Report, view: View, chosen: Sequence[Outcome]) -> str:
    """Return a digest of what Parquet and figures come from: records, what is shown of them, code, and libraries."""
    package = Path(__file__).parents[1]
    code = [sha256(file.read_bytes()) for file in sorted(package.rglob("*.py"))]
    versions = [version(library) for library in ("matplotlib", "seaborn", "pillow", "pandas", "pyarrow")]
    plans = [[table.name, source.words, repr(source.plan)] for table, source in made.tables]
    records = [sha256(outcome.model_dump_json().encode()) for outcome in chosen]
    content = [code, versions, plans, [view.metric, view.baseline, view.pairs], records]
    return sha256(json_text(content).encode())  # of a store's path, too, in whatever bytes


def _page(made: Report, shown: Sequence[figures.Shown], view: View) -> str:
    """Return the page of a grid; of the paper's table, where all of its records are committed ones, of all of these."""
    if made.grid or any(source.stores for _, source in made.tables):
        title = made.grid or "Table 2"
        return page.render(title, [content.part(title, made.tables, made.overview, shown)], _terms(made, wide=True))
    committed = [_grid_or_own(source, view) for source in sources.of_grids()]
    parts = [
        content.part(own.grid, own.tables, own.overview, figures.pictures(own.tables), number)
        for number, own in enumerate(committed, 1)
    ]
    terms = {term: words for own in committed for term, words in _terms(own, wide=True)}
    return page.render("Committed results of bench", parts, list(terms.items()))


def _held(chosen: Sequence[Outcome], source: Source) -> list[Outcome]:
    """Return the records that a source holds."""
    held = {(record.cell, record.key) for record in source.records}
    return [outcome for outcome in chosen if (outcome.cell, outcome.key) in held]
