"""Several sources in one report: what they differ in is said, and what must not differ is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import bench
from bench.protocol import Metric, Score, UserError
from bench.report import Records, report
from bench.report.arrays import Arrays
from bench.report.cells import outcomes
from bench.report.curves import Curves
from bench.report.parquet import read_parquet, write_items, write_parquet
from bench.report.sources import of_places
from bench.report.stored import collect, curves, items

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

PLACES = [Path("runs/mnist"), Path("elsewhere")]


@pytest.fixture
def other(mnist: Synthetic) -> Synthetic:
    """A second store of the same grid; the first has one record."""
    mnist.put("normal", 0, 95.0)
    return type(mnist)(Path("elsewhere"))


def notes(mnist: Synthetic, *places: Path) -> list[str]:
    return [note for note in of_places(places or PLACES, mnist.registry).notes if note.startswith("merged")]


def test_sources_that_are_alike_are_merged_without_a_word(mnist: Synthetic, other: Synthetic) -> None:
    other.put("normal", 1, 97.0)
    assert notes(mnist) == []


def test_what_sources_differ_in_is_said(mnist: Synthetic, other: Synthetic) -> None:
    git = {"commit": "f" * 40, "dirty": True}
    other.put("normal", 1, 97.0, torch="2.6.0", git=git, code={"fit": "1" * 64, "evaluate": "2" * 64})
    code = {name: value[:10] for name, value in vars(mnist.code(mnist.cell("normal", 0))).items()}
    assert notes(mnist) == [
        f"merged sources differ in the {what}: {ours} in mnist; {theirs} in elsewhere"
        for what, ours, theirs in (
            ("training code of bench (fingerprint)", code["fit"], "1" * 10),
            ("scoring code of bench (fingerprint)", code["evaluate"], "2" * 10),
            ("git commit", "0123456789", f"{'f' * 10} with uncommitted changes"),
            ("version of torch", "2.13.0", "2.6.0"),
        )
    ]
    # and by what the report prints, of a grid as of the paper's table
    for grid in ("mnist", None):
        assert "differ in the version of torch: 2.13.0" in " ".join(report(Records(grid, PLACES), Path("out")).split())


def test_code_that_gives_the_same_numbers_is_no_difference(
    mnist: Synthetic, other: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, ones = mnist.code(mnist.cell("normal", 0)).fit, "1" * 64
    monkeypatch.setattr("bench.sweep.fingerprints._equal", lambda: {ones: now})
    other.put("normal", 1, 97.0, code={"fit": ones})
    assert notes(mnist) == []


def test_another_version_of_a_data_set_is_said(mnist: Synthetic, other: Synthetic) -> None:
    other.put("normal", 1, 97.0, data={"version": "2", "sha256": "d" * 64})
    assert notes(mnist) == ["merged sources differ in the version of the data set mnist: 1 in mnist; 2 in elsewhere"]


def test_other_code_of_a_plugin_is_said_for_the_settings_that_both_have(mnist: Synthetic, other: Synthetic) -> None:
    other.put("normal", 1, 97.0, code={"plugin": "1" * 64})
    other.put("vampprior[components=16]", 1, 97.0, code={"plugin": "1" * 64})
    assert notes(mnist) == ["merged sources differ in the code of plugins (fingerprint): normal on mnist"]


@pytest.mark.parametrize("grid", ["mnist", None])
def test_other_data_of_the_same_data_set_are_refused(mnist: Synthetic, other: Synthetic, grid: str | None) -> None:
    other.put("normal", 1, 97.0, sha256="e" * 64)
    why = (
        r"^mnist and elsewhere cannot be merged: the data set mnist with validation = 0 is other data in them"
        r" \(SHA-256 dddddddddd... in mnist, eeeeeeeeee... in elsewhere\); report them apart$"
    )
    with pytest.raises(UserError, match=why):
        report(Records(grid, PLACES))
    with pytest.raises(UserError, match=why):
        bench.results(*PLACES)


def test_a_source_that_moved_on_to_the_same_data_is_merged(mnist: Synthetic, other: Synthetic) -> None:
    other.put("normal", 1, 97.0, sha256="e" * 64)
    other.put("normal", 2, 97.0)
    assert notes(mnist) == []
    assert "made from other data" in " ".join(report(Records("mnist", PLACES)).split())


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [
        (Metric("vlb", "nats", version=2), "version 2, nats, lower"),
        (Metric("vlb", "bits"), "version 1, bits, lower"),
        (Metric("vlb", "nats", "higher"), "version 1, nats, higher"),
    ],
)
def test_a_metric_that_is_another_quantity_is_refused(
    mnist: Synthetic, other: Synthetic, metric: Metric, theirs: str
) -> None:
    other.put("normal", 1, scores=[Score(metric, 97.0, 100, "monte-carlo", 0.03, 0.4, 97.0, 97.0)])
    with pytest.raises(UserError, match=rf"the metric vlb on mnist is another .* in mnist, {theirs} is better in else"):
        of_places(PLACES, mnist.registry)


def test_a_source_that_moved_on_to_the_same_version_of_a_metric_is_merged(mnist: Synthetic, other: Synthetic) -> None:
    """It has scores of an earlier version, too, before and after those of the latest in the order of cells."""
    later = [Score(Metric("vlb", "nats", version=2), 97.0, 100, "monte-carlo", 0.03, 0.4, 97.0, 97.0)]
    places = [("normal", 1), ("normal", 2), ("vampprior[components=16]", 0)]
    first, middle, last = sorted(places, key=lambda place: mnist.cell(*place).id)
    mnist.put(*first, 95.0)
    mnist.put(*middle, scores=later)
    mnist.put(*last, 95.0)
    other.put("normal", 1, scores=later)
    assert of_places(PLACES, mnist.registry).records


# ---------------------------------------------------------------- the same cell twice


def exported(store: Synthetic, folder: str) -> list[Path]:
    """Write the Parquet files of a store's report."""
    records = outcomes(collect([store.folder]))
    places = [Path(folder, f"{name}.parquet") for name in ("records", "items", "curves")]
    write_parquet(collect([store.folder]), places[0])
    write_items(items(records, Arrays([store.folder])), places[1])
    write_parquet(curves([store.folder]), places[2], "curves")
    return places


