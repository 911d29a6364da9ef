"""The kinds of plugins, what is said of each, and what is wrong with one that does not load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.words import UserError

Kind = Literal["strategy", "dataset", "network", "energy"]
MOST = 1 << 24  # bytes of a plugin's file


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
