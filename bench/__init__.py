"""bench: a benchmark of ways to train the prior of a variational autoencoder.

From Python it is eight functions, imported on first use: `run` carries out a grid's cells, `results` reads what cells
left, `strategy` and `dataset` train one model, `grid` shows what a grid stands for, `tune` tunes its rows,
`export_store` and `import_store` take records to a colleague. `Log` and `TensorBoard` take what a run tells of its
cells.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.face import Log, TensorBoard, dataset, export_store, grid, import_store, results, run, strategy, tune

__all__ = [
    "Log",
    "TensorBoard",
    "__version__",
    "dataset",
    "export_store",
    "grid",
    "import_store",
    "lazy_members",
    "results",
    "run",
    "strategy",
    "tune",
]

__version__ = "0.1.0"


def lazy_members(package: str, file: str) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` (PEP 562) for a package whose members are imported on first use.

    So `from bench import priors` does not import torch. The members are those that the package imports for type
    checkers only, in `if TYPE_CHECKING:`, so that they are named in one place.

    Args:
        package: the package's `__name__`.
        file: its `__file__`.
    """
    homes: dict[str, str | None] = {}

    def attribute(name: str) -> Any:
        if not homes:
            homes.update(_imported(file))
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(homes))}")
        return getattr(importlib.import_module(home), name)

    return attribute


def _imported(file: str) -> dict[str, str | None]:
    """Return name -> module of what a file imports for type checkers only."""
    import ast

    with open(file, "rb") as source:
        statements = [node for node in ast.parse(source.read()).body if isinstance(node, ast.If)]
    imports = [node for statement in statements for node in statement.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names}


class _Callable(ModuleType):
    """A module that is a function of the face as well: `bench.grid("digits")`, and `from bench.grid import load`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module("bench.face"), self.__name__.rpartition(".")[2])(*args, **kwargs)


def callable_module(name: str) -> None:
    """Let a module be called like the face's function of the same name; said by the module itself."""
    sys.modules[name].__class__ = _Callable


_face = lazy_members(__name__, __file__)


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # importing a module of bench makes it an attribute: these two are function and module in one
    return importlib.import_module(f"{__name__}.{name}") if name in ("grid", "strategy") else _face(name)