def test_a_record_that_several_sources_hold_counts_once(mnist: Synthetic, other: Synthetic) -> None:
    other.put("normal", 1, 97.0)
    places = [*PLACES, *exported(mnist, "a"), *exported(other, "b")]
    assert notes(mnist, *places) == []
    assert len(of_places(places, mnist.registry).records) == 2
    pd.testing.assert_frame_equal(bench.results(*places).table(), bench.results(*PLACES).table())


@pytest.mark.parametrize("turned", [False, True])
def test_of_a_cell_that_was_carried_out_twice_the_latest_record_counts_whatever_the_order(
    mnist: Synthetic, other: Synthetic, turned: bool
) -> None:
    other.put("normal", 0, 97.0, finished="2026-02-01T00:00:00+00:00")
    tables = [exported(mnist, "a"), exported(other, "b")]
    for places in ([PLACES[:1], PLACES[1:]], [PLACES[:1], tables[1]], [tables[0], PLACES[1:]], tables):
        chosen = [place for part in (places[::-1] if turned else places) for place in part]
        results = bench.results(*chosen)
        assert results.table("vlb")["mean"].tolist()[0] == 97.0
        assert notes(mnist, *chosen) == [
            "merged sources have 1 cell twice, 1 with other scores; the latest record counts"
        ]


def test_items_and_curves_of_a_cell_that_two_files_tell_apart_are_nobodys(mnist: Synthetic, other: Synthetic) -> None:
    """Neither file says which of two records of a cell its rows are of."""
    point = {"epoch": 1, "step": 1, "metric": "bound", "value": 3.0}
    mnist.put("normal", 1, 95.0, curves=[point])
    other.put("normal", 0, 97.0)
    other.put("normal", 1, 97.0, curves=[{**point, "value": 4.0}])
    ours, theirs = exported(mnist, "a"), exported(other, "b")
    first, second = sorted(outcomes(read_parquet(ours[0])), key=lambda outcome: outcome.seed)
    assert Arrays((), [ours[1], ours[1]]).vector(first, "vlb") is not None
    assert Arrays((), [ours[1], theirs[1]]).vector(first, "vlb") is None
    np.testing.assert_array_equal(Curves((), [ours[2], ours[2]]).of(second)["bound"], [[1.0], [3.0]])
    assert Curves((), [ours[2], theirs[2]]).of(second) == {}
    assert of_places([*ours, *theirs], mnist.registry).records


def test_curves_of_a_cell_in_python_are_its_own_records(mnist: Synthetic, other: Synthetic) -> None:
    point = {"epoch": 1, "step": 1, "metric": "bound", "value": 3.0}
    mnist.put("normal", 1, 95.0, curves=[point])
    other.put("normal", 1, 95.0, curves=[{**point, "value": 4.0}], finished="2026-02-01T00:00:00+00:00")
    assert bench.results(PLACES[1], PLACES[0]).cell("normal", 1).curves["value"].tolist() == [4.0]
