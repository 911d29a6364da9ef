"""Which records a table is made of, and what is said of those that are left out."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from bench.files import json_bytes
from bench.protocol import Ais, Evaluation
from bench.report import Records, View, published
from bench.report import report as made_report
from bench.report.arrays import BITS
from bench.report.cells import Outcome, Plan, outcomes
from bench.report.parquet import read_parquet
from bench.report.selection import Selection, select
from bench.report.sources import of_grid
from bench.report.tables import build
from bench.sweep import requests
from bench.sweep.seal import sealed

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

WHOLE = View(wide=True)


def report(grid: Any, stores: Any, out: Any, **options: Any) -> str:
    """Return a report with every metric, footnote and condition."""
    return made_report(Records(grid, stores, **options), out, WHOLE)


ALL = "--all-settings (with --grid; in Python `all_settings=True`) shows other settings, too"


def selection(store: Synthetic) -> Selection:
    """Return what a report of a store's grid shows of it."""
    source = of_grid(Records(store.grid, [store.folder], store.registry))
    return select(outcomes(source.frame), source.plan, source.evaluation)


def chosen(store: Synthetic) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return `label seed` -> the VLB of the record that stands for it, and the notes."""
    made = selection(store)
    return {outcome.name: _vlb(outcome) for outcome in made.outcomes}, made.notes


def _vlb(outcome: Outcome) -> float:
    return outcome.by_metric["vlb"].value if outcome.scores else float("inf")


def test_the_latest_record_stands_for_its_cell(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 96.0, code={"fit": "1" * 64})
    mnist.put("normal", 0, 95.0, code={"fit": "2" * 64})
    assert chosen(mnist) == ({"normal seed 0": 95.0}, ())


def test_a_record_of_the_code_as_it_is_comes_before_later_ones_of_other_code(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 94.0)
    mnist.put("normal", 0, 95.0, code={"fit": "1" * 64})
    mnist.put("normal", 0, 96.0, code={"plugin": "1" * 64})
    assert chosen(mnist)[0] == {"normal seed 0": 94.0}


def test_a_later_failure_stands_for_its_cell(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 96.0, code={"fit": "1" * 64})
    mnist.put("normal", 0, status="diverged")
    assert chosen(mnist)[0] == {"normal seed 0": float("inf")}


def test_records_scored_with_other_settings_are_refused_into_a_note(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    other = Evaluation(importance_samples=100, ais=Ais(temperatures=10_000, chains=500, repeats=5), images=200)
    mnist.put("normal", 1, 94.0, evaluation=other)
    found, notes = chosen(mnist)
    assert found == {"normal seed 0": 95.0}
    ways = "evaluate.images = 200 instead of none, evaluate.importance_samples = 100 instead of 1000"
    assert notes == (f"left out: 1 cell with {ways}; {ALL}",)


def test_there_is_one_note_for_each_kind_of_other_settings(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    for label in ("normal", "sliced-score-matching"):
        for images in (100, 200):
            mnist.put(label, 0, 94.0, evaluation=mnist.cell(label, 0).evaluation.model_copy(update={"images": images}))
    short = type(mnist)(mnist.folder, settings=["train.epochs=3"])
    short.put("vampprior[components=16]", 0, 99.0)
    found, notes = chosen(mnist)
    assert found == {"normal seed 0": 95.0}
    assert sorted(notes) == [
        f"left out: 1 cell with train.epochs = 3 instead of 100; {ALL}",
        f"left out: 2 cells with evaluate.images = 100 instead of none; {ALL}",
        f"left out: 2 cells with evaluate.images = 200 instead of none; {ALL}",
    ]


def test_records_on_other_data_are_refused_into_a_note(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 94.0, sha256="a" * 64)
    mnist.put("normal", 1, 95.0)
    found, notes = chosen(mnist)
    assert found == {"normal seed 1": 95.0}
    assert notes == (
        "left out: normal seed 0, made from other data (SHA-256 aaaaaaaa... instead of dddddddd...); a run into another"
        " --store makes it anew",
    )


def test_the_data_are_those_of_the_code_as_it_is_and_not_of_the_latest_record(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 94.0)
    mnist.put("normal", 1, 95.0, sha256="a" * 64, code={"fit": "1" * 64})
    found, notes = chosen(mnist)
    assert found == {"normal seed 0": 94.0}
    assert [note.partition(";")[0] for note in notes] == [
        "left out: normal seed 1, made from other data (SHA-256 aaaaaaaa... instead of dddddddd...)"
    ]


def test_cells_of_another_budget_are_refused_into_a_note(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("normal", 1, 95.0)
    short = type(mnist)(mnist.folder, settings=["train.epochs=3"])
    short.put("normal", 0, 99.0)
    found, notes = chosen(short)
    assert found == {"normal seed 0": 99.0}
    assert notes == (f"left out: 2 cells with train.epochs = 100 instead of 3; {ALL}",)


def test_cells_of_an_earlier_run_under_the_same_conditions_stay(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("vampprior[components=16]", 2, 94.0)
    narrowed = type(mnist)(mnist.folder, strategies=["normal"], seeds=1)
    assert chosen(narrowed) == ({"normal seed 0": 95.0, "vampprior[components=16] seed 2": 94.0}, ())


def test_without_a_plan_the_latest_record_says_how_all_are_scored(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, evaluation=Evaluation(importance_samples=10))
    mnist.put("normal", 1, 94.0)
    frame = of_grid(Records("mnist", [mnist.folder], mnist.registry)).frame
    made = select(outcomes(frame), Plan())
    assert [outcome.seed for outcome in made.outcomes] == [1]
    assert len(made.notes) == 1


def test_the_latest_record_under_the_plan_says_how_its_cells_are_scored(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    short = type(mnist)(mnist.folder, settings=["train.epochs=3"])
    short._clock = 30
    short.put("normal", 0, 99.0, evaluation=Evaluation(importance_samples=10))
    source = of_grid(Records(mnist.grid, [mnist.folder], mnist.registry))
    made = select(outcomes(source.frame), source.plan)
    assert [_vlb(outcome) for outcome in made.outcomes] == [95.0]


def test_settings_that_came_later_have_their_default_in_earlier_records(mnist: Synthetic) -> None:
    cell = mnist.cell("normal", 0)
    evaluation = cell.evaluation.model_dump(mode="json")
    del evaluation["seed"]
    budget = cell.budget.model_dump(mode="json")
    del budget["batch_size"]
    mnist.put("normal", 0, 95.0)
    path = next(Path(mnist.folder).glob("cells/*/record-*.json"))
    record = json.loads(path.read_text()) | {"evaluation": evaluation, "budget": budget}
    del record["sha256"]
    path.write_bytes(sealed(json_bytes(record)))
    assert chosen(mnist) == ({"normal seed 0": 95.0}, ())


def test_nothing_is_chosen_from_nothing() -> None:
    assert select([], Plan()) == Selection((), Plan(), frozenset(), ())


# ---------------------------------------------------------------- one kind of device


def test_a_table_is_of_the_kind_of_device_that_came_to_more_scores(mnist: Synthetic) -> None:
    """The device is no part of a cell, so that records of both kinds are of the same cells."""
    gpu: dict[str, Any] = {"device": "NVIDIA H100", "device_kind": "gpu"}
    mnist.put("normal", 0, 96.0)
    mnist.put("normal", 1, 96.1)
    mnist.put("sliced-score-matching", 0, status="crashed")
    for seed in range(3):
        mnist.put("normal", seed, 95.0 + seed / 10, code={"evaluate": "1" * 64}, **gpu)
    mnist.put("normal", 2, status="timeout")
    found, notes = chosen(mnist)
    assert found == {f"normal seed {seed}": 95.0 + seed / 10 for seed in range(3)}
    assert notes == ("left out: 4 cells made on a CPU; this table is of records made on a GPU",)
    for label in ("sliced-score-matching", "vampprior[components=16]"):
        mnist.put(label, 0, 93.0, code={"evaluate": "2" * 64})
    found, notes = chosen(mnist)
    assert found.keys() == {
        *(f"normal seed {seed}" for seed in range(3)),
        "sliced-score-matching seed 0",
        "vampprior[components=16] seed 0",
    }
    assert notes == ("left out: 3 cells made on a GPU; this table is of records made on a CPU",)
    assert set(notes) < set(mnist.table().notes)


def test_a_record_of_no_device_stays_beside_either_kind(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("normal", 1, status="crashed", device="unknown")
    assert chosen(mnist) == ({"normal seed 0": 95.0, "normal seed 1": float("inf")}, ())


# ---------------------------------------------------------------- shown and exported from one selection


def exported(out: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the records, curves and scores of items of a report's Parquet files."""
    return tuple(read_parquet(out / f"{table}.parquet", table) for table in ("records", "curves", "items"))  # type: ignore[return-value]


