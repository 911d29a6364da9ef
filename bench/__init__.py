"""bench: a benchmark of ways to train the prior of a variational autoencoder."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def lazy_members(package: str, file: str) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` (PEP 562) for a package whose members are imported on first use.

    So `from bench import priors` does not import torch. The members are those that the package imports for type
    checkers only, in `if TYPE_CHECKING:`, so that they are named in one place.

    Args:
        package: the package's `__name__`.
        file: its `__file__`.
    """
    statements = (node for node in ast.parse(Path(file).read_bytes()).body if isinstance(node, ast.If))
    imports = [node for statement in statements for node in statement.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names}

    def attribute(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(homes))}")
        return getattr(importlib.import_module(home), name)

    return attribute
