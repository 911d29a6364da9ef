"""The suite: what `bench new` writes; what `bench check` finds by NAME or FILE; one verdict a contract.

Nothing here imports torch before something is checked, so that a mistake is told at once.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import files
from bench.contracts.verdicts import Verdict, judge
from bench.places import absolute, existing
from bench.plugins import KINDS, Kind, Plugin, PluginError, Registry, is_file, plain_name
from bench.plugins.kinds import OtherKindError
from bench.plugins.settings import Components, assign, flat, options
from bench.plugins.toml import assignment
from bench.protocol import UserError
from bench.words import listed, nearest, shortened

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def check(
    plugin: Plugin,
    values: Mapping[str, Any] | None = None,
    *,
    data: Path | None = None,
    components: Components | None = None,
) -> Iterator[Verdict]:
    """Give the verdict on each contract of a plugin's kind, in turn.

    Args:
        plugin: what to check; it loads.
        values: hyper-parameters or options in place of the defaults.
        data: the folder of data sets; by default an empty one.
        components: finds the networks and energies that its fields name; by default those that are installed.

    Raises:
        UserError: a field has no default and no value is given.
    """
    from bench.contracts import datasets, energies, networks, strategies
    from bench.contracts.task import one_thread

    kinds: dict[Kind, ModuleType] = {
        "strategy": strategies,
        "dataset": datasets,
        "network": networks,
        "energy": energies,
    }
    values = values or {}
    for key in _required(plugin):
        if not any(_under(value, key) for value in flat(values)):
            raise UserError(f"{key} of {plugin.name} has no default; give it with --set {key}=VALUE")
    with one_thread(), tempfile.TemporaryDirectory(prefix="bench-check-") as name:
        kind, folder = kinds[plugin.kind], Path(name)
        subject = kind.Subject(plugin, values, folder, data or folder, components=components)
        yield from judge(kind.CONTRACTS, subject)


def usual(plugin: Plugin, values: Mapping[str, Any]) -> bool:
    """Tell whether these values change no default of a plugin: they are those of fields that have none."""
    required = _required(plugin)
    return all(any(_under(key, field) for field in required) for key in flat(values))


def _required(plugin: Plugin) -> list[str]:
    return [option.key for option in options(plugin.load()) if option.required]


def _under(key: str, field: str) -> bool:
    """Tell whether a dotted key is a field's, or of something within it."""
    return f"{key}.".startswith(f"{field}.")


def values(settings: Sequence[str]) -> dict[str, Any]:
    """Return nested values from `--set` texts: `energy.hidden=8` is `{"energy": {"hidden": 8}}`.

    Raises:
        UserError: a text is no KEY=VALUE.
    """
    table: dict[str, Any] = {}
    for text in settings:
        assign(table, *assignment(text, "energy.hidden=8"), f"--set {text}")
    return table


# ---------------------------------------------------------------- finding what to check


def find(registry: Registry, name_or_file: str) -> Plugin:
    """Return the plugin of any kind with this NAME or in this FILE; a file's kind is that of the class it defines.

    Raises:
        PluginError: it does not load.
        UserError: there is none, with the nearest name; or a name is that of plugins of several kinds.
    """
    if is_file(name_or_file):
        return _by_contents(registry, name_or_file)
    kinds = [kind for kind in KINDS if name_or_file in registry.names(kind)]
    if len(kinds) > 1:
        words = " and ".join(KINDS[kind].a_word for kind in kinds)
        raise UserError(f'"{name_or_file}" is {words}; give the FILE of the one to check')
    if not kinds:
        names = [name for kind in KINDS for name in registry.names(kind)]
        words, hint = " or ".join(traits.word for traits in KINDS.values()), nearest(name_or_file, names) or ";"
        raise UserError(f'unknown {words} "{name_or_file}"{hint} known: {listed(dict.fromkeys(names))}')
    plugin = registry.find(kinds[0], name_or_file)
    plugin.load()
    return plugin


def _by_contents(registry: Registry, file: str) -> Plugin:
    path = existing(file, "the plugin file")
    errors = []
    for kind in KINDS:
        try:
            Plugin(kind, plain_name(file), str(path.parent), path).load()
        except OtherKindError:
            continue
        except PluginError as error:
            errors.append(error)
        else:
            return registry.find(kind, file)  # which knows of other claims to the name
    if errors:
        raise errors[0]
    rules = ", or ".join(f"with {' and '.join(traits.methods)} ({traits.a_word})" for traits in KINDS.values())
    raise PluginError(f"{path} defines no plugin: a public class {rules}")


# ---------------------------------------------------------------- a file to start from


def write(kind: Kind, name: str, folder: Path, like: str = "") -> Path:
    """Write the example of a kind, which works, as `FOLDER/strategies/NAME.py` or the like, and return its path.

    Args:
        kind: of the plugin.
        name: words of small letters and digits, with `-` or `_` between them.
        folder: what `--plugins` takes; it is made where it does not exist.
        like: the built-in plugin whose source it starts from, in place of the example.

    Raises:
        UserError: the name is no plugin's name or has been claimed, the file exists, or it cannot be written.
    """
    plain, traits = name.replace("_", "-"), KINDS[kind]
    if not NAME.fullmatch(plain):
        raise UserError(
            f'"{shortened(name, 60)}" is no name for {traits.a_word}; allowed are words of small letters and digits, '
            "the first of them a letter, with - between them: my-idea"
        )
    place = f"{traits.folder}/{plain.replace('-', '_')}.py"
    file = absolute(place, f"the file of that {traits.word}", absolute(folder, "--plugins"))
    if os.path.lexists(file):  # be it a link to nothing
        raise UserError(f"{file} exists already and is left as it is; give another name, or delete it first")
    registry = Registry()
    if plain in registry.names(kind):
        other = registry.find(kind, plain).file
        raise UserError(f'the {traits.word} name "{plain}" is claimed by {other}; give another name')
    template, old = Path(__file__).parent / "templates" / f"{kind}.py", "Example"
    if like:
        template, old = _built_in(registry, kind, like)
    source = template.read_text(encoding="utf-8")
    source = source.replace(f"class {old}(", f"class {''.join(map(str.capitalize, plain.split('-')))}(")
    try:
        with files.creating(file) as out:
            out.write(source.encode())
    except FileExistsError as error:  # also a file where the folder should be
        there = error.filename2 or error.filename  # os.link names what it links from first
        raise UserError(f"{there} exists already and is left as it is; give another name") from error
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror})") from error
    return file


def _built_in(registry: Registry, kind: Kind, name: str) -> tuple[Path, str]:
    """Return the file of a built-in plugin and the name of its class.

    Raises:
        UserError: there is none.
    """
    plugins = [registry.find(kind, other) for other in registry.names(kind)]
    chosen = {plugin.name: plugin for plugin in plugins if plugin.origin == "built-in"}
    if name not in chosen:
        hint = nearest(name, [*chosen]) or ";"
        raise UserError(f'no built-in {KINDS[kind].word} is called "{name}"{hint} there are: {listed([*chosen])}')
    return chosen[name].file, chosen[name].load().__name__
