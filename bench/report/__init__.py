"""The report: findings, tables and pictures made from records and their arrays. It never trains, and imports no torch.

`sources` (records) -> `cells` -> `selection` (one outcome per cell) -> `statistics`, `rows`, `verdicts`, `tables` ->
`findings` (sentences), `summary`, `accounts`, `layout` (columns) -> `formats`, `terminal`; `arrays`, `curves` ->
`figures`; all of them -> `page`, one HTML file;
`outputs` carries it out for `bench report`, `agreement` compares with what was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.grid import Grid
    from bench.plugins import Registry

__all__ = ["Records", "View", "agreement", "report"]


@dataclass(frozen=True)
class Records:
    """The records that a report is of.

    Attributes:
        grid: an embedded NAME, a FILE, or a grid with what was changed of it; None for both columns of the paper's
            Table 2.
        stores: the run stores; empty for the default ones: `$BENCH_STORE/GRID` or `runs/GRID`, and where they are not
            there the records that come with bench.
        registry: where plugins are found, to tell stale records and missing cells; by default the built-in ones and
            those of `BENCH_PLUGINS`.
        settings: `--set` values, changes to the grid.
        all_settings: show records of any training and scoring conditions, as rows of their own.
        run: the command that makes missing cells, where it is known; by default it is worked out.
    """

    grid: str | Grid | None
    stores: Sequence[Path] = ()
    registry: Registry | None = None
    settings: Sequence[str] = ()
    all_settings: bool = False
    run: str = ""


@dataclass(frozen=True)
class View:
    """How a reader wants to see a table.

    Attributes:
        metric: of the verdicts, in place of the grid's headline metric.
        baseline: the row that others are compared to, in place of the published baseline.
        pairs: compare every two rows as well.
        wide: print every metric, cost and stability as well.
        last: print the findings last.
        html: write the page as well.
        opens: takes the place of the page once it is written.
    """

    metric: str | None = None
    baseline: str | None = None
    pairs: bool = False
    wide: bool = False
    last: bool = False
    html: bool = False
    opens: Callable[[Path], object] | None = None


def report(records: Records, out: Path | None = None, view: View | None = None) -> str:
    """Write tables and pictures of records into files and return findings and table as text for the terminal.

    Args:
        records: the records.
        out: folder of the files; by default `report` in the grid's (first) store, else `./report`, once there are
            records.
        view: how it is to be seen.

    Raises:
        UserError: an unknown grid, metric or baseline, a store that does not exist or is empty, a folder that cannot be
            written.
    """
    from bench.report import outputs  # pandas, scipy and rich are imported only when a report is made

    return outputs.report(records, out, view or View())


def agreement(records: Records, view: View | None = None) -> tuple[str, bool]:
    """Compare records with those that come with bench and with the published numbers; write nothing.

    Args:
        records, view: as of `report`.

    Returns:
        A sentence on each row that differs, or on what agrees; and whether all agree.

    Raises:
        UserError: as `report`, or there is nothing to compare.
    """
    from bench.report import checks

    return checks.agreement(records, view or View())