def test_merged_stores_give_each_record_once(mnist: Synthetic) -> None:
    epoch = [{"epoch": 1, "step": 9, "metric": "vlb", "value": 120.0}]
    for seed in range(3):
        mnist.put("normal", seed, 95.0 + seed, curves=epoch)
    shutil.copytree(mnist.folder, "copy")
    report("mnist", [mnist.folder], Path("one"))
    report("mnist", [mnist.folder, Path("copy")], Path("both"))
    assert Path("both/table.csv").read_bytes() == Path("one/table.csv").read_bytes()
    records, curves, items = exported(Path("both"))
    assert len(records) == 3 * 2
    assert len(curves) == 3
    assert len(items) == 3 * 2 * 100
    for alone, both in zip(exported(Path("one")), exported(Path("both")), strict=True):
        pd.testing.assert_frame_equal(both, alone)


def test_of_two_records_of_a_cell_and_code_the_later_one_is_shown_and_exported_with_its_own_items(
    mnist: Synthetic,
) -> None:
    """As of the same cell carried out on two machines."""
    epoch = {"epoch": 1, "step": 9, "metric": "vlb"}
    mnist.put("normal", 0, 95.0, spread=2.0, curves=[epoch | {"value": 1.0}])
    other = type(mnist)(Path("elsewhere"))
    other._clock = 30
    other.put("normal", 0, 97.0, spread=4.0, curves=[epoch | {"value": 2.0}])
    for order in ([mnist.folder, other.folder], [other.folder, mnist.folder]):
        source = of_grid(Records(mnist.grid, order, mnist.registry))
        (row,) = [row for row in build("mnist", source, published.read()).rows if row.label == "normal"]
        assert row.scores["vlb"].mean == 97.0
        assert row.scores["vlb"].items is not None
        assert row.scores["vlb"].items.stderr == pytest.approx(0.4, abs=97 * 2.0**-BITS)
        report("mnist", order, Path("both"))
        records, curves, items = exported(Path("both"))
        assert records["value"].tolist() == [97.0, 94.0]
        assert curves["value"].tolist() == [2.0]
        found = items.groupby("metric", observed=True)["value"].agg(["mean", "std"]).to_dict("index")
        assert [*found["vlb"].values(), *found["nll"].values()] == pytest.approx([97, 4, 94, 4], abs=97 * 2.0**-BITS)


