"""The report: tables and pictures made from records and their arrays. It never trains, and never imports torch.

`sources` (long frame) -> `cells` (one outcome per cell) -> `statistics`, `rows`, `tables` -> `layout` (columns) ->
`formats`, `terminal`; arrays -> `figures`; `outputs` carries it out for `bench report`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.plugins import Registry

__all__ = ["report"]


def report(grid: str | None, stores: Sequence[Path], out: Path | None, registry: Registry | None = None) -> str:
    """Write a grid's tables and pictures into files and return them as text for the terminal.

    Args:
        grid: an embedded NAME or a FILE; None for both columns of the paper's Table 2.
        stores: the run stores; empty for the default ones: `$BENCH_STORE/GRID` or `runs/GRID`.
        out: folder of the files; by default `report` in the grid's (first) store; for Table 2 `./report`, once there
            are records.
        registry: where plugins are found, to tell stale records and missing cells; by default the built-in ones and
            those of `BENCH_PLUGINS`.

    Raises:
        UserError: an unknown grid, a store that does not exist or is empty, a folder that cannot be written.
    """
    from bench.report import outputs  # pandas, scipy and rich are imported only when a report is made

    return outputs.report(grid, stores, out, registry)
