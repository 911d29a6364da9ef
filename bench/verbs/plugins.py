"""The verbs for plugins and tables: what there is, a start for one's own, its promises, and what records say."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.files import json_text
from bench.places import embedded
from bench.plugins import KINDS, Description, Kind, PluginError, Registry
from bench.verbs import options
from bench.words import UserError, plain

if TYPE_CHECKING:
    from bench.sweep.requests import Request


@click.command("list")
@options.flag("--verbose", help="Show every hyper-parameter and option.")
@options.json
@options.plugins
def list_(plugins: Sequence[Path], verbose: bool, as_json: bool) -> None:
    """List strategies, data sets, networks, energies and grids."""
    registry = Registry(plugins)
    described = {kind: registry.describe(kind, verbose or as_json) for kind in KINDS}
    if as_json:
        content: dict[str, list[Any]] = {
            KINDS[kind].folder: [asdict(plugin) | {"file": str(plugin.file)} for plugin in described[kind]]
            for kind in KINDS
        }
        click.echo(json_text(content | {"grids": embedded()}))
        return
    width = max((len(plugin.name) for kind in KINDS for plugin in described[kind]), default=0)
    lines = []
    for kind, descriptions in described.items():
        lines += [KINDS[kind].words, *_described(descriptions, width, verbose), ""]
    lines += ["grids", *(f"  {name}" for name in embedded())]
    click.echo("\n".join(map(plain, lines)))  # names of files and what plugins say of themselves may be a stranger's


def _described(descriptions: Iterable[Description], width: int, verbose: bool) -> Iterator[str]:
    """Give a line a plugin; where `verbose`, its file and fields below."""
    for plugin in descriptions:
        origin = "" if plugin.origin == "built-in" else f"  [{plugin.origin}]"
        words = f"does not load: {plugin.error}" if plugin.error else plugin.summary
        yield f"  {plugin.name:{width}}  {words}{origin}"
        if verbose:
            yield f"      file: {plugin.file}"
            for option in plugin.fields:
                default = "required" if option.required else f"default {json.dumps(option.default)}"
                tuned = f"tuned over {_searched(option.search)}" if option.search else ""
                yield f"      {option.key}: {', '.join(filter(None, (option.type, option.bounds, default, tuned)))}"
                if option.description:
                    yield f"          {option.description}"


def _searched(search: dict[str, Any]) -> str:
    if search.get("choices"):
        return ", ".join(json.dumps(choice) for choice in search["choices"])
    return f"{search['low']} .. {search['high']}{' (logarithmic)' if search.get('log') else ''}"


@click.command()
@click.argument("name", required=False)
@options.data
@options.request
def data(request: Request, name: str | None) -> None:
    """Fetch and verify data set NAME, or all of them, and say what they are."""
    from bench.sweep.status import load

    registry = request.registry
    names = [registry.find("dataset", name).name] if name else _fetched(registry)
    click.echo(plain(f"data folder: {request.data}"))
    errors = []
    for dataset in names:
        try:
            facts = load(registry, dataset, {}, request.data)
        except UserError as error:
            if name:
                raise
            errors.append(str(error))  # the others may be well
            continue
        items = facts.items
        counts = {"train": items.train, "validation": items.validation, "test": items.test}
        sizes = ", ".join(f"{size:,} {split}" for split, size in counts.items() if size)
        shape = "x".join(map(str, items.shape))
        said = f"{dataset}: {sizes} of {shape}, version {facts.dataset.version}, SHA-256 {facts.sha256}"
        click.echo(plain(said))
    for sentence in errors:
        options.say(f"error: {sentence}")
    raise click.exceptions.Exit(2 if errors else 0)


def _fetched(registry: Registry) -> list[str]:
    """Return the data sets that can be fetched; those that a run store keeps are its users' own."""
    described = registry.describe("dataset")
    return [data.name for data in described if data.error or not any(field.required for field in data.fields)]


