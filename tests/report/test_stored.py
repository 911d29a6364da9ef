"""Records as a long table: every record is there, failures too, and Parquet gives back what it got."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.files import json_bytes, replacing, sha256
from bench.protocol import UserError
from bench.report.arrays import BITS, Arrays
from bench.report.cells import CURVES, ITEMS, RECORDS, outcomes
from bench.report.parquet import frame_of, kind, long, read_parquet, write_items, write_parquet
from bench.report.published import results_folder
from bench.report.stored import collect, curves, items
from bench.sweep.record import LATER
from bench.sweep.seal import sealed

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic


def test_a_row_for_each_record_and_metric(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.5)
    mnist.put("sliced-score-matching", 1, 93.5, half=0.1)
    frame = collect([mnist.folder])
    assert list(zip(frame["strategy"], frame["seed"], frame["metric"], strict=True)) == [
        *((strategy, seed, metric) for strategy, seed, metrics in _sorted(mnist) for metric in metrics)
    ]
    row = frame[(frame["strategy"] == "sliced-score-matching") & (frame["metric"] == "vlb")].iloc[0]
    assert row["cell"] == mnist.cell("sliced-score-matching", 1).id
    assert (row["value"], row["sys_lower"], row["sys_upper"]) == pytest.approx((93.5, 93.4, 93.6))
    assert (row["stderr_mc"], row["stderr_images"], row["stderr"]) == pytest.approx((0.03, 0.4, 0.401123), abs=1e-6)
    assert row["lower"] == pytest.approx(93.4 - 1.959964 * 0.401123, abs=1e-5)
    assert row["upper"] == pytest.approx(93.6 + 1.959964 * 0.401123, abs=1e-5)
    assert (row["unit"], row["better"], row["n"], row["metric_version"]) == ("nats", "lower", 10_000, 1)
    assert (row["seconds"], row["fit_seconds"], row["peak_host_bytes"]) == (12.5, 10.0, 1e9)
    assert (row["torch"], row["git_commit"], row["git_dirty"]) == ("2.13.0", "0123456789abcdef", False)
    assert json.loads(row["hyper"])["energy"] == {"kind": "grbm", "hidden": 64}
    assert json.loads(row["stability"]) == {"max_energy": 12.5}
    assert json.loads(row["budget"])["epochs"] == 100


def _sorted(mnist: Synthetic) -> list[tuple[str, int, list[str]]]:
    """What the test put, in the order of cell ids."""
    put = [("normal", 0, ["vlb", "nll"]), ("sliced-score-matching", 1, ["vlb", "nll", "log_z"])]
    return sorted(put, key=lambda each: mnist.cell(each[0], each[1]).id)


@pytest.mark.parametrize("status", ["diverged", "out-of-memory", "timeout", "crashed", "error", "skipped"])
def test_a_cell_without_scores_is_a_row_without_metric(mnist: Synthetic, status: str) -> None:
    mnist.put("normal", 0, status=status, reason="the loss is not finite", last_step=312)
    frame = collect([mnist.folder])
    assert len(frame) == 1
    row = frame.iloc[0]
    assert (row["status"], row["reason"], row["last_step"]) == (status, "the loss is not finite", 312)
    assert frame["metric"].isna().all()
    assert frame["value"].isna().all()


def test_what_a_failed_cell_scored_is_not_taken_for_a_result(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, status="timeout")
    assert collect([mnist.folder])["metric"].isna().all()


def test_no_store_gives_an_empty_table_of_the_same_columns() -> None:
    frame = collect([])
    assert len(frame) == 0
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == RECORDS


def test_records_are_marked_by_the_code_as_it_is_now(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("normal", 1, 95.0, code={"fit": "0" * 64})
    mnist.put("normal", 2, 95.0, code={"evaluate": "0" * 64})
    mnist.put("vampprior[components=16]", 0, 95.0, code={"plugin": "0" * 64})
    now = {cell.strategy: mnist.code(cell) for cell in mnist.grid.cells}
    frame = collect([mnist.folder], lambda strategy, *_: now[strategy])
    marks = {(row.strategy, row.seed): (row.stale, row.plugin_changed) for row in frame.itertuples()}
    assert marks == {
        ("normal", 0): (False, False),
        ("normal", 1): (True, False),
        ("normal", 2): (True, False),
        ("vampprior", 0): (False, True),
    }


def test_records_of_code_that_is_not_here_are_not_marked(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, code={"fit": "0" * 64})
    assert not collect([mnist.folder], lambda *_: None)["stale"].any()
    assert not collect([mnist.folder])["stale"].any()


def test_training_curves_are_a_second_table(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, curves=[{"epoch": 1, "step": 937, "metric": "vlb", "value": 120.5}])
    mnist.put("normal", 1, 95.0)
    frame = curves([mnist.folder])
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == CURVES
    assert frame[["label", "seed", "epoch", "step", "metric", "value"]].values.tolist() == [
        ["normal", 0, 1, 937, "vlb", 120.5]
    ]


# ---------------------------------------------------------------- Parquet


def test_parquet_gives_back_what_it_got(mnist: Synthetic, tmp_path: Path) -> None:
    mnist.put(
        "sliced-score-matching", 0, 93.5, half=0.1, curves=[{"epoch": 1, "step": 9, "metric": "a", "value": None}]
    )
    mnist.put("normal", 0, status="diverged", last_step=3, git=None, resources={})
    frame, trained = collect([mnist.folder]), curves([mnist.folder])
    write_parquet(frame, tmp_path / "records.parquet")
    write_parquet(trained, tmp_path / "curves.parquet", "curves")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "records.parquet"), frame)
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "curves.parquet", "curves"), trained)
    assert (kind(tmp_path / "records.parquet"), kind(tmp_path / "curves.parquet")) == ("records", "curves")


def test_scores_of_items_are_a_third_table(mnist: Synthetic, tmp_path: Path) -> None:
    values = np.arange(3, dtype=np.float32)
    arrays = {"vlb": values, "nll": values - 3, "nll_ess": values}
    mnist.put("normal", 0, 95.0, arrays=arrays)
    mnist.put("normal", 1, 95.0, arrays={})
    mnist.put("normal", 2, status="diverged")
    found = outcomes(collect([mnist.folder]))
    write_items(items(found, Arrays([mnist.folder])), tmp_path / "items.parquet")
    frame = read_parquet(tmp_path / "items.parquet", "items")
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == ITEMS
    assert frame[["label", "seed", "metric", "item", "value"]].values.tolist() == [
        *(["normal", 0, "vlb", n, float(n)] for n in range(3)),
        *(["normal", 0, "nll", n, float(n - 3)] for n in range(3)),
    ]
    write_items(items([], Arrays()), tmp_path / "none.parquet")
    assert len(read_parquet(tmp_path / "none.parquet", "items")) == 0
    again = Arrays([], [tmp_path / "items.parquet"])
    (whole,) = [outcome for outcome in found if outcome.seed == 0]
    assert again.items(whole, "vlb").values.tolist() == [0, 1, 2]  # type: ignore[union-attr]
    assert again.items(whole, "nll_ais") is None
    assert {outcome.seed: again.items(outcome, "vlb") is None for outcome in found} == {0: False, 1: True, 2: True}


def test_scores_of_items_come_back_whatever_row_groups_they_lie_in(
    mnist: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0)
    held = {seed: {name: noise.normal(size=100).astype(np.float32) for name in ("vlb", "nll")} for seed in range(3)}
    for seed, arrays in held.items():
        mnist.put("normal", seed, 95.0, arrays=arrays)
    found, path = outcomes(collect([mnist.folder])), tmp_path / "items.parquet"
    for rows, groups in ((1, 6), (150, 3), (1 << 16, 1)):
        monkeypatch.setattr("bench.report.parquet.GROUP", rows)
        write_items(items(found, Arrays([mnist.folder])), path)
        assert pq.read_metadata(path).num_row_groups == groups
        again = Arrays([], [path.rename(tmp_path / f"{rows}.parquet")])
        for outcome in found:
            for name, values in held[outcome.seed].items():
                back = again.items(outcome, name).values  # type: ignore[union-attr]
                np.testing.assert_allclose(back, values, rtol=2.0**-BITS, atol=0)


def test_scores_of_items_are_rounded_by_no_more_than_half_of_their_last_bit(mnist: Synthetic, tmp_path: Path) -> None:
    numbers = [2.0**16 - 1, -(2.0**-20), 1e38, 2.0**BITS + 1, 0.1, np.inf, -np.inf, np.nan, 0.0]
    mnist.put("normal", 0, 95.0, arrays={"vlb": np.array(numbers, np.float32)})
    write_items(items(outcomes(collect([mnist.folder])), Arrays([mnist.folder])), tmp_path / "items.parquet")
    back = read_parquet(tmp_path / "items.parquet", "items")["value"].to_numpy()
    np.testing.assert_allclose(back, numbers, rtol=2.0**-BITS, atol=0)
    assert (back[0], back[3]) == (numbers[0], 2.0**BITS)  # 17 bits become 16


@pytest.fixture
def tabled(mnist: Synthetic, tmp_path: Path) -> Path:
    """The scores of three items of one record, as a Parquet file."""
    mnist.put("normal", 0, 95.0, arrays={"vlb": np.array([3, 1, 2], np.float32), "nll": np.zeros(3, np.float32)})
    write_items(items(outcomes(collect([mnist.folder])), Arrays([mnist.folder])), tmp_path / "items.parquet")
    return tmp_path / "items.parquet"


def vector_of(mnist: Synthetic, path: Path, content: pa.Table, **ways: Any) -> list[float] | None:
    """Write a table of items as another program may, and return the VLB of its record's items."""
    pq.write_table(content.replace_schema_metadata(STAMP), path, **ways)
    (outcome,) = outcomes(collect([mnist.folder]))
    vector = Arrays([], [path]).vector(outcome, "vlb")
    return None if vector is None else vector.values.tolist()


