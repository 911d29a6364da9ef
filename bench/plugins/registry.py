"""Finds, describes and lazily loads the strategies and data sets that plugin files define.

Plugins come from three places: the built-in folders, the entry-point groups `bench.strategies` and `bench.datasets`,
and the folders given with `--plugins`. The working directory is never searched. A file that does not load is a
described error, never a crash.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from platformdirs import user_cache_dir

from bench import files
from bench.plugins.settings import Option, listed, nearest, options, validated
from bench.protocol import Settings, UserError

__all__ = ["Description", "Kind", "Option", "Plugin", "PluginError", "Registry", "build", "is_file", "plain_name"]

Kind = Literal["strategy", "dataset"]

_FOLDERS: Mapping[Kind, str] = {"strategy": "strategies", "dataset": "datasets"}
_METHODS: Mapping[Kind, tuple[str, str]] = {"strategy": ("fit", "evaluate"), "dataset": ("load", "prepare")}
_WORDS: Mapping[Kind, str] = {"strategy": "strategy", "dataset": "data set"}


class PluginError(UserError):
    """A plugin that does not load; the sentence gives file, reason and line."""


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
        kind: `strategy` or `dataset`.
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

    def load(self) -> type[Settings]:
        """Execute the file and return its class, with `cls.name` set; an unchanged file is executed once a process.

        Raises:
            PluginError: why it does not load.
        """
        try:
            with warnings.catch_warnings():
                # pydantic only warns of what `_checked` refuses
                warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
                found = self._imported() if self.target else self._executed()
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self.file} does not load: {_reason(error, self.file)}") from error
        cls = self._checked(self._class(found) if isinstance(found, ModuleType) else found)
        cls.name = self.name  # type: ignore[attr-defined]
        return cls

    def _executed(self) -> ModuleType:
        """Execute a plain file as a module of its own, named after its place and contents."""
        source = self.file.read_bytes()
        mark = hashlib.sha256(os.fsencode(self.file) + b"\0" + source).hexdigest()[:12]
        name = f"bench_plugin.{_FOLDERS[self.kind]}.{self.file.stem}.{mark}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, self.file)
        assert spec is not None, "a file that ends in .py has a spec"
        module = importlib.util.module_from_spec(spec)
        # before it is executed: pydantic and dataclasses look postponed annotations up in sys.modules
        sys.modules[name] = module
        try:
            # not through the loader: its cached bytecode goes by modification time and may be older than the source
            exec(compile(source, self.file, "exec", dont_inherit=True), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    def _imported(self) -> Any:
        """Import an entry point's target, a module or what it names in one."""
        module, _, attribute = self.target.partition(":")
        found: Any = importlib.import_module(module)
        for part in attribute.split(".") if attribute else ():
            found = getattr(found, part)
        return found

    def _class(self, module: ModuleType) -> Any:
        """Return the one public class that a module defines and that has the methods of this kind."""
        found = [
            value
            for name, value in vars(module).items()
            if isinstance(value, type)
            and value.__module__ == module.__name__
            and not name.startswith("_")
            and all(callable(getattr(value, method, None)) for method in _METHODS[self.kind])
        ]
        if len(found) == 1:
            return found[0]
        methods = " and ".join(_METHODS[self.kind])
        if not found:
            raise PluginError(f"{self.file} defines no {_WORDS[self.kind]}: a public class with {methods}")
        names = listed(cls.__name__ for cls in found)
        raise PluginError(f"{self.file} defines {len(found)} public classes with {methods}, not one: {names}")

    def _checked(self, cls: Any) -> type[Settings]:
        """Return `cls` if it keeps the rules of a plugin's class."""
        if not (isinstance(cls, type) and issubclass(cls, Settings)):
            base = {"strategy": "bench.strategy.Strategy", "dataset": "bench.data.Dataset"}[self.kind]
            raise PluginError(f"{self.file}: {getattr(cls, '__name__', cls)} does not extend {base}")
        missing = [method for method in _METHODS[self.kind] if not callable(getattr(cls, method, None))]
        if abstract := sorted(getattr(cls, "__abstractmethods__", ())) or missing:
            raise PluginError(f"{self.file}: {cls.__name__} does not define {listed(abstract)}")
        for field in cls.model_fields:
            if field == "name":
                raise PluginError(f'{self.file}: {cls.__name__} has a field "name", which is the plugin\'s own name')
            for parent in cls.__mro__[1:]:
                if field in vars(parent) and field not in getattr(parent, "model_fields", {}):
                    shadowed = f"{parent.__name__}.{field}"
                    raise PluginError(
                        f'{self.file}: the field "{field}" of {cls.__name__} shadows {shadowed}; rename it'
                    )
        try:
            options(cls)
        except Exception as error:  # whatever a plugin's own types and default factories raise
            reason = _reason(error, self.file)
            raise PluginError(f"{self.file}: the fields of {cls.__name__} cannot be described: {reason}") from error
        return cls


