"""What `bench report` prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.files import replacing
from bench.grid import Grid
from bench.plugins import Registry
from bench.protocol import UserError
from bench.report import cells, figures, formats, published, sources, terminal
from bench.report.arrays import Arrays
from bench.report.cells import Outcome
from bench.report.layout import Layout, across, layout
from bench.report.sources import Source
from bench.report.tables import Table, build


def report(
    grid: str | Grid | None,
    stores: Sequence[Path],
    out: Path | None,
    registry: Registry | None = None,
    settings: Sequence[str] = (),
    all_settings: bool = False,
) -> str:
    """Write the tables into files and return them as text; see `bench.report.report`."""
    registry = registry or sources.default_registry()
    numbers = published.read()
    remarks: list[str] = []
    overview: list[Layout] = []
    if grid is not None:
        source = sources.of_grid(grid, stores, registry, settings, all_settings)
        origins, folders = [source], source.stores
        tables = of_grid(source, numbers)
        overview = across(tables, source.plan.title or source.plan.name, source.command)
        out = out or folders[0] / "report"
    else:
        columns = list(numbers.columns.values())
        origins = [sources.of_column(column, stores, registry) for column in columns]
        tables = [build(column.dataset, source, numbers) for column, source in zip(columns, origins, strict=True)]
        folders = tuple(dict.fromkeys(folder for source in origins for folder in source.stores))
        if unused := [store for store in stores if store not in folders]:
            wanted = " or ".join(column.dataset for column in columns)
            raise UserError(
                f"{unused[0]} holds no record of {wanted}, the columns of Table 2; `bench report --grid NAME "
                f"--store {unused[0]}` prints those of another grid"
            )
        if out is None and any(source.records for source in origins):
            out = Path("report")
        remarks += [
            f"{path} is not in Table 2: `bench report --grid {path.name}`" for path in sources.others(folders, columns)
        ]
    if out is not None:
        names = _write(out, overview, tables, origins)
        if overview:
            remarks.append("A table of each data set, with every difference and note, is in the files")
        remarks.append(f"Written into {out}: {', '.join(names)}")
    return terminal.text(overview or [layout(table) for table in tables], remarks)


def of_grid(source: sources.Source, numbers: published.Published) -> list[Table]:
    """Return a table for each data set of a grid."""
    planned = [cell.setting.dataset for cell in source.plan.cells]
    names = dict.fromkeys([*planned, *(record.dataset.name for record in source.records)])
    return [build(name, source, numbers, alone=len(names) == 1) for name in names]


def _write(out: Path, overview: Sequence[Layout], tables: Sequence[Table], origins: Sequence[Source]) -> list[str]:
    """Write every file of a report, all of the records that its tables show; return their names."""
    layouts = [*overview, *map(layout, tables)]
    texts = {
        "table.md": formats.markdown(layouts),
        "table.tex": formats.latex(layouts),
        "table.csv": formats.comma_separated(tables),
    }
    chosen = [outcome for table in tables for row in table.rows for outcome in row.outcomes.values()]
    records = cells.selected((record for source in origins for record in source.records), chosen)
    stores = list(dict.fromkeys(folder for source in origins for folder in source.stores))
    items = (part for source in origins for part in sources.items(_held(chosen, source), source.arrays))
    try:
        for name, text in texts.items():
            with replacing(out / name) as file:
                file.write(text.encode())
        cells.write_parquet(cells.long(records), out / "records.parquet")
        cells.write_parquet(sources.curves(stores, [], chosen), out / "curves.parquet", "curves")
        cells.write_parquet(items, out / "items.parquet", "items")
        pictures = figures.write(tables, origins[0].arrays if len(origins) == 1 else Arrays(stores), out)
    except OSError as error:
        raise UserError(
            f"the report cannot be written into {out} ({error.strerror or error}); --out gives another folder"
        ) from None
    return [*texts, "records.parquet", "curves.parquet", "items.parquet", *pictures]


def _held(chosen: Sequence[Outcome], source: Source) -> list[Outcome]:
    """Return the records that a source holds."""
    held = {(record.cell, record.key) for record in source.records}
    return [outcome for outcome in chosen if (outcome.cell, outcome.key) in held]