def test_scores_of_items_are_found_wherever_another_program_put_them(mnist: Synthetic, tabled: Path) -> None:
    whole = pq.read_table(tabled)
    shuffled = whole.take([4, 1, 5, 0, 3, 2])
    for content in (whole, shuffled, pa.concat_tables([whole.slice(0, 0), shuffled])):
        for size in (1, 2, 6):
            assert vector_of(mnist, tabled, content, row_group_size=size) == [3, 1, 2]
    long = shuffled.set_column(8, "item", shuffled["item"].cast(pa.int64()))
    assert vector_of(mnist, tabled, long) == [3, 1, 2]
    assert vector_of(mnist, tabled, whole.slice(0, 0)) is None


def test_items_that_a_file_has_twice_are_nobodys(mnist: Synthetic, tabled: Path) -> None:
    whole = pq.read_table(tabled)
    assert vector_of(mnist, tabled, pa.concat_tables([whole, whole])) is None


def test_a_file_of_items_that_was_replaced_is_read_anew(mnist: Synthetic, tabled: Path) -> None:
    whole = pq.read_table(tabled)
    assert vector_of(mnist, tabled, whole) == [3, 1, 2]
    (outcome,) = outcomes(collect([mnist.folder]))
    before = Arrays([], [tabled])
    assert before.vector(outcome, "nll") is not None
    doubled = whole.set_column(9, "value", pa.array(2 * whole["value"].to_numpy()))
    assert vector_of(mnist, tabled, doubled) == [6, 2, 4]
    assert before.vector(outcome, "vlb").values.tolist() == [3, 1, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("key", [None] * 6, "its column key holds null, not text"),
        ("cell", ["a", None] * 3, "a row of it is of no cell, key or metric"),
        ("cell", list(range(6)), "its column cell holds int64, not text"),
        ("item", ["x"] * 6, "its column item holds string, not whole numbers"),
        ("item", [0, 1, None] * 2, "an item or a value is missing in it"),
        ("item", [0, 1, -2] * 2, "an item in it is not from 0 to 2,147,483,647"),
        ("item", [0, 1, 2**40] * 2, "an item in it is not from 0 to 2,147,483,647"),
        ("value", ["1"] * 6, "its column value holds string, not numbers"),
        ("value", [[1.0]] * 6, "its column value holds list"),
        ("value", None, "it lacks the columns value"),
    ],
)
def test_a_table_of_items_that_is_none_is_one_sentence(
    mnist: Synthetic, tabled: Path, column: str, values: list[Any] | None, reason: str
) -> None:
    content = pq.read_table(tabled)
    place = content.schema.get_field_index(column)
    content = content.remove_column(place) if values is None else content.set_column(place, column, pa.array(values))
    with pytest.raises(UserError, match=rf"items\.parquet is not a Parquet file that can be read: {reason}"):
        vector_of(mnist, tabled, content)