def _reason(error: BaseException, file: Path) -> str:
    """Return type, message and line of an exception, on one line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    if isinstance(error, SyntaxError):
        message, line = error.msg, error.lineno
    else:
        message, line = (
            " ".join(str(error).partition("For further information")[0].split()),
            lines[-1] if lines else None,
        )
    message = message if len(message) <= 300 else f"{message[:297]}..."
    return f"{type(error).__name__}{f': {message}' if message else ''}{f' (line {line})' if line else ''}"


def build(plugin: Plugin, values: Mapping[str, Any], where: str | Callable[[str], str]) -> Settings:
    """Return the plugin's class with `values` for its fields.

    Args:
        plugin: what to build.
        values: plain (TOML or JSON) values; fields left out take their defaults.
        where: what the error starts with, such as the grid's file or `cell 0123456789ab`; or a function that says who
            wrote a dotted key.

    Raises:
        PluginError: the plugin does not load.
        UserError: `WHERE: strategy.NAME.KEY = VALUE is not allowed; it must be ...`.
    """
    cls, prefix = plugin.load(), f"{plugin.kind}.{plugin.name}"
    try:
        return validated(cls, values, where, prefix)
    except UserError:
        raise
    except Exception as error:  # whatever a plugin's own validators raise
        writer = where(prefix) if callable(where) else where
        raise PluginError(f"{writer}: {prefix}: {plugin.file} fails: {_reason(error, plugin.file)}") from error


# ---------------------------------------------------------------- descriptions


@dataclass(frozen=True)
class Description:
    """What `bench list` says of a plugin; `error` is the one-line reason why it does not load, else empty."""

    kind: Kind
    name: str
    origin: str
    file: Path
    summary: str = ""
    fields: tuple[Option, ...] = ()
    error: str = ""


def _described(plugin: Plugin) -> Description:
    """Describe one plugin; those of others from the cache, because their files may import anything."""
    place = (plugin.kind, plugin.name, plugin.origin, plugin.file)
    cached = None if plugin.origin == "built-in" else _cache_file(plugin)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        if cached is not None:
            content = json.loads(cached.read_bytes())
            fields = tuple(Option(**field) for field in content["fields"])
            return Description(*place, summary=str(content["summary"]), fields=fields)
    try:
        cls = plugin.load()
        description = Description(*place, summary=_summary(cls), fields=options(cls))
        content = json.dumps(
            {"summary": description.summary, "fields": [asdict(field) for field in description.fields]}
        )
    except UserError as error:
        return Description(*place, error=str(error))
    if cached is not None:
        # a cache that cannot be written costs time only; an error is never cached: installing a library may cure it
        with contextlib.suppress(OSError), files.replacing(cached) as file:
            file.write(content.encode())
    return description


def _summary(cls: type) -> str:
    """Return the first line of the class's own docstring."""
    return inspect.cleandoc(vars(cls).get("__doc__") or "").partition("\n")[0]


def _cache_file(plugin: Plugin) -> Path | None:
    """Return where the description of this source by this bench lies; None where it has no source."""
    try:
        # bench's own, too: they give the base classes their fields, and the words
        own = Path(__file__).resolve().parents[1]
        modules = sorted(file for place in (".", "plugins", "strategy", "data") for file in own.glob(f"{place}/*.py"))
        sources = [file.read_bytes() for file in (plugin.file, *modules)]
    except OSError:
        return None
    digest = hashlib.sha256(b"\0".join(sources) + plugin.kind.encode()).hexdigest()
    return Path(user_cache_dir("priorbench")) / "descriptions" / f"{digest}.json"


# ---------------------------------------------------------------- all plugins


