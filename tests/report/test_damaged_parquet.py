"""A Parquet file that is not what was written is never read as if it were."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.protocol import UserError
from bench.report import Records, report
from bench.report.cells import Table
from bench.report.parquet import read_parquet
from tests.report.conftest import Synthetic


@pytest.fixture
def written(mnist: Synthetic, here: Path) -> Path:
    curve = [{"epoch": n, "step": n, "metric": "bound", "value": 0.5 * n} for n in range(20)]
    for seed in range(3):
        mnist.put("normal", seed, 95.5 + seed, curves=curve, spread=1.0)
    report(Records("mnist", [mnist.folder]), here / "out")
    return here / "out"


@pytest.mark.parametrize("table", ["records", "curves", "items"])
def test_every_flipped_bit_and_every_cut_is_said(written: Path, table: Table) -> None:
    path = written / f"{table}.parquet"
    whole, right = path.read_bytes(), read_parquet(path, table)
    assert pq.ParquetFile(path, page_checksum_verification=True).read().num_rows == len(right)
    draw = random.Random(0)
    for number in range(100):
        place = draw.randrange(len(whole))
        flipped = bytes([whole[place] ^ 1 << draw.randrange(8)])
        path.write_bytes(whole[:place] + (flipped + whole[place + 1 :] if number % 4 else b""))
        with pytest.raises(UserError):
            read_parquet(path, table)
    path.write_bytes(whole)
    pd.testing.assert_frame_equal(read_parquet(path, table), right)


def test_a_seal_that_is_taken_out_is_missed(written: Path) -> None:
    path = written / "records.parquet"
    whole = path.read_bytes()
    for mark in (b"priorbench.sealed", b"priorbench.sha256"):
        path.write_bytes(whole.replace(mark, mark.swapcase()))
        with pytest.raises(UserError, match="cut short or altered"):
            read_parquet(path)


def test_the_same_records_make_the_same_file(mnist: Synthetic, written: Path, here: Path) -> None:
    before = {path.name: path.read_bytes() for path in written.glob("*.parquet")}
    report(Records("mnist", [mnist.folder]), here / "again")
    assert {path.name: path.read_bytes() for path in (here / "again").glob("*.parquet")} == before
