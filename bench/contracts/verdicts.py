"""A contract, what became of it, and how a plugin breaks one."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from bench.protocol import UserError

SubjectT = TypeVar("SubjectT")


class Breach(Exception):
    """A contract is broken; the message is one sentence about the plugin."""


class NotChecked(Exception):
    """A contract does not apply to this plugin; the message says why."""


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


def judge(contracts: Sequence[Contract[SubjectT]], subject: SubjectT, file: Path) -> Iterator[Verdict]:
    """Give the verdict on each contract in turn; whatever the plugin raises breaks the contract that called it.

    Args:
        contracts: in an order in which each comes after those it needs.
        subject: the plugin and what belongs to it.
        file: the plugin's, for the line of an error.
    """
    given: dict[str, Verdict] = {}
    for contract in contracts:
        missing = [given[name] for name in contract.needs if given[name].status != "pass"]
        if missing:
            first = missing[0]
            reason = f"{first.contract} failed" if first.status == "fail" else first.reason
            verdict = Verdict(contract.name, "not checked", reason)
        else:
            verdict = _verdict(contract, subject, file)
        given[contract.name] = verdict
        yield verdict


def _verdict(contract: Contract[SubjectT], subject: SubjectT, file: Path) -> Verdict:
    try:
        return Verdict(contract.name, "pass", contract.check(subject))
    except Breach as breach:
        return Verdict(contract.name, "fail", str(breach))
    except NotChecked as reason:
        return Verdict(contract.name, "not checked", str(reason))
    except (Exception, SystemExit) as error:
        return Verdict(contract.name, "fail", told(error, file))


def told(error: BaseException, file: Path) -> str:
    """Return an exception on one line: its type and message and the last line of `file` that it went through."""
    message = " ".join(str(error).split())
    if isinstance(error, UserError):
        return message
    message = message if len(message) <= 300 else f"{message[:297]}..."
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{type(error).__name__}{f': {message}' if message else ''}{f' (line {lines[-1]})' if lines else ''}"
