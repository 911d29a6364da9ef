"""Turns a grid, a TOML file of data sets x strategies x hyper-parameters x seeds, into cells with ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.plugins import Registry
from bench.protocol import Budget, Evaluation, Networks


@dataclass(frozen=True)
class Cell:
    """One point of a grid: one data set, one strategy with resolved hyper-parameters, one seed. It can be pickled.

    Attributes:
        id: 12 hex digits of the SHA-256 of `request` as canonical JSON.
        dataset: what `Registry.find` takes: a NAME, or the absolute path of a FILE where the grid gave one.
        options: the data set's options, defaults filled in, plain (JSON) values.
        strategy: what `Registry.find` takes, like `dataset`.
        hyper: the strategy's hyper-parameters, defaults filled in, plain (JSON) values.
        seed: seed of training.
        networks, budget: what is trained, for how long.
        evaluation: how it is scored; no part of the id.
        label: the strategy's name and what differs between its cells: `vampprior[components=500]`.
    """

    id: str
    dataset: str
    options: dict[str, Any]
    strategy: str
    hyper: dict[str, Any]
    seed: int
    networks: Networks
    budget: Budget
    evaluation: Evaluation
    label: str

    @property
    def request(self) -> dict[str, Any]:
        """What the id stands for, as plain values: `dataset` and `strategy` are plugin NAMEs here, never files."""
        raise NotImplementedError


@dataclass(frozen=True)
class Grid:
    """A validated grid and its cells, in a stable order.

    Attributes:
        name: the embedded name, or the file's stem.
        title: what a reader calls it.
        cells: without duplicates.
        source: the merged TOML, after `--set`, `--strategy` and `--seeds`; `expand` takes it back.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    source: dict[str, Any]


def embedded() -> list[str]:
    """Return the names of the grids that come with `bench`."""
    raise NotImplementedError


def load(
    grid: str,
    registry: Registry,
    *,
    settings: Sequence[str] = (),
    strategies: Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
) -> Grid:
    """Read a grid, apply what the command line changes, and expand it.

    Args:
        grid: an embedded NAME or a path to a `.toml` file.
        registry: where plugins are found.
        settings: `--set` values, `train.epochs=3` or `strategy.vampprior.components=32`.
        strategies: run only these NAMEs or FILEs; one that the grid does not hold runs with its defaults.
        seeds: a count or a list, in place of the grid's.

    Raises:
        UserError: what is wrong, in which file or `--set`, at which key, and what is allowed.
    """
    raise NotImplementedError


def expand(source: Mapping[str, Any], registry: Registry, *, name: str, where: str) -> Grid:
    """Turn a merged grid (the contents of a TOML file, or `Grid.source`) into a validated one.

    Raises:
        UserError: as `load`; `where` stands for the file.
    """
    raise NotImplementedError
