"""Fingerprints of the code that a record depends on: the plugins, and what trains and scores them.

A fingerprint is a SHA-256 over source without comments and docstrings, so that only edits that can change a result
change it. What a plugin depends on is read from the import statements, those inside functions included; nothing is
executed. Libraries are not covered: a record names the version of torch beside its fingerprints.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.plugins import Plugin, PluginError

__all__ = ["Fingerprints", "fingerprints"]

# what carries cells out, shows and reports them; a new module counts unless it is named here
OPERATIONS = (
    "__main__",
    "cli",
    "contracts",
    "grid",
    "grids",
    "listing",
    "plugins",
    "profile",
    "report",
    "settings",
    "sweep",
    "tuning",
    "verbs",
    "_builtin",
)
NOT_FIT = ("estimators",)
NOT_EVALUATE = ("training", "objectives")


@dataclass(frozen=True)
class Fingerprints:
    """Three SHA-256, 64 hex digits each.

    Attributes:
        plugin: of the strategy's and the data set's files.
        fit: of the science-wing modules they reach, without `bench.estimators`.
        evaluate: of those they reach, without `bench.training` and `bench.objectives`.
    """

    plugin: str
    fit: str
    evaluate: str


def fingerprints(strategy: Plugin, dataset: Plugin, package: Path | None = None) -> Fingerprints:
    """Return the fingerprints of a cell's code, from the files as they are now; no plugin is executed.

    Args:
        strategy: the cell's strategy.
        dataset: the cell's data set.
        package: the folder of the `bench` package; the one that runs by default.

    Raises:
        PluginError: a plugin's file cannot be read or parsed.
    """
    plugins = {}
    for plugin in (strategy, dataset):
        try:
            plugins[plugin.kind] = _parsed(plugin.file.read_bytes())
        except (OSError, SyntaxError, ValueError) as error:
            raise PluginError(f"{plugin.file} cannot be read: {type(error).__name__}: {error}") from error
    imports = {target for source in plugins.values() for target in source.imports}
    walk = functools.partial(_reached, package or Path(__file__).resolve().parent.parent, imports)
    return Fingerprints(
        plugin=_digest({kind: source.text for kind, source in plugins.items()}),
        fit=_digest(walk(NOT_FIT)),
        evaluate=_digest(walk(NOT_EVALUATE)),
    )


def _digest(texts: dict[str, str]) -> str:
    """Return the SHA-256 of named texts, whatever their order."""
    return hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in sorted(texts.items())).encode()).hexdigest()


# ---------------------------------------------------------------- one source file


@dataclass(frozen=True)
class _Source:
    """A parsed file.

    Attributes:
        text: its code without comments and docstrings.
        imports: pairs (module, name): `from module import name`, or `import module` where the name is empty. A
            relative import keeps its leading dots.
        lazy: it is a package whose members are imported on first use.
    """

    text: str
    imports: tuple[tuple[str, str], ...]
    lazy: bool


@functools.lru_cache(maxsize=1024)
def _parsed(content: bytes) -> _Source:
    tree = ast.parse(content)
    imports, lazy = tuple(_imports(tree)), _is_lazy(tree)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # any text that stands alone is a docstring, of an attribute too; an empty body would not be code
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
    return _Source(ast.unparse(tree), imports, lazy)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Give what a tree imports when it runs, at any depth; not what only type checkers import."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "import_module":
        yield from ((str(text.value), "") for text in node.args[:1] if isinstance(text, ast.Constant))
    if isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
        children: Iterable[ast.AST] = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _imports(child)


def _is_lazy(tree: ast.Module) -> bool:
    """Tell whether a package finds its members on first use (`__getattr__ = bench.lazy.members(...)`)."""
    names = (
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    )
    return "__getattr__" in (*names, *(node.name for node in tree.body if isinstance(node, ast.FunctionDef)))


# ---------------------------------------------------------------- the modules that are reached


def _reached(package: Path, imports: set[tuple[str, str]], without: tuple[str, ...]) -> dict[str, str]:
    """Return module -> code for the science-wing modules of `package` that `imports` lead to."""
    reached: dict[str, str] = {}
    pending = [module for module, name in imports for module in _targets(package, module, name)]
    while pending:
        module = pending.pop()
        file = _file(package, module)
        if module in reached or file is None or module.partition(".")[0] in ("", *OPERATIONS, *without):
            continue
        source = _parsed(file.read_bytes())
        reached[module] = source.text
        pending.append(module.rpartition(".")[0])  # importing a module executes the packages it lies in
        inside = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for target, name in source.imports:
            pending += _targets(package, _absolute(target, inside), name)
    return reached


def _absolute(target: str, inside: str) -> str:
    """Resolve a relative import in the package `inside` (relative to bench, which is the empty name)."""
    name = target.lstrip(".")
    parents = len(target) - len(name) - 1
    if parents < 0:
        return target
    parts = ["bench", *filter(None, inside.split("."))]
    return ".".join([*parts[: len(parts) - parents], *filter(None, [name])])


def _targets(package: Path, module: str, name: str) -> list[str]:
    """Return the modules, relative to bench, that one import may execute, now or on first use."""
    if module != "bench" and not module.startswith("bench."):
        return []
    base = module.removeprefix("bench").removeprefix(".")
    member = f"{base}.{name}".strip(".")
    if name in ("", "*"):
        return _whole(package, base)
    if _file(package, member) is not None:
        return _whole(package, member)
    file = _file(package, base)
    lazy = file is not None and _parsed(file.read_bytes()).lazy
    return _whole(package, base) if lazy else [base]


def _whole(package: Path, module: str) -> list[str]:
    """Return a module, and all modules of a package: its attributes may lead to any of them."""
    folder = package.joinpath(*filter(None, module.split(".")))
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else []
    parts = [file.relative_to(package).with_suffix("").parts for file in files]
    return [module, *(".".join(part for part in names if part != "__init__") for names in parts)]


def _file(package: Path, module: str) -> Path | None:
    """Return the file of a module given relative to bench."""
    path = package.joinpath(*filter(None, module.split(".")))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
