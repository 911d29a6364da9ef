"""What `bench report` prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.files import replacing
from bench.grid import Grid
from bench.plugins import Registry
from bench.protocol import UserError
from bench.report import accounts, cells, figures, findings, formats, page, published, sources, summary, terminal
from bench.report.cells import Outcome
from bench.report.layout import Layout, across, layout
from bench.report.page import content
from bench.report.sources import Source
from bench.report.tables import Table, build
from bench.report.terms import glossary

PAGE = "index.html"


@dataclass(frozen=True)
class View:
    """How a reader wants to see a table.

    Attributes:
        metric: of the verdicts, in place of the grid's headline metric.
        baseline: the row that others are compared to.
        pairs: compare every two rows as well.
        wide: print every metric, cost and stability as well.
        last: print the findings last.
        html: write the page as well.
    """

    metric: str | None = None
    baseline: str | None = None
    pairs: bool = False
    wide: bool = False
    last: bool = False
    html: bool = False


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


def report(
    grid: str | Grid | None,
    stores: Sequence[Path],
    out: Path | None,
    registry: Registry | None = None,
    settings: Sequence[str] = (),
    all_settings: bool = False,
    view: View | None = None,
) -> str:
    """Write the tables into files and return them as text; see `bench.report.report`."""
    view = view or View()
    made = gathered(grid, stores, out, registry, settings, all_settings, view)
    remarks = list(made.remarks)
    shown = _shown(made, view)
    tables = [table for table, _ in made.tables]
    if made.out is not None:
        names = _write(made, view)
        if not view.wide and any(row.outcomes for table in tables for row in table.rows):
            remarks.append("Every metric, cost and stability: --wide, or table.md")
        remarks.append(f"Written into {made.out}: {', '.join(names)}")
        if PAGE in names:
            remarks.append(f"The page: {made.out / PAGE}")
    return terminal.text(shown, remarks, terms=_terms(made, view.wide), last=view.last)


def gathered(
    grid: str | Grid | None,
    stores: Sequence[Path],
    out: Path | None,
    registry: Registry | None,
    settings: Sequence[str],
    all_settings: bool,
    view: View,
) -> Report:
    """Return the tables of a grid, or both columns of the paper's table."""
    registry = registry or sources.default_registry()
    numbers = published.read()
    if grid is not None:
        source = sources.of_grid(grid, stores, registry, settings, all_settings)
        return replace(_grid(source, numbers, view), out=out or source.stores[0] / "report")
    columns = list(numbers.columns.values())
    origins = [sources.of_column(column, stores, registry) for column in columns]
    tables = [_built(column.dataset, source, numbers, view) for column, source in zip(columns, origins, strict=True)]
    folders = tuple(dict.fromkeys(folder for source in origins for folder in source.stores))
    if unused := [store for store in stores if store not in folders]:
        wanted = " or ".join(column.dataset for column in columns)
        raise UserError(
            f"{unused[0]} holds no record of {wanted}, the columns of Table 2; `bench report --grid NAME "
            f"--store {unused[0]}` prints those of another grid"
        )
    if out is None and any(len(source.frame) for source in origins):
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


def of_grid(source: Source, numbers: published.Published, view: View | None = None) -> list[Table]:
    """Return a table for each data set of a grid."""
    planned = [cell.setting.dataset for cell in source.plan.cells]
    names = dict.fromkeys([*planned, *source.frame["dataset"]])
    return [_built(name, source, numbers, view or View(), alone=len(names) == 1) for name in names]


def _built(name: str, source: Source, numbers: published.Published, view: View, alone: bool = True) -> Table:
    return build(name, source, numbers, alone, view.baseline, view.metric)


def _shown(made: Report, view: View) -> list[Layout]:
    """Return what is printed: the overview where there is one, else the tables of each data set."""
    parts = [*made.overview]
    for table, source in made.tables:
        if not made.overview or view.pairs or view.wide:
            parts += _parts(table, source, view.pairs, view.wide)
    return parts


def _parts(table: Table, source: Source, pairs: bool, wide: bool) -> list[Layout]:
    """Return the tables of one data set: the summary with its findings, and what else is asked for."""
    first = replace(summary.summary(table), findings=tuple(findings.findings(table)))
    parts = [first, *summary.beside(table)]
    parts += summary.pairs(table) if pairs else []
    return [*parts, layout(table), *accounts.accounts(table, source.curves)] if wide else parts


def everything(made: Report, view: View) -> str:
    """Return the whole report as Markdown."""
    layouts = [*made.overview]
    for table, source in made.tables:
        layouts += _parts(table, source, view.pairs, wide=True)
    return formats.markdown(layouts, _terms(made, wide=True))


def _terms(made: Report, wide: bool) -> list[tuple[str, str]]:
    tables = [table for table, _ in made.tables]
    names = [metric.name for table in tables for metric in (table.shown if wide else filter(None, [table.lead]))]
    names += [layout.name for layout in made.overview]
    names += [table.column.metric for table in tables if table.column]
    return glossary(tables, names, wide)


def _write(made: Report, view: View) -> list[str]:
    """Write every file of a report, all of the records that its tables show; return their names."""
    assert made.out is not None, "asked for where there is a folder"
    out, tables = made.out, [table for table, _ in made.tables]
    origins = list({id(source): source for _, source in made.tables}.values())
    texts = {
        "table.md": everything(made, view),
        "table.tex": formats.latex([*made.overview, *map(layout, tables)]),
        "table.csv": formats.comma_separated(tables),
    }
    chosen = [outcome for table in tables for row in table.rows for outcome in row.outcomes.values()]
    frame = pd.concat([source.frame for source in origins], ignore_index=True)
    stores = list(dict.fromkeys(folder for source in origins for folder in source.stores))
    items = (part for source in origins for part in sources.items(_held(chosen, source), source.arrays))
    try:
        for name, text in texts.items():
            with replacing(out / name) as file:
                file.write(text.encode())
        cells.write_parquet(cells.selected(frame, chosen), out / "records.parquet")
        cells.write_parquet(sources.curves(stores, [], chosen), out / "curves.parquet", "curves")
        cells.write_parquet(items, out / "items.parquet", "items")
        pictures, shown = figures.write(made.tables, out)
        if view.html:
            with replacing(out / PAGE) as file:
                file.write(_page(made, shown, view).encode())
    except OSError as error:
        raise UserError(
            f"the report cannot be written into {out} ({error.strerror or error}); --out gives another folder"
        ) from None
    return [*texts, "records.parquet", "curves.parquet", "items.parquet", *pictures, *([PAGE] if view.html else [])]


def _page(made: Report, shown: Sequence[figures.Shown], view: View) -> str:
    """Return the page of a grid; of the paper's table, where all of its records are committed ones, of all of these."""
    if made.grid or any(source.stores for _, source in made.tables):
        title = made.grid or "Table 2"
        return page.render(title, [content.part(title, made.tables, made.overview, shown)], _terms(made, wide=True))
    committed = [_grid(source, published.read(), view) for source in sources.of_committed(sources.default_registry())]
    parts = [
        content.part(own.grid, own.tables, own.overview, figures.pictures(own.tables), number)
        for number, own in enumerate(committed, 1)
    ]
    terms = {term: words for own in committed for term, words in _terms(own, wide=True)}
    return page.render("Committed results of bench", parts, list(terms.items()))


def _held(chosen: Sequence[Outcome], source: Source) -> list[Outcome]:
    """Return the records that a source holds."""
    held = set(zip(source.frame["cell"], source.frame["key"], strict=True))
    return [outcome for outcome in chosen if (outcome.cell, outcome.key) in held]
