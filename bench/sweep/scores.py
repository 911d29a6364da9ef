"""What a strategy's state and scores have to be, where it has been carried out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from bench import protocol
from bench.protocol import UserError
from bench.sweep.record import Score
from bench.words import listed, nearest

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}", re.IGNORECASE)
_UNIT = re.compile(r"[^\W_][\w /%^*.·²-]{0,31}|")
_DIRECTIONS: tuple[str, ...] = get_args(Score.model_fields["better"].annotation)
#: metric that bench itself scores -> its unit and direction, which are the same whoever gives it
OURS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("vlb", "nll", "nll_ais", "nll_exact", "kl_data"), ("nats", "lower")),
    **dict.fromkeys(("kl", "reconstruction", "log_z", "log_z_check"), ("nats", "neither")),
    **dict.fromkeys(("bdmc_gap", "bdmc_lower", "bdmc_upper"), ("nats", "neither")),
    **dict.fromkeys(("vlb_bits", "nll_bits", "nll_ais_bits"), ("bits/dim", "lower")),
    **dict.fromkeys(("sliced_wasserstein", "c2st"), ("1", "lower")),
    **dict.fromkeys(("precision", "recall"), ("1", "higher")),
    **dict.fromkeys(("sliced_wasserstein_base", "c2st_base", "precision_base", "recall_base"), ("1", "neither")),
}
_STATE = ("modules", "steps", "curves", "stability", "resources")  # what `protocol.State` must have
_ROUNDING = 1e-9  # of a value, within which an end of its interval may lie on its wrong side


class ScoreError(UserError):
    """A score that is none; one sentence."""


def check_state(state: Any) -> None:
    """Refuse what is no state.

    Raises:
        TypeError: why.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"`fit` gave a {type(state).__name__}; it must be a dict with {listed(_STATE)}")
    if lacking := [key for key in _STATE if key not in state]:
        raise TypeError(f"`fit` gave a dict without {listed(lacking)}")


def recorded(scores: Any) -> list[Score]:
    """Return what `evaluate` gave as a record holds it.

    Raises:
        TypeError: it is no `protocol.Scores`.
        ScoreError: one of the scores is none, or a metric is there twice.
    """
    if not isinstance(scores, protocol.Scores):
        raise TypeError(f"`evaluate` gave a {type(scores).__name__}; it must be bench.protocol.Scores")
    rows: dict[str, Score] = {}
    for score in scores.scores:
        if not isinstance(score, protocol.Score) or not isinstance(score.metric, protocol.Metric):
            raise ScoreError(f"`evaluate` gave {_short(score)} for a score; it must be a bench.protocol.Score")
        name = score.metric.name
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ScoreError(f"{_short(name)} is no name of a metric; letters, digits, `_`, `-` and `.` make one")
        if name in rows:
            raise ScoreError(f"the metric {name!r} was scored twice; once is allowed")
        if wrong := _metric(score.metric) or _numbers(score):
            raise ScoreError(f"the score of {name!r} is wrong: {wrong}")
        rows[name] = Score.of(score)
    return list(rows.values())


def _metric(metric: protocol.Metric) -> str:
    """Return what is wrong with a metric, or nothing."""
    if metric.better not in _DIRECTIONS:
        hint = nearest(metric.better, _DIRECTIONS) if isinstance(metric.better, str) else ""
        return f"better = {_short(metric.better)}{hint or ';'} allowed: {listed(_DIRECTIONS)}"
    if not isinstance(metric.unit, str) or not _UNIT.fullmatch(metric.unit):
        return f"unit = {_short(metric.unit)} is no unit; nats, bits/dim, 1 or a word of its own is allowed"
    if not _whole(metric.version, 1):
        return f"version = {_short(metric.version)}; a whole number from 1 on is allowed"
    unit, better = OURS.get(metric.name, (metric.unit, metric.better))
    if metric.unit != unit:
        return f"unit = {metric.unit!r}; everywhere else it is in {unit!r}, and another unit needs another name"
    if metric.better != better:
        return f"better = {metric.better!r}; everywhere else it is {better!r}"
    return ""


def _numbers(score: protocol.Score) -> str:
    """Return what is wrong with the numbers of a score, or nothing. A value that is not finite is a finding."""
    fields = ("value", "stderr_mc", "stderr_images", "sys_lower", "sys_upper")
    for field in fields:
        if not _number(getattr(score, field)):
            return f"{field} = {_short(getattr(score, field))} is no number"
    if not _whole(score.n, 0):
        return f"n = {_short(score.n)}; a whole number from 0 on is allowed"
    for field in ("estimator", "unreliable"):
        if not isinstance(getattr(score, field), str):
            return f"{field} = {_short(getattr(score, field))} is no text"
    value, errors, lower, upper = (
        float(score.value),
        (float(score.stderr_mc), float(score.stderr_images)),
        float(score.sys_lower),
        float(score.sys_upper),
    )
    for field, error in zip(fields[1:3], errors, strict=True):
        if error < 0:
            return f"{field} = {error:g} is below 0, and a standard error is not"
    if lower > upper:
        return f"its interval is upside down: sys_lower = {lower:g} is above sys_upper = {upper:g}"
    slack = _ROUNDING * max(1.0, abs(value))
    if lower > value + slack or upper < value - slack:
        return f"its value {value:g} lies outside of its interval from {lower:g} to {upper:g}"
    return ""


def _number(value: Any) -> bool:
    """Tell whether a value is one real number, of whatever library."""
    if isinstance(value, bool | str | bytes | complex):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _whole(value: Any, least: int) -> bool:
    return _number(value) and least <= float(value) < 2**63 and int(value) == value


def _short(value: Any) -> str:
    """Return a plugin's value as it may stand in a sentence."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
