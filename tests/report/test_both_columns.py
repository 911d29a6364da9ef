"""Both columns of Table 2 are shown beside each other where no grid is named."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from bench.protocol import Metric, Score, UserError
from bench.report import Records, View, published
from bench.report import report as made_report
from bench.report.outputs import of_grid
from bench.report.parquet import read_parquet, write_parquet
from bench.report.sources import of_places
from bench.report.stored import collect, curves

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic
from tests.report.test_outputs import FILES, ROOT, names, report


def test_from_nothing_the_published_numbers_and_what_is_missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: here / "results")
    text = report(None, [], None)
    for part in ("Table 2, MNIST", "Table 2, CIFAR-10", "91.89", "6.33", "4.31", "Records: none yet."):
        assert part in text
    assert "No record yet of 21 cells; `bench run --grid mnist` makes them." in text
    assert "No record yet of 18 cells; `bench run --grid cifar10` makes them." in text
    assert list(here.iterdir()) == []


def test_from_local_stores(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    text = report(None, [], None)
    assert "Records: the local store runs/mnist." in text
    assert "Records: none yet." in text
    assert names(Path("report")) == FILES


def test_a_metric_or_a_baseline_of_one_column_is_no_mistake(mnist: Synthetic) -> None:
    for label in ("normal", "vampprior[components=16]"):
        for seed in range(2):
            mnist.put(label, seed, 95.5 + seed / 100)
    text = " ".join(made_report(Records(None, []), None, View(metric="vlb")).split())
    assert "VLB, nats" in text
    text = " ".join(made_report(Records(None, []), None, View(baseline="uniform-pixels")).split())
    assert 'nothing is compared: mnist has no row "uniform-pixels".' in text
    assert "vs normal" not in text
    with pytest.raises(UserError, match=r'^--baseline: no data set has a row "uniform-pixel"; did you mean'):
        made_report(Records(None, []), None, View(baseline="uniform-pixel"))


def test_from_committed_records_where_there_is_no_local_store(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist.put("normal", 0, 95.5, curves=[{"epoch": 1, "step": 937, "metric": "bound", "value": 120.5}])
    committed = Path("results").absolute()
    trained = curves([mnist.folder])
    write_parquet(collect([mnist.folder]), committed / "mnist.parquet")
    write_parquet(trained, committed / "mnist-curves.parquet", "curves")
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: committed)
    assert "Records: the local store runs/mnist." in report(None, [], None)
    mnist.folder.rename("moved")
    text = report(None, [], Path("report"))
    assert "Records: those that come with bench." in text
    assert "95.50" in text
    assert "(20 of 21 cells)" in text
    pd.testing.assert_frame_equal(read_parquet(Path("report/curves.parquet"), "curves"), trained)


@pytest.mark.draws
@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("MPLBACKEND", "bogus", ["No figures: matplotlib cannot be loaded: "]),
        ("matplotlibrc", "font.size: \xff", ["No figures: matplotlib cannot be loaded: "]),
        ("matplotlibrc", "text.usetex: True\nfigure.dpi: 1", []),
    ],
)
def test_a_report_needs_nothing_of_how_the_user_draws(
    mnist: Synthetic, name: str, content: str, lines: list[str]
) -> None:
    for label in ("normal", "vampprior[components=16]"):
        for seed in range(3):
            mnist.put(label, seed, 95.5)
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    if name == "matplotlibrc":
        Path(name).write_bytes(content.encode("latin-1"))
    else:
        environment[name] = content
    command = [sys.executable, "-m", "bench", "report", "--grid", "mnist"]
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "95.50" in done.stdout
    assert [line for line in lines if line not in done.stdout] == []
    assert (mnist.folder / "report" / "differences-mnist.png").exists() == (not lines)
    assert (mnist.folder / "report" / "items.parquet").exists()


def figures(folder: Path) -> tuple[str, str, str]:
    """Return the three forms of a report's tables, without where the records come from."""
    texts = [(folder / name).read_text() for name in ("table.md", "table.tex", "table.csv")]
    return tuple(re.sub(r"Records: .*|\\?`?bench run .*|missing: .*", "", text) for text in texts)  # type: ignore[return-value]


