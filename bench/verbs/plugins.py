"""The verbs for plugins: what there is, a start for one's own, and whether it keeps its promises."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.protocol import UserError
from bench.verbs import options

if TYPE_CHECKING:
    from bench.plugins import Kind


@click.command("list")
@click.option("--verbose", is_flag=True, help="Show every hyper-parameter and option.")
@options.json
@options.plugins
@options.debug
def list_(verbose: bool, as_json: bool, plugins: tuple[Path, ...]) -> None:
    """List strategies, data sets and grids."""
    from bench.verbs import listing

    found = listing.find(options.registry_of(plugins))
    click.echo(json.dumps(listing.plain(found), indent=1) if as_json else listing.text(found, verbose=verbose))


@click.command()
@click.argument("name", required=False)
@options.data
@options.plugins
@options.debug
def data(name: str | None, data_dir: Path | None, plugins: tuple[Path, ...]) -> None:
    """Fetch and verify data set NAME, or all of them, and say what they are."""
    from bench.sweep.status import load

    registry, folder = options.registry_of(plugins), options.data_folder(data_dir)
    names = [registry.find("dataset", name).name] if name else registry.names("dataset")
    click.echo(f"data folder: {folder}")
    errors = []
    for each in names:
        try:
            facts = load(registry, each, {}, folder)
        except UserError as error:
            if name:
                raise
            errors.append(str(error))  # the others may be well
            continue
        sizes = ", ".join(f"{size:,} {split}" for split, size in facts.sizes.items() if size)
        shape = "x".join(map(str, facts.shape))
        click.echo(f"{each}: {sizes} of {shape}, version {facts.version}, SHA-256 {facts.sha256}")
    for sentence in errors:
        click.echo(f"error: {sentence}", err=True)
    raise click.exceptions.Exit(2 if errors else 0)


@click.command()
@click.argument("kind", type=click.Choice(["strategy", "dataset"]))
@click.argument("name")
@click.option("--plugins", default=".", metavar="DIR", type=click.Path(path_type=Path), help="Where (default: here).")
@options.debug
def new(kind: Kind, name: str, plugins: Path) -> None:
    """Write a working example of a plugin, DIR/strategies/NAME.py or DIR/datasets/NAME.py, to start from."""
    import shlex

    from bench.contracts import write

    file = write(kind, name, plugins)
    click.echo(f"wrote {file}; to check it, and to see it in the list:")
    click.echo(f"  {shlex.join(['bench', 'check', str(file)])}")
    click.echo(f"  {shlex.join(['bench', 'list', '--plugins', str(plugins)])}")


@click.command()
@click.argument("name_or_file", metavar="NAME|FILE")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a default: energy.hidden=8.")
@options.json
@options.data
@options.plugins
@options.debug
def check(
    name_or_file: str, settings: tuple[str, ...], as_json: bool, data_dir: Path | None, plugins: tuple[Path, ...]
) -> None:
    """Check that a strategy or data set keeps its contracts: one line each, and why where one is broken."""
    from bench import contracts
    from bench.plugins import PluginError

    told: list[contracts.Verdict] = []

    def tell(verdict: contracts.Verdict) -> None:
        told.append(verdict)
        if not as_json:
            click.echo(f"  {verdict.status:11}  {verdict.contract:16}  {verdict.reason}".rstrip())

    given = contracts.values(settings)
    try:
        plugin = contracts.find(options.registry_of(plugins), name_or_file)
    except PluginError as error:
        tell(contracts.Verdict("loads", "fail", str(error)))
    else:
        if not as_json:
            click.echo(f"{plugin.name}, a {'strategy' if plugin.kind == 'strategy' else 'data set'} in {plugin.file}")
        for verdict in contracts.check(plugin, given, data=options.data_folder(data_dir)):
            tell(verdict)
    if as_json:
        click.echo(json.dumps([asdict(verdict) for verdict in told], indent=1))
    raise click.exceptions.Exit(1 if any(verdict.status == "fail" for verdict in told) else 0)
