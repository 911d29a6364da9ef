"""The report: tables and pictures made from records and their arrays. It never trains, and never imports torch.

`sources` (records) -> `cells` -> `selection` (one outcome per cell) -> `statistics`, `rows`, `verdicts`, `tables` ->
`layout` (columns) -> `formats`, `terminal`; `arrays` -> `figures`; `outputs` carries it out for `bench report`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.grid import Grid
    from bench.plugins import Registry

__all__ = ["report"]


def report(
    grid: str | Grid | None,
    stores: Sequence[Path],
    out: Path | None,
    registry: Registry | None = None,
    settings: Sequence[str] = (),
    all_settings: bool = False,
) -> str:
    """Write a grid's tables and pictures into files and return them as text for the terminal.

    Args:
        grid: an embedded NAME, a FILE, or a grid with what was changed of it; None for both columns of the paper's
            Table 2.
        stores: the run stores; empty for the default ones: `$BENCH_STORE/GRID` or `runs/GRID`.
        out: folder of the files; by default `report` in the grid's (first) store; for Table 2 `./report`, once there
            are records.
        registry: where plugins are found, to tell stale records and missing cells; by default the built-in ones and
            those of `BENCH_PLUGINS`.
        settings: `--set` values, changes to the grid.
        all_settings: show records of any training and scoring conditions, as rows of their own.

    Raises:
        UserError: an unknown grid, a store that does not exist or is empty, a folder that cannot be written.
    """
    from bench.report import outputs  # pandas, scipy and rich are imported only when a report is made

    return outputs.report(grid, stores, out, registry, settings, all_settings)
