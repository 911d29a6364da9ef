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
import inspect
import itertools
import json
import operator
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NoReturn, cast

from bench import files, words
from bench.places import absolute, remembered, user_folder
from bench.plugins.settings import Components, Option, component_fields, options, validated
from bench.plugins.shapes import listed, nearest, shown
from bench.protocol import Component, Networks, Settings, UserError

_SOURCES: dict[Path, bytes] = {}  # of plain files, as they were when this process executed them
LONGEST = 180.0  # seconds that a plugin's import may take: libraries may lie on a slow file system

Kind = Literal["strategy", "dataset", "network", "energy"]


@dataclass(frozen=True)
class Traits:
    """What is said of a kind of plugin.

    Attributes:
        word: what a sentence calls it.
        folder: where its files lie in a plugin folder, and its entry-point group after `bench.`.
        methods: what its class must have.
        base: what its class extends, as a rule.
        words: what a heading calls all of its kind.
    """

    word: str
    folder: str
    methods: tuple[str, ...]
    base: str
    words: str

    @property
    def a_word(self) -> str:
        """Return `a strategy`, `an energy`."""
        return f"{'an' if self.word[0] in 'aeiou' else 'a'} {self.word}"


KINDS: Mapping[Kind, Traits] = {
    "strategy": Traits("strategy", "strategies", ("fit", "evaluate"), "bench.strategy.Strategy", "strategies"),
    "dataset": Traits("data set", "datasets", ("load", "prepare"), "bench.data.Dataset", "data sets"),
    "network": Traits("network", "networks", ("encoder", "decoder"), "bench.protocol.Network", "networks"),
    "energy": Traits("energy", "energies", ("build",), "bench.protocol.Energy", "energies"),
}


class PluginError(UserError):
    """A plugin that does not load; the sentence gives file, reason and line."""


class OtherKindError(PluginError):
    """A file that loads and defines no class with the methods of this kind."""


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
        try:
            loaded = self._imported() if self.target else self._executed()
        except _NoImport as error:
            raise PluginError(f"{self.file} does not load: {error}") from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(f"{self.file} does not load: {reason(error, self.file)}") from error
        cls = self._checked(self._class(loaded) if isinstance(loaded, ModuleType) else loaded)
        if fields:
            self._check_fields(cls)
        if vars(cls).get("name") != self.name:  # to set it makes Python forget what it knows of the class
            cls.name = self.name  # type: ignore[attr-defined]
        return cls

    @property
    def executed(self) -> bytes | None:
        """What this process has executed of a plain file, last; None where nothing."""
        return _SOURCES.get(self.file)

    def _executed(self) -> ModuleType:
        """Execute a plain file as a module of its own, named after its place and contents."""
        source = _SOURCES[self.file] = self.file.read_bytes()
        mark = hashlib.sha256(os.fsencode(self.file) + b"\0" + source).hexdigest()[:12]
        name = f"bench_plugin.{self.traits.folder}.{self.file.stem}.{mark}"
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

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - a module that was executed stays in any case
    def _class(self, module: ModuleType) -> Any:
        """Return the one public class that a module defines and that has the methods of this kind."""
        classes = [
            value
            for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
            if not self._missing(value)
        ]
        rule = f"with {' and '.join(self.traits.methods)}"
        if not classes:
            raise OtherKindError(f"{self.file} defines no {self.traits.word}: a public class {rule}")
        if len(classes) > 1:
            names = listed(cls.__name__ for cls in classes)
            raise PluginError(f"{self.file} defines {len(classes)} public classes {rule}, not one: {names}")
        return classes[0]

    def _missing(self, cls: type) -> list[str]:
        return [method for method in self.traits.methods if not callable(getattr(cls, method, None))]

    def _checked(self, cls: Any) -> type[Settings]:
        """Return `cls` if it keeps the rules of a plugin's class."""
        if not (isinstance(cls, type) and issubclass(cls, Settings)):
            raise PluginError(f"{self.file}: {getattr(cls, '__name__', cls)} does not extend {self.traits.base}")
        if abstract := sorted(getattr(cls, "__abstractmethods__", ())) or self._missing(cls):
            raise PluginError(f"{self.file}: {cls.__name__} does not define {listed(abstract)}")
        return cls

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - so does its class; every cell of a sweep loads its plugins
    def _check_fields(self, cls: type[Settings]) -> None:
        """Refuse a class whose fields do not keep the rules."""
        for field in cls.model_fields:
            if field == "name":
                raise PluginError(f'{self.file}: {cls.__name__} has a field "name", which is the plugin\'s own name')
            for parent in cls.__mro__[1:]:
                if field in vars(parent) and field not in getattr(parent, "model_fields", {}):
                    shadowed = f"{parent.__name__}.{field}"
                    raise PluginError(
                        f'{self.file}: the field "{field}" of {cls.__name__} shadows {shadowed}; rename it'
                    )
        for field, base in component_fields(cls).items():
            if not inspect.isabstract(base):
                rule = f"it must be {KINDS[cast(Kind, base.plugin)].base}, of which {base.__name__} may be the default"
                raise PluginError(f'{self.file}: the field "{field}" of {cls.__name__} is of one kind alone; {rule}')
        try:
            options(cls)
        except Exception as error:  # whatever a plugin's own types and default factories raise
            raise PluginError(
                f"{self.file}: the fields of {cls.__name__} cannot be described: {reason(error, self.file)}"
            ) from error