def test_what_a_table_leaves_out_is_not_exported(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 96.0, code={"fit": "1" * 64})
    mnist.put("normal", 0, 95.0)
    mnist.put("normal", 1, 94.0, sha256="a" * 64)
    images = mnist.cell("normal", 2).evaluation.model_copy(update={"images": 200})
    mnist.put("normal", 2, 93.0, evaluation=images)
    mnist.put("sliced-score-matching", 0, status="diverged")
    report("mnist", [], Path("out"))
    records, _, items = exported(Path("out"))
    assert set(zip(records["label"], records["seed"], records["status"], strict=True)) == {
        ("normal", 0, "ok"),
        ("sliced-score-matching", 0, "diverged"),
    }
    assert records["value"].dropna().tolist() == [95.0, 92.0]
    assert set(zip(items["label"], items["seed"], strict=True)) == {("normal", 0)}
    csv = pd.read_csv("out/table.csv")
    own = csv[(csv["row"] == "normal") & (csv["metric"] == "vlb")].iloc[0]
    assert own["mean"] == records[records["metric"] == "vlb"]["value"].mean()


# ---------------------------------------------------------------- arrays that are lost


def lose(path: Path, content: bytes | None) -> None:
    """Damage or remove the arrays beside a record."""
    (arrays,) = path.parent.glob("arrays-*.npz")
    arrays.unlink() if content is None else arrays.write_bytes(content)


@pytest.mark.parametrize("content", [None, b"PK half a file", b""])
def test_without_arrays_records_own_errors_stand_in_and_a_footnote_says_so(
    mnist: Synthetic, content: bytes | None
) -> None:
    hard = np.random.default_rng(0).normal(0, 25, 100)
    for seed in range(3):
        for label, value in (("normal", 95.0), ("sliced-score-matching", 93.0)):
            items = np.asarray(value + hard - hard.mean(), np.float32)
            path = mnist.put(label, seed, value, arrays={"vlb": items, "nll": items - 3})
    whole = mnist.row("sliced-score-matching")
    assert whole.marks == ()
    assert not whole.differences["vlb"].lost
    lose(path, content)
    row = mnist.row("sliced-score-matching")
    # the seeds agree, so that what is left is the standard error of the records: .03 of draws and .4 of items
    own = math.hypot(0.03, 0.4)
    assert row.scores["vlb"].lost
    assert row.scores["vlb"].half(0.05) == pytest.approx(1.95996 * own, rel=1e-4)
    assert row.differences["vlb"].lost
    assert row.differences["vlb"].half(0.05) == pytest.approx(1.95996 * own * math.sqrt(2), rel=1e-4)
    assert row.differences["vlb"].half(0.05) > whole.differences["vlb"].half(0.05)
    assert row.marks == (
        "VLB, NLL: scores of single items are not there; the interval takes the records' own standard errors over"
        " items",
        "difference of VLB, NLL: scores of single items are not there; the interval takes both standard errors, as if"
        " the items were not the same",
    )
    assert not any("not there" in mark for mark in mnist.row("normal").marks)
    text = report("mnist", [], Path("out"))
    assert all(mark in " ".join(text.split()) for mark in row.marks)
    lines = pd.read_csv("out/table.csv").to_dict("records")
    lost = {(line["row"], line["metric"]): (line["items_lost"], line["difference_items_lost"]) for line in lines}
    assert lost["sliced-score-matching[variant=sliced]", "vlb"] == (1, 1)
    assert lost["normal", "vlb"][0] == 0


