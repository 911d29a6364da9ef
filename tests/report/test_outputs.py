"""`bench report`: what it prints and writes from which stores, and how it says no."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from bench.plugins import Registry
from bench.protocol import UserError
from bench.report import Records, View, outputs, sources
from bench.report import report as made_report
from bench.report.parquet import read_parquet, write_parquet
from bench.report.stored import collect, curves

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

ROOT = Path(__file__).resolve().parents[2]
WHOLE = View(wide=True)


def report(grid: Any, stores: Any, out: Any, **options: Any) -> str:
    """Return a report with every metric, footnote and condition."""
    return made_report(Records(grid, stores, **options), out, WHOLE)


FILES = [".report.json", "curves.parquet", "items.parquet", "records.parquet", "table.csv", "table.md", "table.tex"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------- a grid


def test_a_grid_is_printed_and_written_beside_its_records(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5, curves=[{"epoch": 1, "step": 9, "metric": "vlb", "value": 120.0}])
    text = report("mnist", [], None)
    for part in ("Table 2, MNIST", "95.50", "96.03", "78.01", "Records: the local store runs/mnist."):
        assert part in text
    assert text.splitlines()[-1] == (
        "Written into runs/mnist/report: table.md, table.tex, table.csv, records.parquet, curves.parquet, items.parquet"
    )
    out = mnist.folder / "report"
    assert names(out) == FILES
    assert len(read_parquet(out / "records.parquet")) == len(collect([mnist.folder]))
    assert len(read_parquet(out / "curves.parquet", "curves")) == len(curves([mnist.folder])) == 1


def test_what_is_unreliable_is_marked_wherever_it_is_shown_and_bold_nowhere(mnist: Synthetic) -> None:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=nll"])
    for seed in range(3):
        judged.put("normal", seed, 96.0 + seed / 10)
        judged.put(
            "sliced-score-matching", seed, 60.0 + seed / 10, half=0.1, unreliable="two bases differ" * (not seed)
        )
    shown = report(judged.grid, [], None)  # what `bench run` ends with as well
    written = [(mnist.folder / "report" / f"table.{kind}").read_text() for kind in ("md", "tex", "csv")]
    for text in (shown, *written):
        text = " ".join(text.split())
        assert "two bases differ" in text
        assert "none: unreliable" in text
        assert "outside, better" not in text
    assert "**" not in written[0].partition("## Terms")[0]
    assert "\\textbf" not in written[1]
    verdicts = {(row["row"], row["metric"]): row["verdict"] for row in csv.DictReader(io.StringIO(written[2]))}
    assert {place: verdict for place, verdict in verdicts.items() if verdict} == {
        ("normal", "nll"): "baseline",
        ("sliced-score-matching", "nll"): "none: unreliable",
        **{(f"vampprior[components={count}]", ""): "preliminary, 0 of 3 seeds" for count in (16, 500)},
    }


def test_the_page_of_all_committed_grids_takes_a_baseline_where_a_grid_has_it(
    mnist: Synthetic, toy: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("normal", "sliced-score-matching"):
        mnist.put(label, 0, 95.0)
    for label in ("normal", "vampprior"):
        toy.put(label, 0, 95.0, dataset="checkerboard")
    own = [sources.of_grid(Records(store.grid, [store.folder], store.registry)) for store in (mnist, toy)]
    monkeypatch.setattr("bench.report.sources.of_grids", lambda: own)
    monkeypatch.setattr("bench.report.figures.pictures", lambda *_: [])
    page = outputs._page(outputs.Report("", (), (), (), None), [], View(baseline="sliced-score-matching"))
    assert "vs sliced-score-matching</button>" in page
    assert "vs normal</button>" in page, "of the grid that has no such row"


def test_a_store_with_a_grid_and_no_record_yet_is_all_missing(mnist: Synthetic) -> None:
    text = report("mnist", [], None)
    assert "No record yet of 21 cells; `bench run --grid mnist` makes them." in text
    assert "96.03" in text
    assert len(read_parquet(mnist.folder / "report" / "records.parquet")) == 0


def test_another_store_and_another_folder(here: Path, mnist: Synthetic) -> None:
    other = type(mnist)(Path("elsewhere"))
    other.put("normal", 0, 95.5)
    text = report("mnist", [Path("elsewhere")], Path("out"))
    assert "Records: the local store elsewhere." in text
    assert "`bench run --grid mnist --store elsewhere` makes them" in text
    assert names(Path("out")) == FILES
    assert not (mnist.folder / "report").exists()


def test_several_stores_are_one_table(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    other = type(mnist)(Path("elsewhere"))
    other.put("normal", 1, 97.0)
    text = report("mnist", [mnist.folder, other.folder], None)
    assert "Records: the local stores runs/mnist, elsewhere." in text
    assert "96.00" in text


def test_the_folder_of_stores_is_taken_from_the_environment(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    type(mnist)(Path("stores/mnist")).put("normal", 0, 95.5)
    monkeypatch.setenv("BENCH_STORE", "stores")
    assert "Records: the local store stores/mnist." in report("mnist", [], None)


def test_a_grid_file_has_the_store_of_its_name(mnist: Synthetic) -> None:
    import bench.grid as grids

    file = Path("mine.toml")
    embedded = Path(grids.__file__).parent / "grids" / "mnist.toml"
    file.write_text(embedded.read_text().replace("Table 2, MNIST", "Mine"))
    mine = type(mnist)(Path("runs/mine"), "mine.toml")
    mine.put("normal", 0, 95.5)
    assert "`bench run --grid mine.toml` makes them\n" in report("mine.toml", [], None)
    assert "`bench run --grid mine.toml` makes them\n" in report(mine.grid, [], None)  # what `bench run` ends with


def test_a_report_follows_its_grid_and_not_the_last_run(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    short = type(mnist)(mnist.folder, settings=["train.epochs=3"])
    short.put("normal", 0, 99.5)
    text = report("mnist", [], None)
    assert "95.50" in text
    assert "99.50" not in text
    assert (
        "left out: 1 cell with train.epochs = 3 instead of 100; --all-settings (with --grid; in Python `all_set" in text
    )
    assert "(20 of 21 cells); `bench run --grid mnist` makes them\n" in text
    assert "Trained for 100 epochs" in text
    other = report("mnist", [], None, settings=["train.epochs=3"])
    assert "99.50" in other
    assert "Trained for 3 epochs" in other
    assert "`bench run --grid mnist --set train.epochs=3` makes them\n" in other
    after = report(short.grid, [], None)  # what `bench run --set train.epochs=3` ends with
    assert "99.50" in after
    assert "`bench run --grid mnist` makes them, with the options of the last run\n" in after


def test_missing_cells_are_made_with_the_same_folder_of_plugins(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own/strategies").mkdir(parents=True)
    mnist.put("normal", 0, 95.0)
    wanted = Records("mnist", [mnist.folder], Registry([Path("own").absolute()]))
    assert "`bench run --grid mnist --plugins own" in sources.of_grid(wanted).command
    monkeypatch.setenv("BENCH_PLUGINS", "own")  # where it is found without being given
    assert "--plugins" not in sources.of_grid(wanted).command


def test_seeds_and_strategies_of_the_last_run_under_the_grid_s_conditions_are_planned_too(mnist: Synthetic) -> None:
    more = type(mnist)(mnist.folder, strategies=["normal", "flow"], seeds=5)
    more.put("flow", 4, 94.5)
    text = report("mnist", [], None)
    assert "94.50" in text
    assert "normal seeds 0, 1, 2, 3, 4; " in text
    assert (
        "flow seeds 0, 1, 2, 3 (27 of 28 cells); `bench run --grid mnist` makes them, with the options of the last"
        in text
    )


def test_the_same_records_make_the_same_files(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    report("mnist", [], Path("a"))
    report("mnist", [], Path("b"))
    for name in ("table.md", "table.tex", "table.csv"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_records_of_the_code_as_it_is_now_are_not_stale(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    assert "stale, the code" not in report("mnist", [], None)
    mnist.put("normal", 1, 95.5, code={"fit": "0" * 64})
    assert "(a) seed 1: stale, the code of bench has changed since" in report("mnist", [], None)


def test_files_are_written_where_asked_and_no_torch_is_imported_for_them(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    mnist.folder.rename("kept")
    code = (
        "import sys; from pathlib import Path; from bench.report import Records, report;"
        " assert 'pandas' not in sys.modules; report(Records('mnist', [Path('kept')]));"
        " report(Records(None), Path('out')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(_root()), "PATH": ""})
    assert {*FILES} <= {*names(Path("kept/report"))}
    assert {*FILES, "differences-mnist.png"} <= {*names(Path("out"))}  # of the records that come with bench


def _root() -> Path:
    import bench

    return Path(bench.__file__).resolve().parents[1]


# ---------------------------------------------------------------- mistakes


def test_an_unknown_grid(here: Path) -> None:
    with pytest.raises(UserError, match=r'^unknown grid "mnits"; did you mean "mnist"\? allowed: cifar10, '):
        report("mnits", [], None)


def test_a_grid_file_that_is_not_there(here: Path) -> None:
    with pytest.raises(UserError, match=r"^the grid file none\.toml does not exist$"):
        report("none.toml", [], None)


def test_a_grid_that_has_not_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: here / "results")
    with pytest.raises(UserError, match=r"^there is no run store runs/mnist; `bench run --grid mnist` makes it$"):
        report("mnist", [], None)


def test_a_store_that_does_not_exist(here: Path) -> None:
    makes = "`bench run --grid mnist --store nowhere` makes it"
    with pytest.raises(UserError, match=f"^there is no run store nowhere; {makes}$"):
        report("mnist", [Path("nowhere")], None)
    with pytest.raises(UserError, match=r"^there is no run store nowhere$"):
        report(None, [Path("nowhere")], None)


def test_a_folder_that_is_no_store(here: Path) -> None:
    Path("empty").mkdir()
    with pytest.raises(UserError, match=r"^empty is no run store: it holds neither grid\.json nor records$"):
        report("mnist", [Path("empty")], None)


def test_a_corrupt_record_is_a_note_and_its_cell_missing(mnist: Synthetic) -> None:
    path = mnist.put("normal", 0, 95.5)
    mnist.put("normal", 1, 95.5)
    path.write_text("{")
    text = report("mnist", [], None)
    assert f" corrupt record {path}: it is not whole JSON" in text
    assert "missing: normal seeds 0, 2;" in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "corrupt grid runs/mnist/grid.json: Expecting property name"),
        ("[]", "corrupt grid runs/mnist/grid.json: it holds no table"),
        ('{"sedes": 3}', 'runs/mnist/grid.json: unknown key sedes; did you mean "seeds"?'),
    ],
)
def test_a_grid_that_cannot_be_read_is_a_note(mnist: Synthetic, content: str, reason: str) -> None:
    mnist.put("normal", 0, 95.5)
    (mnist.folder / "grid.json").write_text(content)
    text = report("mnist", [], None)
    assert reason in text
    assert "so that missing cells cannot be told" in text
    assert "95.50" in text


def test_a_store_without_its_grid_is_a_note(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    (mnist.folder / "grid.json").unlink()
    text = report("mnist", [], None)
    assert "there is no runs/mnist/grid.json, so that missing cells cannot be told" in text
    assert "95.50" in text


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "is not a Parquet file that can be read"),
        (lambda path: path.write_bytes(b""), "is not a Parquet file that can be read"),
        (lambda path: newer(path), "holds records, schema 3; records, schema 1 or 2, is what this version reads"),
    ],
    ids=["cut short", "empty", "newer"],
)
def test_committed_records_that_cannot_be_read_are_one_sentence(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object], reason: str
) -> None:
    mnist.put("normal", 0, 95.5)
    committed = Path("results").absolute()
    write_parquet(collect([mnist.folder]), committed / "mnist.parquet")
    damage(committed / "mnist.parquet")
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: committed)
    monkeypatch.setenv("BENCH_STORE", "none")
    for grid in ("mnist", None):
        with pytest.raises(UserError, match=f"^{committed}/mnist.parquet {reason}"):
            report(grid, [], None)


def newer(path: Path) -> None:
    """Make a file one of the next schema."""
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | {b"priorbench.schema": b"3"}), path)


def test_a_grid_without_a_store_is_shown_from_what_comes_with_bench(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist.put("normal", 0, 95.5)
    write_parquet(collect([mnist.folder]), Path("results/mnist.parquet"))
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: Path("results").absolute())
    monkeypatch.setenv("BENCH_STORE", "none")
    text = made_report(Records("mnist"))
    assert "Records: those that come with bench." in text
    assert "92.50" in text
    assert names(Path("report")) == FILES


def test_what_a_run_ends_with_are_the_findings(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    text = made_report(Records(mnist.grid), view=View(last=True))
    assert (
        text.index(" strategy ") < text.index("Terms\n") < text.index("Lowest NLL so far") < text.index("Written into")
    )


def test_files_that_are_not_a_reports_are_not_overwritten(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    mine = Path("mine", "table.md")
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(
        UserError, match=r"^mine holds a table\.md that is not of a report; --out gives another folder$"
    ):
        report("mnist", [], mine.parent)
    assert mine.read_text() == "mine"
    assert [path.name for path in mine.parent.iterdir()] == ["table.md"]
    report("mnist", [], Path("new"))
    report("mnist", [], Path("new"))  # over its own


def test_records_of_another_grid_are_told_from_none(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    with pytest.raises(UserError, match=r"^no record of digits is in the local store \S+, but records of mnist$"):
        report("digits", [mnist.folder], None)


def test_records_of_a_store_that_says_no_plan_are_shown(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    (mnist.folder / "grid.json").unlink()
    assert "95.50" in report("mine", [mnist.folder], None)


def test_a_folder_that_cannot_be_written(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    Path("file").write_text("")
    with pytest.raises(
        UserError, match=r"^the report cannot be written into file/out \(Not a directory\); --out gives"
    ):
        report("mnist", [], Path("file/out"))