STAMP = {"priorbench.table": "items", "priorbench.schema": "2"}


def test_a_record_of_schema_1_is_read_with_what_lies_beside_it(mnist: Synthetic) -> None:
    points = [{"epoch": 1, "step": 937, "metric": "vlb", "value": 120.5}]
    path = mnist.put("normal", 0, 95.0, arrays={"vlb": np.arange(3)}, curves=points)
    record = {name: value for name, value in json.loads(path.read_text()).items() if name not in (*LATER, "sha256")}
    path.write_bytes(json_bytes(record | {"schema": 1}))
    for file in path.parent.glob("[ac]*-*-*"):  # without its SHA-256 in its name
        file.rename(file.with_name(f"{file.stem.rpartition('-')[0]}{file.suffix}"))
    frame = collect([mnist.folder])
    assert list(frame["schema"]) == [1, 1]
    assert (frame["split"][0], frame["digests"][0], frame["restarts"][0]) == ("test", "{}", 0)
    assert frame[["normalised", "study", "device_kind"]].isna().all(axis=None)
    assert len(curves([mnist.folder])) == 1
    ((_, which, values),) = items(outcomes(frame), Arrays([mnist.folder]))
    assert (list(which), list(values)) == ([0, 1, 2], [0, 1, 2])
    (outcome,) = outcomes(frame)
    assert outcome.format == 1
    assert list(Arrays([mnist.folder]).of(outcome, ["vlb"])["vlb"]) == [0, 1, 2]


