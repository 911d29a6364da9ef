"""The published numbers, and which of our rows each belongs to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bench.grid as grids
from bench.plugins import Registry
from bench.protocol import UserError
from bench.report.published import Number, read, results_folder

TABLE_2 = {
    "NVAE w/o flow": (78.01, 2.93),
    "IAF-VAE": (79.10, 3.11),
    "CR-NVAE": (76.93, 2.51),
    "BFN": (77.87, 2.66),
    "MAF (10)": (None, 4.31),
    "VAE, GRBM prior, SSM": (91.89, 6.33),
    "VAE, GRBM prior, adversarial": (92.93, 6.23),
    "VAE, VampPrior": (95.25, 6.10),
    "VAE, N(0, 1) prior": (96.03, 6.13),
}


def test_table_2_is_whole() -> None:
    published = read()
    numbers = {(number.model, number.column): number.value for number in published.numbers}
    expected = {
        (model, column): value
        for model, values in TABLE_2.items()
        for column, value in zip(("mnist", "cifar10"), values, strict=True)
        if value is not None
    }
    assert numbers == expected
    assert {(column.title, column.unit) for column in published.columns.values()} == {
        ("MNIST", "nats"),
        ("CIFAR-10", "bits/dim"),
    }
    assert all(number.unit == published.columns[number.column].unit for number in published.numbers)
    assert all(number.citation for number in published.numbers)


def test_the_embedded_grid_has_a_row_for_every_model_of_its_strategies() -> None:
    published = read()
    for key, column in published.columns.items():
        if column.grid not in grids.embedded():
            continue
        cells = grids.load(column.grid, Registry()).cells
        found = {
            number.model
            for number in published.of(key)
            if any(number.belongs_to(cell.strategy, cell.hyper) for cell in cells)
        }
        strategies = {cell.strategy for cell in cells}
        assert found == {number.model for number in published.of(key) if number.strategy in strategies}
        assert published.baseline in strategies


def test_a_number_belongs_to_rows_that_have_its_hyper_parameters() -> None:
    number = Number(
        model="m",
        column="c",
        value=1.0,
        unit="nats",
        citation="us",
        strategy="s",
        hyper={"lr": 0.1, "energy": {"kind": "grbm"}},
    )
    assert number.belongs_to("s", {"lr": 0.1, "energy": {"kind": "grbm", "hidden": 8}, "more": 1})
    assert not number.belongs_to("other", {"lr": 0.1, "energy": {"kind": "grbm"}})
    assert not number.belongs_to("s", {"lr": 0.2, "energy": {"kind": "grbm"}})
    assert not number.belongs_to("s", {"lr": 0.1, "energy": {"kind": "mlp"}})
    assert not number.belongs_to("s", {"lr": 0.1})


def test_numbers_of_other_work_belong_to_no_row() -> None:
    references = [number for number in read().numbers if number.strategy is None]
    assert {number.model for number in references} == {"NVAE w/o flow", "IAF-VAE", "CR-NVAE", "BFN", "MAF (10)"}
    assert not any(number.belongs_to("normal", {}) for number in references)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"published.json with the published numbers is missing; install the package"):
        read(tmp_path / "published.json")


def test_a_file_that_is_no_json_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "published.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"published.json cannot be read: Expecting property name"):
        read(path)


def test_a_wrong_value_is_named(tmp_path: Path) -> None:
    content = json.loads((results_folder() / "published.json").read_text())
    content["numbers"][3]["value"] = "about 3"
    path = tmp_path / "published.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"published.json: `numbers.3.value`: Input should be a valid number$"):
        read(path)
