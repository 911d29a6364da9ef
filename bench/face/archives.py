"""Run stores for a colleague, from Python: `bench.export_store` and `bench.import_store`."""

from __future__ import annotations

from bench.face.places import Place
from bench.face.values import flag
from bench.places import absolute
from bench.sweep import archive
from bench.sweep.archive import Copied
from bench.sweep.store import Store

__all__ = ["Copied", "export_store", "import_store"]


def export_store(store: Place, file: Place, models: bool = False) -> Copied:
    """Write the records of a run store, their curves and arrays and the logs of failed cells into one zip file.

    Checkpoints and data stay here.

    Args:
        store: its folder.
        file: a new file.
        models: whether the trained models are in it, too, to be sampled from or scored again.

    Raises:
        UserError: there is no such store, it holds no record, or the file exists already or cannot be written.
    """
    return archive.pack(Store(absolute(store, "the run store")), absolute(file, "the file"), flag("models", models))


def import_store(file: Place, store: Place | None = None) -> Copied:
    """Make a new run store of what a colleague exported; it counts as a stranger's until you trust it.

    Args:
        file: that `export_store` wrote.
        store: its folder, new or empty; by default the one of the grid's name, as `run` has it.

    Raises:
        UserError: the file is no export or is damaged, or there is something in the folder already.
    """
    return archive.unpack(absolute(file, "the file"), absolute(store, "the run store") if store is not None else None)
