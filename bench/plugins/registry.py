"""Finds, describes and lazily loads what plugin files define: strategies, data sets, networks and energies.

Plugins come from three places: the built-in folders, the entry-point groups `bench.strategies`, `bench.datasets`,
`bench.networks` and `bench.energies`, and the folders given with `--plugins`. The working directory is never searched.
A file that does not load is a described error, never a crash.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import itertools
import operator
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from bench import files, words
from bench.places import absolute, existing, remembered, resolved
from bench.plugins import foreign
from bench.plugins.descriptions import Description, described
from bench.plugins.foreign import PACKAGE, Runaway, reason
from bench.plugins.kinds import KINDS, MOST, Kind, PluginError, Traits
from bench.words import UserError, listed, nearest

# what needs pydantic is imported where a plugin is loaded: the rest of `bench list` takes less time than that alone
if TYPE_CHECKING:
    from bench.plugins.settings import Components
    from bench.protocol import Component, Networks, Settings

_SOURCES: dict[Path, bytes] = {}  # of plain files, as they were when this process executed them


def plain_name(name_or_file: str | Path) -> str:
    """Return the plugin name that a NAME or a FILE stands for: the stem of a file, with `-` for `_`."""
    text = str(name_or_file)
    return Path(text).stem.replace("_", "-") if is_file(text) else text


def is_file(name_or_file: str) -> bool:
    """Tell a FILE (it ends in `.py` or has a folder in it) from a NAME."""
    return name_or_file.endswith(".py") or "/" in name_or_file or os.sep in name_or_file


# ---------------------------------------------------------------- one plugin


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found, not necessarily loaded. It can be pickled.

    Attributes:
        kind: `strategy`, `dataset`, `network` or `energy`.
        name: the file's stem with `-` for `_`, or the entry point's name.
        origin: `built-in`, `entry point PACKAGE`, or the folder it lies in.
        file: its source file.
        target: what an entry point imports, `package.module` or `package.module:Class`; empty for a plain file.
    """

    kind: Kind
    name: str
    origin: str
    file: Path
    target: str = ""

    @property
    def traits(self) -> Traits:
        """What is said of its kind."""
        return KINDS[self.kind]

    def load(self, fields: bool = True) -> type[Settings]:
        """Execute the file and return its class, with `cls.name` set; an unchanged file is executed once a process.

        Args:
            fields: look at its fields, too: whether they keep the rules and can be described.

        Raises:
            PluginError: why it does not load.
        """
        from bench.plugins import rules

        source = b"" if self.target else self._read()
        try:
            loaded = self._imported() if self.target else self._executed(source)
        except Runaway as error:
            raise PluginError(f"{self.file} does not load: {error}") from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(f"{self.file} does not load: {reason(error, self.file)}") from error
        cls = rules.checked(self, rules.class_in(self, loaded) if isinstance(loaded, ModuleType) else loaded)
        if fields:
            rules.check_fields(self, cls)
        if vars(cls).get("name") != self.name:  # to set it makes Python forget what it knows of the class
            cls.name = self.name  # type: ignore[attr-defined]
        return cls

    @property
    def executed(self) -> bytes | None:
        """What this process has executed of a plain file, last; None where nothing."""
        return _SOURCES.get(self.file)

    def _read(self) -> bytes:
        """Return what a plain file holds.

        Raises:
            PluginError: it cannot be read, or is no file: a folder, a device, a pipe, a link to nothing.
        """
        try:
            return files.read(self.file, MOST)
        except OSError as error:
            raise PluginError(f"{self.file} does not load: {error.strerror}") from error

    def _executed(self, source: bytes) -> ModuleType:
        """Execute the source of a plain file as a module of its own, named after its place and contents."""
        _SOURCES[self.file] = source
        mark = hashlib.sha256(os.fsencode(self.file) + b"\0" + source).hexdigest()[:12]
        name = f"{PACKAGE}.{self.traits.folder}.{self.file.stem}.{mark}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, self.file)
        assert spec is not None, "a file that ends in .py has a spec"
        module = importlib.util.module_from_spec(spec)
        # before it is executed: pydantic and dataclasses look postponed annotations up in sys.modules
        sys.modules[name] = module
        try:
            # not through the loader: its cached bytecode goes by modification time and may be older than the source
            with _importing():
                exec(compile(source, self.file, "exec", dont_inherit=True), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    def _imported(self) -> Any:
        """Import an entry point's target, a module or what it names in one."""
        module, _, attribute = self.target.partition(":")
        with _importing() if module not in sys.modules else contextlib.nullcontext():
            target: Any = importlib.import_module(module)
        return operator.attrgetter(attribute)(target) if attribute else target


def _importing() -> contextlib.AbstractContextManager[None]:
    return foreign.confined("its import", foreign.LONGEST)


def build(
    plugin: Plugin,
    values: Mapping[str, Any],
    where: str | Callable[[str], str],
    components: Components | None = None,
) -> Settings:
    """Return the plugin's class with `values` for its fields.

    Args:
        plugin: what to build.
        values: plain (TOML or JSON) values; fields left out take their defaults.
        where: what the error starts with, such as the grid's file or `cell 0123456789ab`; or a function that says who
            wrote a dotted key.
        components: finds networks and energies (`Registry.component`); by default those that are installed.

    Raises:
        PluginError: the plugin does not load.
        UserError: `WHERE: strategy.NAME.KEY = VALUE is not allowed; it must be ...`.
    """
    from bench.plugins.settings import validated
    from bench.protocol import Component

    cls, prefix = plugin.load(), f"{plugin.kind}.{plugin.name}"
    if issubclass(cls, Component) and values.get("kind") == plugin.name:  # as its own values say it
        values = {key: value for key, value in values.items() if key != "kind"}
    try:
        return validated(cls, values, where, prefix, components or _installed().component)
    except UserError:
        raise
    except Exception as error:  # whatever a plugin's own validators raise
        writer = where(prefix) if callable(where) else where
        raise PluginError(f"{writer}: {prefix}: {plugin.file} fails: {reason(error, plugin.file)}") from error


@functools.cache
def _installed() -> Registry:
    return Registry()


# ---------------------------------------------------------------- all plugins


class Registry:
    """Every plugin that can be found. It can be pickled.

    Attributes:
        folders: further ones that were given.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        """Look for plugins, executing none.

        Args:
            folders: further folders, each with one or more of `strategies/*.py`, `datasets/*.py`, `networks/*.py` and
                `energies/*.py`.

        Raises:
            UserError: a folder does not exist, holds none of these, or is a link round in a circle.
        """
        self._plugins: dict[tuple[Kind, str], list[Plugin]] = {}
        self._closed, self._earlier = False, False
        self.folders = tuple(absolute(folder, "the plugin folder") for folder in folders)
        points = importlib.metadata.entry_points()  # once: it reads the metadata of all that is installed
        for kind in KINDS:
            offered = points.select(group=f"bench.{KINDS[kind].folder}")
            for plugin in (*_built_in(kind), *_entry_points(kind, offered)):
                self._add(plugin)
        for folder in folders:
            home = resolved(absolute(folder, "the plugin folder"), "the plugin folder")
            homes = [traits.folder for traits in KINDS.values()]
            if not any(os.path.isdir(home / name) for name in homes):
                wrong = "is no folder" if os.path.exists(home) else "does not exist"
                wrong = f"holds none of {'/, '.join(homes)}/" if os.path.isdir(home) else wrong
                raise UserError(f"the plugin folder {folder} {wrong}")
            for kind in KINDS:
                for plugin in _in_folder(kind, home, str(folder)):
                    self._add(plugin)

    def _add(self, plugin: Plugin) -> None:
        claims = self._plugins.setdefault((plugin.kind, plugin.name), [])
        if plugin.file not in (claim.file for claim in claims):
            claims.append(plugin)

    def closed(self, earlier: bool = False) -> Registry:
        """Return a registry of the same plugins that takes no FILE besides: what a run store names is not executed.

        Args:
            earlier: but for what this user has named in an earlier run.
        """
        other = copy.copy(self)
        other._plugins = {key: list(claims) for key, claims in self._plugins.items()}
        other._closed, other._earlier = True, earlier
        return other

    def names(self, kind: Kind) -> list[str]:
        """Return the names of all plugins of `kind`, sorted."""
        return sorted(name for other, name in self._plugins if other == kind)

    def find(self, kind: Kind, name_or_file: str) -> Plugin:
        """Return the plugin with this NAME, or in this FILE (anything that ends in `.py`).

        A FILE is known by its name from then on.

        Raises:
            UserError: there is none (with the nearest name), or two files claim the name.
        """
        name, word = plain_name(name_or_file), KINDS[kind].word
        if not words.is_name(name):
            raise UserError(f'"{words.plain(words.shortened(name, 60))}" is no name of a {word}: {words.NAME}')
        if is_file(name_or_file):
            file = existing(name_or_file, f"the {word} file")
            if file.suffix != ".py":
                raise UserError(f"the {word} file {name_or_file} is no Python file; its name must end in .py")
            claims = self._plugins.get((kind, name), [])
            earlier = self._earlier and remembered("plugin", file)
            if self._closed and not earlier and file not in (claim.file for claim in claims):
                raise UserError(f"the {word} file {name_or_file} is named by a run store alone; name it in `plugins`")
            self._add(Plugin(kind, name, str(file.parent), file))
        claims = self._plugins.get((kind, name), [])
        if not claims:
            hint = nearest(name, self.names(kind)) or ";"
            raise UserError(f'unknown {word} "{name}"{hint} known: {listed(self.names(kind))}')
        if problem := _conflict(claims):
            raise UserError(problem)
        return claims[0]

    def component(self, base: type[Component], name_or_file: str) -> type[Component]:
        """Return the class of the network or energy with this NAME, or in this FILE.

        Raises:
            UserError: there is none, or it does not load or is of another kind.
        """
        plugin = self.find(cast(Kind, base.plugin), name_or_file)
        cls = plugin.load()
        if not issubclass(cls, base):
            raise PluginError(f"{plugin.file}: {cls.__name__} does not extend {plugin.traits.base}")
        return cls

    def networks(self, values: Mapping[str, Any], where: str) -> Networks:
        """Return the `[networks]` table that plain values stand for; `where` is what an error starts with.

        Raises:
            UserError: the values are not allowed.
        """
        from bench.plugins.settings import validated
        from bench.protocol import Networks

        return validated(Networks, values, where, "networks", self.component)

    def parts(self, strategy: Plugin, hyper: Mapping[str, Any], networks: Mapping[str, Any]) -> list[Plugin]:
        """Return the networks and energies that a cell with these plain settings uses.

        Raises:
            UserError: one of them is not to be found, or the strategy does not load.
        """
        from bench.plugins.settings import component_fields
        from bench.plugins.shapes import shown
        from bench.protocol import Networks

        tables = ((strategy.load(), hyper), (Networks, networks))
        fields = [
            (values[field], base)
            for model, values in tables
            for field, base in component_fields(model).items()
            if field in values
        ]
        for values, _ in fields:
            if not isinstance(values, Mapping) or not isinstance(values.get("kind"), str):
                raise UserError(f"{shown(values)} names no kind of network or energy")
        return [self.find(cast(Kind, base.plugin), values["kind"]) for values, base in fields]

    def describe(self, kind: Kind, fields: bool = True) -> list[Description]:
        """Return a description of every plugin of `kind`, sorted by name; a broken one has `error`.

        Args:
            kind: of plugins.
            fields: those of built-in ones, too, which takes as long as all else.
        """
        descriptions = []
        for name in self.names(kind):
            claims = self._plugins[kind, name]
            problem = _conflict(claims)
            descriptions += [described(plugin, problem, fields) for plugin in claims]
        return descriptions


def _conflict(claims: Sequence[Plugin]) -> str:
    """Return what is wrong where several files claim one name, else nothing."""
    if len(claims) == 1:
        return ""
    places = " and by ".join(f"{plugin.file} ({plugin.origin})" for plugin in claims)
    return f'the {claims[0].traits.word} name "{claims[0].name}" is claimed by {places}; rename one of the files'


def _in_folder(kind: Kind, home: Path, origin: str) -> Iterator[Plugin]:
    """Give the plugins of a kind in a plugin folder; files that start with `_` or `.` are none."""
    for file in sorted((home / KINDS[kind].folder).glob("*.py")):
        if not file.name.startswith(("_", ".")):
            place = file
            with contextlib.suppress(UserError):  # what is a link round in a circle says so when it is loaded
                place = resolved(file, "the file")
            yield Plugin(kind, plain_name(file), origin, place)


def _built_in(kind: Kind) -> Iterator[Plugin]:
    """Give the plugins that come with bench: within the package when installed, some beside it in the clone."""
    package = Path(__file__).resolve().parents[1]
    installed, clone = package / "_builtin", package.parent
    if kind in ("network", "energy"):  # bench's own bases have them as defaults, so they are modules like others
        for plugin in _in_folder(kind, package, "built-in"):
            yield replace(plugin, target=f"bench.{plugin.traits.folder}.{plugin.file.stem}")
        return
    # without its project file the clone would be a site-packages folder
    home = clone if not installed.is_dir() and (clone / "pyproject.toml").is_file() else installed
    yield from _in_folder(kind, home, "built-in")


def _entry_points(kind: Kind, points: importlib.metadata.EntryPoints) -> Iterator[Plugin]:
    """Give the plugins that installed packages offer; one named like a built-in is a conflict like any other."""
    for point in points:
        package = point.dist.name if point.dist else point.module.partition(".")[0]
        file = None
        with contextlib.suppress(Exception):  # whatever an installed import hook raises; loading will say it
            file = _source(point.module)
        target = point.value.replace(" ", "")
        yield Plugin(kind, point.name, f"entry point {package}", file or Path(point.module), target)


def _source(module: str) -> Path | None:
    """Return the source file of a module without importing anything, not even the packages it lies in."""
    places: Sequence[str] | None = None
    spec = None
    for name in itertools.accumulate(module.split("."), "{}.{}".format):
        specs = (finder.find_spec(name, places) for finder in sys.meta_path)
        spec = next(filter(None, specs), None)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return Path(spec.origin).resolve() if spec is not None and spec.has_location and spec.origin else None