class Registry:
    """Every plugin that can be found. It can be pickled."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        """Look for plugins, executing none.

        Args:
            folders: further folders, each with `strategies/*.py` or `datasets/*.py` or both.

        Raises:
            UserError: a folder does not exist or holds neither.
        """
        self._plugins: dict[tuple[Kind, str], list[Plugin]] = {}
        for kind in _FOLDERS:
            for plugin in (*_built_in(kind), *_entry_points(kind)):
                self._add(plugin)
        for folder in folders:
            homes = {kind: Path(folder).expanduser().resolve() / name for kind, name in _FOLDERS.items()}
            if not any(home.is_dir() for home in homes.values()):
                reason = "holds neither strategies/ nor datasets/" if Path(folder).is_dir() else "does not exist"
                raise UserError(f"the plugin folder {folder} {reason}")
            for kind, home in homes.items():
                for plugin in _in_folder(kind, home, str(folder)):
                    self._add(plugin)

    def _add(self, plugin: Plugin) -> None:
        claims = self._plugins.setdefault((plugin.kind, plugin.name), [])
        if plugin.file not in (claim.file for claim in claims):
            claims.append(plugin)

    def names(self, kind: Kind) -> list[str]:
        """Return the names of all plugins of `kind`, sorted."""
        return sorted(name for claimed, name in self._plugins if claimed == kind)

    def find(self, kind: Kind, name_or_file: str) -> Plugin:
        """Return the plugin with this NAME, or in this FILE (anything that ends in `.py`).

        A FILE is known by its name from then on.

        Raises:
            UserError: there is none (with the nearest name), or two files claim the name.
        """
        name = plain_name(name_or_file)
        if is_file(name_or_file):
            file = Path(name_or_file).expanduser().resolve()
            if not file.is_file():
                raise UserError(f"the {_WORDS[kind]} file {name_or_file} does not exist")
            if file.suffix != ".py":
                raise UserError(f"the {_WORDS[kind]} file {name_or_file} is no Python file; its name must end in .py")
            self._add(Plugin(kind, name, str(file.parent), file))
        claims = self._plugins.get((kind, name), [])
        if not claims:
            names = self.names(kind)
            hint = nearest(name, names) or ";"
            raise UserError(f'unknown {_WORDS[kind]} "{name}"{hint} known: {listed(names)}')
        if problem := _conflict(claims):
            raise UserError(problem)
        return claims[0]

    def describe(self, kind: Kind) -> list[Description]:
        """Return a description of every plugin of `kind`, sorted by name; a broken one has `error`."""
        descriptions = []
        for name in self.names(kind):
            claims = self._plugins[kind, name]
            problem = _conflict(claims)
            for plugin in claims:
                known = Description(kind, name, plugin.origin, plugin.file, error=problem)
                descriptions.append(known if problem else _described(plugin))
        return descriptions


def _conflict(claims: Sequence[Plugin]) -> str:
    """Return what is wrong where several files claim one name, else nothing."""
    if len(claims) == 1:
        return ""
    kind, name = claims[0].kind, claims[0].name
    places = " and by ".join(f"{plugin.file} ({plugin.origin})" for plugin in claims)
    return f'the {_WORDS[kind]} name "{name}" is claimed by {places}; rename one of the files'


def _in_folder(kind: Kind, folder: Path, origin: str) -> Iterator[Plugin]:
    """Give the plugins of a folder; files that start with `_` or `.` are none."""
    for file in sorted(folder.glob("*.py")):
        if not file.name.startswith(("_", ".")):
            yield Plugin(kind, plain_name(file), origin, file.resolve())


def _built_in(kind: Kind) -> Iterator[Plugin]:
    """Give the plugins that come with bench: inside the package when installed, else beside it in the clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_builtin" / _FOLDERS[kind]
    if installed.is_dir():
        yield from _in_folder(kind, installed, "built-in")
    elif (package.parent / "pyproject.toml").is_file():  # without it, this would be a site-packages folder
        yield from _in_folder(kind, package.parent / _FOLDERS[kind], "built-in")


def _entry_points(kind: Kind) -> Iterator[Plugin]:
    """Give the plugins that installed packages offer; one named like a built-in is a conflict like any other."""
    for point in importlib.metadata.entry_points(group=f"bench.{_FOLDERS[kind]}"):
        package = point.dist.name if point.dist else point.module.partition(".")[0]
        file = None
        with contextlib.suppress(Exception):  # whatever an installed import hook raises; loading will say it
            file = _source(point.module)
        yield Plugin(
            kind, point.name, f"entry point {package}", file or Path(point.module), point.value.replace(" ", "")
        )


def _source(module: str) -> Path | None:
    """Return the source file of a module without importing anything, not even the packages it lies in."""
    places: Sequence[str] | None = None
    spec = None
    parts = module.split(".")
    for depth in range(len(parts)):
        name = ".".join(parts[: depth + 1])
        found = (finder.find_spec(name, places) for finder in sys.meta_path)
        spec = next((candidate for candidate in found if candidate is not None), None)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return Path(spec.origin).resolve() if spec is not None and spec.has_location and spec.origin else None