def test_a_record_says_how_its_steps_were_taken_or_is_of_before(mnist: Synthetic, tmp_path: Path) -> None:
    taken = {"captured": False, "reason": "the device is cpu"}
    for seed, execution in enumerate([taken, None]):
        path = mnist.put("normal", seed, 95.0)
        record = {name: v for name, v in json.loads(path.read_text()).items() if name not in ("sha256", "execution")}
        path.write_bytes(sealed(json_bytes(record | ({"execution": execution} if execution else {}))))
    frame = collect([mnist.folder])
    own = frame[["execution_captured", "execution_reason"]]
    assert own[frame["seed"] == 0].drop_duplicates().values.tolist() == [[False, "the device is cpu"]]
    assert own[frame["seed"] == 1].isna().all(axis=None)
    write_parquet(frame, tmp_path / "now.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "now.parquet"), frame)
    table = pq.read_table(tmp_path / "now.parquet").drop_columns(["execution_captured", "execution_reason"])
    unsealed = {key: value for key, value in table.schema.metadata.items() if key != b"priorbench.sealed"}
    pq.write_table(table.replace_schema_metadata(unsealed), tmp_path / "earlier.parquet")
    assert read_parquet(tmp_path / "earlier.parquet")["execution_reason"].isna().all()


def test_an_empty_table_goes_to_parquet_and_back(tmp_path: Path) -> None:
    write_parquet(collect([]), tmp_path / "records.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "records.parquet"), collect([]))


def test_a_parquet_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    write_parquet(collect([]), path)
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_parquet(collect([]).drop(columns="cell"), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.glob(".records*")] == []


def test_parquet_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    other = {"priorbench.table": "records", "priorbench.schema": "3"}
    pq.write_table(pa.table({"cell": ["a"]}).replace_schema_metadata(other), path)
    with pytest.raises(
        UserError, match=r"records.parquet holds records, schema 3; records, schema 1 or 2, is what this"
    ):
        read_parquet(path)


def test_parquet_of_another_table_is_refused(tmp_path: Path) -> None:
    write_parquet(curves([]), tmp_path / "a.parquet", "curves")
    with pytest.raises(
        UserError, match=r"a\.parquet holds curves, schema 2; records, schema 1 or 2, is what this version"
    ):
        read_parquet(tmp_path / "a.parquet")
    pq.write_table(pa.table({"cell": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet holds no table of bench, schema unknown"):
        read_parquet(tmp_path / "b.parquet")


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"a\.parquet is not a Parquet file that can be read"):
        read_parquet(tmp_path / "a.parquet")
    assert kind(tmp_path / "a.parquet") == ""


@pytest.mark.parametrize("name", ["mnist", "toy", "cifar10-subset"])
def test_committed_records_are_read_whole(name: str) -> None:
    frame = read_parquet(results_folder() / f"{name}.parquet")
    pd.testing.assert_frame_equal(frame_of(long(outcomes(frame))), frame)


def test_a_table_that_holds_no_records_is_refused(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    with pytest.raises(UserError, match=r"^these are no records: `status`: input should be 'ok', 'skipped', "):
        outcomes(collect([mnist.folder]).assign(status="fine"))


# ---------------------------------------------------------------- mistakes


def test_a_store_that_does_not_exist() -> None:
    with pytest.raises(UserError, match=r"^there is no run store nowhere$"):
        collect([Path("nowhere")])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        ('{"schema": 1', "it is not whole JSON"),
        ('{"schema": 99}', "it has no `schema` 1 or 2"),
        ("[]", "it has no `schema` 1 or 2"),
    ],
)
def test_a_corrupt_record_is_named_with_the_reason(mnist: Synthetic, content: str, reason: str) -> None:
    path = mnist.put("normal", 0, 95.0)
    mnist.put("normal", 1, 95.0)
    path.write_text(content)
    with pytest.raises(UserError, match=f"^corrupt record {path}: {reason}"):
        collect([mnist.folder])
    found: list[str] = []
    frame = collect([mnist.folder], corrupt=found)
    assert set(frame["seed"]) == {1}
    assert len(found) == 1


def test_a_record_that_lacks_something_is_named_with_the_key(mnist: Synthetic) -> None:
    path = mnist.put("normal", 0, 95.0)
    record = json.loads(path.read_text())
    del record["scores"][1]["value"], record["sha256"]
    path.write_bytes(sealed(json_bytes(record)))
    with pytest.raises(UserError, match=f"^corrupt record {path}: `scores.1.value`: field required$"):
        collect([mnist.folder])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[{"epoch": 1}]', "`0.step`: field required"),
        ("{}", "input should be a valid array"),
        ("[", "it is not whole JSON"),
    ],
)
def test_corrupt_curves_are_named(mnist: Synthetic, content: str, reason: str) -> None:
    path = mnist.put("normal", 0, 95.0)
    path.with_name(path.name.replace("record", "curves")).write_text(content)
    record = json.loads(path.read_text()) | {"digests": {"curves": sha256(content.encode())}}
    del record["sha256"]
    path.write_bytes(sealed(json_bytes(record)))
    with pytest.raises(UserError, match=f"^corrupt curves {path.parent}/curves-[0-9a-f]*.json: {reason}"):
        curves([mnist.folder])


def test_a_record_that_is_being_written_is_not_read(mnist: Synthetic) -> None:
    path = mnist.put("normal", 0, 95.0)
    with replacing(path) as file:
        file.write(b"half")
        assert len(collect([mnist.folder])) == 2
