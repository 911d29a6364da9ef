"""Records of several run stores and Parquet files in one report: in what these differ, and in what they must not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.protocol import UserError
from bench.report.cells import Outcome
from bench.sweep.fingerprints import same_numbers
from bench.sweep.record import flat

_DIGITS = 10  # of a hash, so many are shown


def merged(places: Mapping[Path, Sequence[Outcome]]) -> tuple[list[Outcome], list[str]]:
    """Return the records of all places, each once however many of them hold it, and in words what these differ in.

    Args:
        places: a run store or a Parquet file -> its records.

    Raises:
        UserError: the same data set is other data in two of them, or the same metric another quantity.
    """
    whole: dict[tuple[object, ...], Outcome] = {}
    for records in places.values():
        for record in records:
            whole.setdefault(record.identity, record)
    held = {place: records for place, records in zip(_names([*places]), places.values(), strict=True) if records}
    if len(held) < 2:
        return list(whole.values()), []
    _demand_alike(held, _data, "the data set {} is other data in them (SHA-256 {})")
    _demand_alike(held, _metrics, "{} is another quantity in them ({})")
    notes = [f"merged sources differ in the {what}: {ways}" for what, ways in _differences(held).items()]
    return list(whole.values()), [*notes, *_repeated(held)]


def _names(places: Sequence[Path]) -> list[str]:
    """Return what places are called: as much of the ends of their paths as tells them apart."""
    for length in range(1, max((len(place.parts) for place in places), default=0) + 1):
        names = [str(Path(*place.parts[-length:])) for place in places]
        if len({*names}) == len(names):
            return names
    return [str(place) for place in places]


# ---------------------------------------------------------------- what they must not differ in

_Facts = dict[str, str]  # what must be alike -> what it is, in words
_Held = Mapping[str, Sequence[Outcome]]  # what a source is called -> its records


def _demand_alike(held: _Held, facts: Callable[[Sequence[Outcome]], _Facts], why: str) -> None:
    """Refuse sources that say different things of the same."""
    first: dict[str, tuple[str, str]] = {}
    for name, records in held.items():
        for what, fact in facts(records).items():
            other, before = first.setdefault(what, (name, fact))
            if before != fact:
                ways = why.format(what, f"{before} in {other}, {fact} in {name}")
                raise UserError(f"{other} and {name} cannot be merged: {ways}; report them apart")


def _data(records: Sequence[Outcome]) -> _Facts:
    """Return data set with its options -> what was loaded last: a source that moved on leaves out its own old ones."""
    dated = sorted((record for record in records if record.dataset.sha256), key=lambda record: record.finished)
    return {_data_set(record): f"{str(record.dataset.sha256)[:_DIGITS]}..." for record in dated}


def _data_set(record: Outcome) -> str:
    options = [f"{key} = {json.dumps(value)}" for key, value in flat(record.dataset.options)]
    return f"{record.dataset.name} with {', '.join(sorted(options))}" if options else record.dataset.name


def _metrics(records: Sequence[Outcome]) -> _Facts:
    """Return metric and data set -> its latest version there, its unit and which way is better."""
    versions: dict[tuple[str, str], tuple[int, str, str]] = {}
    for record in records:
        for score in record.scores:
            what, fact = (score.metric, record.dataset.name), (score.version, score.unit, score.better)
            if fact > versions.get(what, fact[:0]):
                versions[what] = fact
    return {
        f"the metric {metric} on {dataset}": f"version {version}, {unit}, {better} is better"
        for (metric, dataset), (version, unit, better) in versions.items()
    }


# ---------------------------------------------------------------- what is said


def _differences(held: _Held) -> dict[str, str]:
    """Return what sources differ in, and how."""
    aspects: dict[str, dict[str, set[str]]] = {}
    for name, records in held.items():
        for record in records:
            if record.status == "ok":
                for what, value in _circumstances(record):
                    aspects.setdefault(what, {}).setdefault(name, set()).add(value)
    said = {}
    for what, values in aspects.items():
        if len({frozenset(own) for own in values.values()}) > 1:
            said[what] = "; ".join(f"{', '.join(sorted(own))} in {name}" for name, own in values.items())
    return said | _plugins(held)


def _circumstances(record: Outcome) -> Iterable[tuple[str, str]]:
    marks = record.fingerprints
    yield "training code of bench (fingerprint)", same_numbers(marks.fit)[:_DIGITS]
    yield "scoring code of bench (fingerprint)", same_numbers(marks.evaluate)[:_DIGITS]
    if record.git:
        changed = " with uncommitted changes" if record.git.dirty else ""
        yield "git commit", f"{record.git.commit[:_DIGITS]}{changed}"
    if record.dataset.version:
        yield f"version of the data set {record.dataset.name}", record.dataset.version
    if record.torch:
        yield "version of torch", record.torch


def _plugins(held: _Held) -> dict[str, str]:
    """Return which strategies have other code of their plugins in some source, for the same settings."""
    codes: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for name, records in held.items():
        for record in records:
            codes.setdefault(record.code, {}).setdefault(name, set()).add(record.fingerprints.plugin)
    other = {
        f"{code[0]} on {code[1]}"
        for code, own in codes.items()
        if len({frozenset(marks) for marks in own.values()}) > 1
    }
    return {"code of plugins (fingerprint)": ", ".join(sorted(other))} if other else {}


def _repeated(held: _Held) -> list[str]:
    """Say how many cells were carried out in more than one place, and how many of these came to other scores."""
    places: dict[tuple[str, str], dict[tuple[object, ...], Outcome]] = {}
    for records in held.values():
        for record in records:
            places.setdefault((record.cell, record.key), {}).setdefault(record.identity, record)
    twice = [list(own.values()) for own in places.values() if len(own) > 1]
    if not twice:
        return []
    scores = [{tuple((score.metric, score.value) for score in record.scores) for record in own} for own in twice]
    number = f"{len(twice)} cell{'s' if len(twice) > 1 else ''}"
    differing = sum(len(own) > 1 for own in scores)
    return [f"merged sources have {number} twice, {differing or 'none'} with other scores; the latest record counts"]
