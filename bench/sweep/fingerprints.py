"""Fingerprints of the code that a record depends on: the plugins, and what trains and scores them.

A fingerprint is a SHA-256 over source without comments and docstrings, so that only edits that can change a result
change it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.plugins import Plugin


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


def fingerprints(strategy: Plugin, dataset: Plugin) -> Fingerprints:
    """Return the fingerprints of a cell's code, from the files as they are now; no plugin is executed."""
    raise NotImplementedError