def test_committed_records_give_the_stores_table_to_the_last_digit(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records and their item vectors, of which the last is of 60 items: every interval holds what items differ by."""
    rng = np.random.default_rng(0)
    hardness = rng.normal(0, 25, 400)
    for label, value in (("normal", 96.0), ("vampprior[components=16]", 95.5), ("sliced-score-matching", 95.9)):
        for seed in range(3):
            vectors = {
                name: np.asarray(value + shift + hardness + rng.normal(0, 2, 400), np.float32)
                for name, shift in (("vlb", 0.0), ("nll", -3.0), ("nll_ais", -4.0))
            }
            which = np.random.default_rng(7).permutation(400)[:60]
            vectors |= {"nll_ais": vectors["nll_ais"][which]}
            scores = []
            for name, vector in vectors.items():
                mean, stderr = float(vector.mean(dtype=np.float64)), float(vector.std(ddof=1)) / 20
                half = 0.05 * (label == "sliced-score-matching")
                scores.append(Score(Metric(name, "nats"), mean, 400, "ais", 0.03, stderr, mean - half, mean + half))
            mnist.put(label, seed, scores=scores, arrays={**vectors, "nll_ais_items": which})
    report(None, [], Path("stores"))
    mnist.folder.rename("moved")
    committed = Path("results").absolute()
    for table in ("records", "curves", "items"):
        name = "mnist.parquet" if table == "records" else f"mnist-{table}.parquet"
        committed.mkdir(exist_ok=True)
        shutil.copy(f"stores/{table}.parquet", committed / name)
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: committed)
    assert "Records: those that come with bench." in report(None, [], Path("parquet"))
    assert figures(Path("parquet")) == figures(Path("stores"))
    assert "items_lost" in figures(Path("stores"))[2]
    assert "not there" not in figures(Path("parquet"))[0], "items are there"
    for table in ("records", "items"):
        here, there = (read_parquet(Path(out, f"{table}.parquet"), table) for out in ("stores", "parquet"))  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(there, here)
    # and through the Python face, without a plan
    places = [committed / "mnist.parquet", committed / "mnist-items.parquet"]
    (whole,) = of_grid(of_places([Path("moved")], mnist.registry), published.read())
    (alone,) = of_grid(of_places(places, mnist.registry), published.read())
    assert {row.label: row.scores for row in alone.rows} == {
        row.label: row.scores for row in whole.rows if row.outcomes
    }
    assert {row.label: row.differences for row in alone.rows} == {
        row.label: row.differences for row in whole.rows if row.outcomes
    }
    (committed / "mnist-items.parquet").unlink()
    assert "scores of single items are not there" in " ".join(report(None, [], None).split())


def test_committed_records_of_an_earlier_grid_are_whole_by_themselves(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = type(mnist)(Path("earlier"), settings=["train.epochs=3"])
    earlier.put("normal", 0, 99.5)
    committed = Path("results").absolute()
    write_parquet(collect([earlier.folder]), committed / "mnist.parquet")
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: committed)
    text = report(None, [], None)
    assert "99.50" in text
    assert "; `bench run --grid mnist` makes them" not in text


def test_a_store_of_neither_column_has_to_be_named_with_its_grid(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    other = type(mnist)(Path("elsewhere"))
    with pytest.raises(UserError, match=r"^elsewhere holds no record of mnist or cifar10, the columns"):
        report(None, [mnist.folder, other.folder], None)


def test_stores_that_table_2_does_not_show_are_named(mnist: Synthetic) -> None:
    type(mnist)(Path("runs/digits"), "digits").put("normal", 0, 20.0)
    assert "runs/digits is not in Table 2: `bench report --grid digits`" in report(None, [], None).splitlines()
