"""A contract, what is checked, what became of it, and how a plugin breaks one. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from bench.plugins import Plugin, build
from bench.plugins.foreign import Runaway, confined, reason
from bench.plugins.settings import Components
from bench.protocol import UserError

WHERE = "check"  # what an error of the plugin's fields starts with
LONGEST = 1800.0  # seconds that a contract may take, on however busy a machine


class Breach(Exception):
    """A contract is broken; the message is one sentence about the plugin."""


class NotChecked(Exception):
    """A contract does not apply to this plugin; the message says why."""


@dataclass(frozen=True)
class Subject:
    """A plugin that is checked.

    Attributes:
        plugin, values: the plugin and its fields, where they are not the defaults.
        folder: for checkpoints; it is empty.
        data: the folder of data sets.
        limit: seconds after which a process that carries it out is ended.
        components: finds the networks and energies that its fields name; by default those that are installed.
    """

    plugin: Plugin
    values: Mapping[str, Any]
    folder: Path
    data: Path
    limit: float = 600.0
    components: Components | None = None

    def build(self, values: Mapping[str, Any] | None = None) -> Any:
        """Return the plugin with its values, or with other ones."""
        return build(self.plugin, self.values if values is None else values, WHERE, self.components)


SubjectT = TypeVar("SubjectT", bound=Subject)


@dataclass(frozen=True)
class Contract(Generic[SubjectT]):
    """One promise of a plugin.

    Attributes:
        name: what `bench check` calls it.
        check: returns what was seen in a few words, or raises `Breach` or `NotChecked`.
        needs: contracts that must hold before this one can be looked at.
    """

    name: str
    check: Callable[[SubjectT], str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What became of a contract: its name, whether it holds, and what was seen or what is wrong, on one line."""

    contract: str
    status: Literal["pass", "fail", "not checked"]
    reason: str = ""


def judge(contracts: Sequence[Contract[SubjectT]], subject: SubjectT) -> Iterator[Verdict]:
    """Give the verdict on each contract in turn; whatever the plugin raises breaks the contract that called it.

    Args:
        contracts: in an order in which each comes after those it needs.
        subject: the plugin and what belongs to it.
    """
    verdicts: dict[str, Verdict] = {}
    for contract in contracts:
        name = contract.name
        missing = next((verdicts[other] for other in contract.needs if verdicts[other].status != "pass"), None)
        try:
            if missing is not None:
                raise NotChecked(f"{missing.contract} failed" if missing.status == "fail" else missing.reason)
            with confined("it", LONGEST):
                verdicts[name] = Verdict(name, "pass", contract.check(subject))
        except NotChecked as why:
            verdicts[name] = Verdict(name, "not checked", str(why))
        except (Exception, SystemExit, Runaway) as error:
            verdicts[name] = Verdict(name, "fail", sentence(error, subject.plugin.file))
        yield verdicts[name]


def sentence(error: BaseException, file: Path) -> str:
    """Return an exception on one line: our own as it is, another with its type and its last line in a plugin's file."""
    return " ".join(str(error).split()) if isinstance(error, Breach | UserError | Runaway) else reason(error, file)
