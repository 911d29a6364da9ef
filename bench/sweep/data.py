"""Data sets before a sweep: fetched and verified once, so that no cell fails for want of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from bench.plugins import Registry, build, plain_name
from bench.protocol import DataError, Dataset, UserError
from bench.sweep.records import Job, one_line


@dataclass(frozen=True)
class Facts:
    """What a loaded data set is.

    Attributes:
        version: of the plugin.
        sha256: of its arrays.
        sizes: items by split.
        shape: of an item.
    """

    version: str
    sha256: str
    sizes: dict[str, int]
    shape: tuple[int, ...]


def load(registry: Registry, name: str, options: Mapping[str, Any], folder: Path) -> Facts:
    """Load a data set and return what it is; its arrays are not kept.

    Args:
        registry: where plugins are found.
        name: a NAME or FILE.
        options: of the data set.
        folder: where its files lie, or go.

    Raises:
        UserError: there is no such data set, or it cannot be had.
    """
    plugin = registry.find("dataset", name)
    dataset = cast(Dataset, build(plugin, options, f"data set {plugin.name!r}"))
    try:
        splits = dataset.load(folder)
    except UserError as error:
        raise DataError(f"data set {plugin.name!r}: {error}") from error
    except Exception as error:  # a plugin's own mistake is told like any other reason
        reason = one_line(f"{type(error).__name__}: {error}")
        raise DataError(f"data set {plugin.name!r} ({plugin.file}) does not load: {reason}") from error
    arrays = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    sizes = {split: len(array) for split, array in arrays.items()}
    return Facts(dataset.version, splits.sha256, sizes, splits.train.shape[1:])


def verified(jobs: Iterable[Job], registry: Registry, folder: Path) -> list[Job]:
    """Load every data set that `jobs` need, once each, and return the jobs with its version and digest.

    Raises:
        UserError: a data set cannot be had, or a cell's networks cannot do its items.
    """
    known: list[tuple[str, Mapping[str, Any], Facts]] = []
    ready = []
    for job in jobs:
        name, options = job.cell.dataset, job.cell.options
        facts = next((facts for other, given, facts in known if (other, given) == (name, options)), None)
        if facts is None:
            facts = load(registry, name, options, folder)
            known.append((name, options, facts))
        if reason := job.cell.networks.refuses(facts.shape):
            raise UserError(f"data set {plain_name(name)!r}: {reason}")
        ready.append(replace(job, data={"version": facts.version, "sha256": facts.sha256}))
    return ready