@click.command()
@click.argument("kind", type=click.Choice([*KINDS]))
@click.argument("name")
@options.folder("--plugins", default=".", help="Where (default: here).")
@click.option("--like", default="", metavar="NAME2", help="Start from this built-in plugin, not from the example.")
def new(kind: Kind, name: str, plugins: Path, like: str) -> None:
    """Write a working example of a plugin, such as DIR/strategies/NAME.py, to start from."""
    from bench import contracts

    file = contracts.write(kind, name, plugins, like)
    click.echo(plain(f"wrote {file}; to check it, and to see it in the list:"))
    click.echo(plain(f"  {shlex.join(['bench', 'check', str(file)])}"))
    click.echo(plain(f"  {shlex.join(['bench', 'list', '--plugins', str(plugins)])}"))


@click.command()
@click.argument("name_or_file", metavar="NAME|FILE")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a default: energy.hidden=8.")
@options.json
@options.data
@options.request
def check(request: Request, name_or_file: str, changes: Sequence[str], as_json: bool) -> None:
    """Check that a plugin of any kind keeps its contracts: one line each, and why where one is broken.

    A report says which plugins have not passed. One that passes with --set, where it need not be, does not count.
    """
    from bench import contracts
    from bench.sweep import receipts

    values = contracts.values(changes)
    plugin, code = None, ""
    try:
        plugin = contracts.find(request.registry, name_or_file)
    except PluginError as error:
        head, verdicts = "", iter([contracts.Verdict("loads", "fail", str(error))])
    else:
        head, code = plain(f"{plugin.name}, {plugin.traits.a_word} in {plugin.file}"), receipts.fingerprint(plugin)
        verdicts = contracts.check(plugin, values, data=request.data, components=request.registry.component)
    if head and not as_json:
        click.echo(head)
    rows = []
    for verdict in verdicts:
        rows.append(asdict(verdict))
        if not as_json:
            click.echo(plain(f"  {verdict.status:11}  {verdict.contract:16}  {verdict.reason}".rstrip()))
    if as_json:
        click.echo(json_text(rows))
    if any(row["status"] == "fail" for row in rows):
        raise click.exceptions.Exit(1)
    if plugin is not None and contracts.usual(plugin, values) and receipts.fingerprint(plugin) == code:
        try:
            receipts.keep(plugin, code)
        except OSError as error:
            options.say(f"note: that it passed cannot be kept ({error.strerror}: {error.filename})")


@click.command()
@click.option("--grid", "name", metavar="NAME", help="A grid, or a .toml FILE (default: both columns of Table 2).")
@options.folder("--store", "stores", multiple=True, help="A run store.")
@options.folder("--out", help="Where the tables' files go.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Show the grid with this changed.")
@options.flag("--all-settings", help="Show records of other training and scoring settings, too, as rows of their own.")
@click.option("--metric", metavar="NAME", help="Compare by this metric, such as vlb (default: the grid's headline).")
@click.option("--baseline", metavar="NAME", help="Compare to this row (default: normal).")
@options.flag("--pairs", help="Compare every two rows, too.")
@options.flag("--wide", help="Print every metric, cost and stability, too.")
@options.flag(
    "--check", help="Compare with the records that come with bench and the published numbers; print no table."
)
@options.flag("--html", help="Write the page, one file that a browser shows, too.")
@options.flag("--open", "opened", help="Write the page and open it in a browser.")
@options.request
def report(
    request: Request,
    name: str | None,
    stores: Sequence[Path],
    out: Path | None,
    all_settings: bool,
    check: bool,
    opened: bool,
    html: bool,
    **view: Any,
) -> None:
    """Say what the records come to, print the table, and write it as Markdown, LaTeX and CSV.

    With --check it exits with 1 if a row differs from what was committed or published by more than chance explains.
    """
    from bench.report import Records, View, agreement
    from bench.report import report as tables

    settings = request.settings
    if name is None and (settings or all_settings):
        option = f"--set {next(iter(settings))}" if settings else "--all-settings"
        raise UserError(f"{option} is said of a grid; add --grid NAME")
    records = Records(name, stores, request.registry, list(settings), all_settings)
    seen = View(**view, html=html or opened, opens=_open if opened else None)
    if check:
        text, agrees = agreement(records, seen)
        click.echo(text)
        raise click.exceptions.Exit(0 if agrees else 1)
    click.echo(tables(records, out, seen))


def _open(page: Path) -> None:
    """Show the page in the user's browser; where there is none, say so."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        options.say(f"no browser can be opened here; open {page} yourself")