def test_damaged_arrays_are_named(mnist: Synthetic) -> None:
    lose(mnist.put("normal", 0, 95.0), b"PK half a file")
    notes = mnist.table().notes
    assert any(note.startswith("corrupt arrays ") and "/runs/mnist/cells/" in note for note in notes), notes


# ---------------------------------------------------------------- other settings


def scored(store: Synthetic, label: str, seed: int, value: float, **changes: Any) -> None:
    """Write a record of a cell that was scored with other settings."""
    store.put(label, seed, value, evaluation=store.cell(label, seed).evaluation.model_copy(update=changes))


def test_scoring_one_strategy_with_other_settings_takes_nothing_from_the_grids_table(mnist: Synthetic) -> None:
    digits = type(mnist)(Path("runs/digits"), "digits", strategies=())
    for seed in range(3):
        digits.put("normal", seed, 20.0 + seed / 10)
        digits.put("gaussian", seed, 19.0 + seed / 10)
    before = digits.table("digits").rows
    request = requests.Request("digits", ["evaluate.images=200"], strategies=["normal"], plugins=digits.registry)
    survey = request.survey()
    requests.Plan(request, survey, survey.rescored(), trains=False).carry_out()  # as `bench score` does
    assert digits.store.grid() == digits.grid.source
    for seed in range(3):
        scored(digits, "normal", seed, 22.0, images=200)
    text = report("digits", [], None)
    for figures in ("20.10", "19.10", "3/5"):
        assert figures in text
    assert "22.00" not in text
    assert f"left out: 3 cells with evaluate.images = 200 instead of none; {ALL}" in text
    assert "(29 of 35 cells)" in text
    after = digits.table("digits").rows
    assert [(row.label, row.scores, row.missing) for row in after] == [
        (row.label, row.scores, row.missing) for row in before
    ]


def test_other_settings_are_shown_where_they_are_asked_for(mnist: Synthetic) -> None:
    for seed in range(3):
        mnist.put("normal", seed, 95.0 + seed / 10)
        mnist.put("sliced-score-matching", seed, 93.0 + seed / 10)
        scored(mnist, "normal", seed, 85.0 + seed / 10, images=200)
        scored(mnist, "sliced-score-matching", seed, 84.0 + seed / 10, images=200)
    assert "85.10" not in report("mnist", [], None)
    other = report("mnist", [], None, settings=["evaluate.images=200"])
    assert "85.10" in other
    assert "95.10" not in other
    assert f"left out: 6 cells with evaluate.images = none instead of 200; {ALL}" in other


def test_all_settings_are_rows_of_their_own_each_compared_within_its_own(mnist: Synthetic) -> None:
    short = type(mnist)(mnist.folder, settings=["train.epochs=3"])
    for seed in range(3):
        for label, value in (("normal", 95.0), ("sliced-score-matching", 93.0)):
            mnist.put(label, seed, value + seed / 10)
            scored(mnist, label, seed, value - 10 - seed / 10, images=200)
        short.put("sliced-score-matching", seed, 50.0)  # whose conditions have no baseline
    source = of_grid(Records(mnist.grid, [mnist.folder], mnist.registry, all_settings=True))
    rows = {row.label: row for row in build("mnist", source, published.read()).rows if row.outcomes}
    assert rows.keys() == {
        f"{label} ({ways})"
        for label, ways in (
            ("normal", "evaluate.images=null"),
            ("normal", "evaluate.images=200"),
            ("sliced-score-matching", "train.epochs=100, evaluate.images=null"),
            ("sliced-score-matching", "train.epochs=100, evaluate.images=200"),
            ("sliced-score-matching", "train.epochs=3, evaluate.images=null"),
        )
    }
    means = {label: row.differences["vlb"].mean for label, row in rows.items() if row.differences}
    assert means == pytest.approx(
        {f"sliced-score-matching (train.epochs=100, evaluate.images={n})": -2.0 for n in ("null", "200")}
    )
    text = " ".join(report("mnist", [], None, all_settings=True).split())
    for figure in ("95.10", "84.90", "50.00"):
        assert figure in text
    assert "left out" not in text