class _NoImport(BaseException):
    """An import that neither returns nor raises; unlike an Exception, few programs catch it."""


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Let foreign code be imported in the block, and neither end this process, nor keep it, nor move it elsewhere.

    Silences what pydantic only warns of and `_checked` refuses.

    Raises:
        _NoImport: the import asked for the process's end, or did not come to its own in `LONGEST` seconds. The latter
            is seen in the main thread alone.
    """
    process, leave = os.getpid(), os._exit

    def stay(status: int) -> NoReturn:
        if os.getpid() != process:  # a child that it forked
            leave(status)
        raise _NoImport(f"its import ends the process, with exit code {status}")

    def give_up(*_: object) -> None:
        raise _NoImport(f"its import has not ended after {LONGEST:g} seconds")

    here: int | None = None
    with contextlib.suppress(OSError):  # where the working directory is gone
        here = os.open(".", os.O_RDONLY)
    alarm = signal.signal(signal.SIGALRM, give_up) if threading.current_thread() is threading.main_thread() else None
    try:
        if alarm is not None:
            before = signal.setitimer(signal.ITIMER_REAL, LONGEST, 1.0)
        os._exit = stay
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
            yield
    finally:
        os._exit = leave
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, *before)
            signal.signal(signal.SIGALRM, alarm)
        if here is not None:
            with contextlib.suppress(OSError):
                os.fchdir(here)
            os.close(here)


def reason(error: BaseException, file: Path) -> str:
    """Return type, message and the last line of `file` that an exception went through, on one line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    try:
        text = str(error)
    except Exception:  # of a plugin's own class
        text = ""
    message = " ".join(text.partition("For further information")[0].split())  # pydantic's address of a page
    if isinstance(error, SyntaxError):
        message, lines = error.msg, [error.lineno]
    message = message if len(message) <= 300 else f"{message[:297]}..."
    line = f" (line {lines[-1]})" if lines and lines[-1] else ""
    return f"{type(error).__name__}{': ' * bool(message)}{message}{line}"


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


# ---------------------------------------------------------------- descriptions


@dataclass(frozen=True)
class Description:
    """What `bench list` says of a plugin; `error` is the one-line reason why it does not load, else empty.

    Built-in ones have their `fields` only where these are asked for.
    """

    kind: Kind
    name: str
    origin: str
    file: Path
    summary: str = ""
    fields: tuple[Option, ...] = ()
    error: str = ""


def _described(plugin: Plugin, problem: str, fields: bool) -> Description:
    """Describe a plugin, or say its `problem`; from the cache: files take time, and may import anything."""
    description = Description(plugin.kind, plugin.name, plugin.origin, plugin.file, error=problem)
    if problem:
        return description
    fields = fields or plugin.origin != "built-in"
    cached = _cache_file(plugin, fields)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        if cached is not None:
            content = json.loads(cached.read_bytes())
            kept = tuple(Option(**field) for field in content["fields"])
            return replace(description, summary=str(content["summary"]), fields=kept)
    try:
        cls = plugin.load(fields)
    except UserError as error:
        return replace(description, error=str(error))
    own = inspect.cleandoc(vars(cls).get("__doc__") or "")  # not that of a base class
    description = replace(description, summary=own.partition("\n")[0], fields=options(cls) if fields else ())
    if cached is not None:
        content = {"summary": description.summary, "fields": [asdict(field) for field in description.fields]}
        # a cache that cannot be written costs time only; an error is never cached: installing a library may cure it
        with contextlib.suppress(OSError), files.replacing(cached, durable=False) as file:
            file.write(files.json_text(content).encode())
    return description


def _cache_file(plugin: Plugin, fields: bool) -> Path | None:
    """Return where the description of this source by this bench lies, with its fields or without; None without one."""
    try:
        parts = [_own_code(), plugin.file.read_bytes(), plugin.kind.encode(), str(fields).encode()]
    except OSError:
        return None
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return user_folder("cache") / "descriptions" / f"{digest}.json"


@functools.cache
def _own_code() -> bytes:
    """Return the digest of bench's own code: it gives fields and words, and plugins import it."""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(Path(__file__).resolve().parents[1]):
        folders.sort()
        for name in sorted(name for name in names if name.endswith(".py")):
            with open(f"{folder}/{name}", "rb") as file:
                digest.update(b"%s\0%s\0" % (os.fsencode(name), file.read()))
    return digest.digest()


# ---------------------------------------------------------------- all plugins


class Registry:
    """Every plugin that can be found. It can be pickled."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        """Look for plugins, executing none.

        Args:
            folders: further folders, each with one or more of `strategies/*.py`, `datasets/*.py`, `networks/*.py` and
                `energies/*.py`.

        Raises:
            UserError: a folder does not exist or holds none of these.
        """
        self._plugins: dict[tuple[Kind, str], list[Plugin]] = {}
        self._closed, self._earlier = False, False
        points = importlib.metadata.entry_points()  # once: it reads the metadata of all that is installed
        for kind in KINDS:
            offered = points.select(group=f"bench.{KINDS[kind].folder}")
            for plugin in (*_built_in(kind), *_entry_points(kind, offered)):
                self._add(plugin)
        for folder in folders:
            home = absolute(folder, "the plugin folder").resolve()
            homes = [traits.folder for traits in KINDS.values()]
            if not any((home / name).is_dir() for name in homes):
                wrong = f"holds none of {'/, '.join(homes)}/" if Path(folder).is_dir() else "does not exist"
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
            file = absolute(name_or_file, f"the {word} file").resolve()
            if not file.is_file():
                raise UserError(f"the {word} file {name_or_file} does not exist")
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
        return validated(Networks, values, where, "networks", self.component)

    def parts(self, strategy: Plugin, hyper: Mapping[str, Any], networks: Mapping[str, Any]) -> list[Plugin]:
        """Return the networks and energies that a cell with these plain settings uses.

        Raises:
            UserError: one of them is not to be found, or the strategy does not load.
        """
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
            descriptions += [_described(plugin, problem, fields) for plugin in claims]
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
            yield Plugin(kind, plain_name(file), origin, file.resolve())


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
