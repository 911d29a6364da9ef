"""The verbs that make tables from records."""

from __future__ import annotations

from pathlib import Path

import click

from bench.verbs import options


@click.command()
@click.option("--grid", metavar="NAME", help="A grid, or a .toml FILE (default: both columns of Table 2).")
@click.option("--store", "stores", multiple=True, metavar="DIR", type=click.Path(path_type=Path), help="A run store.")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Where the tables' files go.")
@options.plugins
@options.debug
def report(grid: str | None, stores: tuple[Path, ...], out: Path | None, plugins: tuple[Path, ...]) -> None:
    """Print the tables from the records, and write them as Markdown, LaTeX and CSV."""
    from bench.report import report as make

    click.echo(make(grid, stores, out, options.registry_of(plugins)))
