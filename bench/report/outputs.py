"""What `bench report` prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.files import replacing
from bench.plugins import Registry
from bench.protocol import UserError
from bench.report import (
    cells,
    convergence,
    figures,
    formats,
    matrix,
    published,
    sheets,
    sources,
    tables,
    terminal,
)


def report(grid: str | None, stores: Sequence[Path], out: Path | None, registry: Registry | None = None) -> str:
    """Write the tables into files and return them as text; see `bench.report.report`."""
    registry = registry or sources.default_registry()
    numbers = published.read()
    remarks: list[str] = []
    across: list[matrix.Matrix] = []
    if grid is not None:
        source = sources.of_grid(grid, stores, registry)
        used, frames = source.stores, [source.frame]
        made = _tables(source, numbers)
        across = matrix.build(made, source.plan.title or source.plan.name, numbers, source.command)
        out = out or used[0] / "report"
    else:
        columns = list(numbers.columns.values())
        found = [sources.of_column(column, stores, registry) for column in columns]
        made = [_table(column.dataset, source, numbers) for column, source in zip(columns, found, strict=True)]
        used = tuple(dict.fromkeys(folder for source in found for folder in source.stores))
        if unused := [store for store in stores if store not in used]:
            wanted = " or ".join(column.dataset for column in columns)
            raise UserError(
                f"{unused[0]} holds no record of {wanted}, the columns of Table 2; `bench report --grid NAME "
                f"--store {unused[0]}` prints those of another grid"
            )
        frames = [source.frame for source in found]
        if out is None and any(len(frame) for frame in frames):
            out = Path("report")
        remarks += [
            f"{path} is not in Table 2: `bench report --grid {path.name}`" for path in sources.others(used, columns)
        ]
    if out is not None:
        names = _write(out, across, made, pd.concat(frames, ignore_index=True), used)
        if across:
            remarks.append("A table of each data set, with every difference and note, is in the files")
        remarks.append(f"Written into {out}: {', '.join(names)}")
    return terminal.text(across or made, remarks)


def _tables(source: sources.Source, numbers: published.Published) -> list[tables.Table]:
    """Return a table for each data set of a grid."""
    planned = [cell.setting.dataset for cell in source.plan.cells]
    names = dict.fromkeys([*planned, *source.frame["dataset"]])
    return [_table(name, source, numbers, alone=len(names) == 1) for name in names]


def _table(dataset: str, source: sources.Source, numbers: published.Published, alone: bool = True) -> tables.Table:
    records = source.frame[source.frame["dataset"] == dataset]
    plan = source.plan.of(dataset)
    if not alone and plan.title:
        plan = replace(plan, title=f"{plan.title}: {dataset}")
    found, notes = cells.select(cells.outcomes(records), plan, source.evaluation)
    return tables.build(
        dataset,
        found,
        plan,
        numbers,
        source=source.words,
        command=source.command,
        notes=[*notes, *source.notes],
        stores=source.stores,
    )


def _write(
    out: Path,
    across: Sequence[matrix.Matrix],
    made: Sequence[tables.Table],
    frame: pd.DataFrame,
    stores: Sequence[Path],
) -> list[str]:
    """Write every file of a report; return their names."""
    texts = {
        "table.md": formats.markdown([*across, *made]),
        "table.tex": formats.latex([*across, *made]),
        "table.csv": formats.comma_separated(made),
    }
    curves = sources.curves(stores, [])
    try:
        for name, text in texts.items():
            with replacing(out / name) as file:
                file.write(text.encode())
        cells.write_parquet(frame, out / "records.parquet")
        cells.write_parquet(curves, out / "curves.parquet", "curves")
        pictures = [name for drawn in (figures, convergence, sheets) for name in drawn.write(made, stores, out)]
    except OSError as error:
        raise UserError(
            f"the report cannot be written into {out} ({error.strerror or error}); --out gives another folder"
        ) from None
    return [*texts, "records.parquet", "curves.parquet", *pictures]
