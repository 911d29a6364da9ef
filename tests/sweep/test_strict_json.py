"""Whatever a cell comes to, files of a store and what `--json` prints are JSON that any reader takes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np
import pytest
from click.testing import CliRunner

from bench import cli, files
from bench.protocol import Metric, Score
from bench.report import cells
from bench.report.curves import Curves
from bench.report.stored import curves as tabulated
from bench.sweep import live
from bench.sweep.circumstances import provenance
from bench.sweep.columns import canonical
from bench.sweep.record import Point, Record
from bench.sweep.record import Score as ScoreRow
from bench.sweep.requests import Request
from bench.sweep.seal import sealed
from bench.sweep.status import Survey
from bench.sweep.store import Store
from bench.sweep.wire import Figures

Look = Callable[..., Survey]
NAN, INF = float("nan"), float("inf")


def strict(text: str | bytes) -> Any:
    """Read JSON as programs do that know no NaN."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def diverged(look: Look, store: Store) -> Record:
    """The record of a cell that diverged, in a store with an attempt that says how far it is."""
    job = look("diverge").jobs()[0]
    attempt = store.begin(job.cell, "sweep")
    assert attempt
    live.Teller(store.cell(job.cell.id), 1).hear(Figures("fit", 1, 4, {"epoch": 1.0, "bound": NAN, "energy": -INF}))
    fields: dict[str, Any] = {
        "scores": [ScoreRow.of(Score(Metric("vlb", "nats"), NAN, 4, "monte-carlo", INF, 0.4, -INF, INF))],
        "normalised": {"verdict": "not checked", "log_z": NAN, "n": 3},
        "stability": {"gradient_max_prior": INF, "max_energy": NAN, "steps": -INF},
        "resources": {"fit_seconds": NAN},
    }
    curves = [Point(epoch=n, step=n, metric="bound", value=value) for n, value in enumerate((1.5, NAN, INF, -INF))]
    assert store.finish(job, job.record("fakes", provenance("cpu"), "diverged", "not finite", **fields), curves)
    (record,) = store.records()
    return record


def test_every_file_of_a_cell_that_diverged_is_strict_json(diverged: Record, store: Store, look: Look) -> None:
    store.write_grid(look("diverge").grid.source)
    written = [path for path in store.folder.rglob("*.json") if strict(path.read_bytes())]
    assert {path.name.partition("-")[0].removesuffix(".json") for path in written} == {
        *("attempt", "curves", "grid", "live", "record", "request")
    }


def test_numbers_that_are_not_finite_are_read_back_as_they_were(diverged: Record, store: Store) -> None:
    (score,) = diverged.scores
    assert math.isnan(score.value)
    assert (score.stderr_mc, score.sys_lower, score.sys_upper) == (INF, -INF, INF)
    assert diverged.stability["gradient_max_prior"] == INF
    assert math.isnan(diverged.stability["max_energy"])
    assert math.isnan(diverged.resources["fit_seconds"])
    strict(canonical(diverged.normalised or {}))
    told = live.read(store.cell(diverged.cell), 1)
    assert told
    assert math.isnan(told.figures["bound"])
    assert told.figures["energy"] == -INF
    strict(files.json_text(told.plain()))


def test_curves_that_are_not_finite_are_read_back_as_they_were(diverged: Record, store: Store, look: Look) -> None:
    frame = tabulated([store.folder])
    expected = [1.5, NAN, INF, -INF]
    np.testing.assert_equal(frame["value"].tolist(), expected)
    outcome = cells.Outcome.of(diverged, look("diverge").standings[0].key)
    np.testing.assert_equal(Curves([store.folder]).of(outcome)["bound"][1].tolist(), expected)


def test_records_with_a_bare_nan_are_read_as_before(diverged: Record, store: Store) -> None:
    earlier = diverged.model_dump(by_alias=True)
    content = sealed(json.dumps(earlier, indent=1).encode())
    assert b": NaN" in content
    assert Record.read(content, diverged.cell).json_bytes() == diverged.json_bytes()


def test_a_number_in_quotes_is_no_number(diverged: Record) -> None:
    for word in ("1.0", "nan", "inf", ""):
        table = strict(diverged.json_bytes())
        del table["sha256"]
        table["scores"][0]["value"] = word
        with pytest.raises(Exception, match=r"^`scores.0.value`: input should be a valid number$"):
            Record.read(sealed(json.dumps(table, indent=1).encode()), diverged.cell)


#: verb with --json -> the rest of a command that ends soon
COMMANDS = {"check": ["broken.py"], "list": [], "status": []}


def test_every_verb_prints_strict_json(
    look: Look, diverged: Record, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("raise ValueError('Äpfel \\x1b[31m')\n")
    survey = look("diverge")
    monkeypatch.setattr(Request, "survey", lambda request: survey)
    context = click.Context(cli.bench)
    verbs = {name: verb for name in cli.VERBS if (verb := cli.bench.get_command(context, name))}
    assert {name for name, verb in verbs.items() if any("--json" in p.opts for p in verb.params)} == {*COMMANDS}
    for name, rest in COMMANDS.items():
        shown = CliRunner().invoke(verbs[name], [*rest, "--json"]).stdout
        assert strict(shown), name
        assert shown.isascii(), name
