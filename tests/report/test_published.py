"""The published numbers, and which of our rows each belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import bench.grid as grids
from bench.plugins import Registry
from bench.protocol import UserError
from bench.report.cells import Setting
from bench.report.layout import layout
from bench.report.published import Column, Number, Protocol, read, results_folder
from bench.sweep.columns import canonical

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

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


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_embedded_grid_has_a_row_for_every_model_of_its_strategies_under_the_protocol(name: str) -> None:
    published = read()
    column = published.columns[name]
    cells = grids.load(column.grid, Registry()).cells
    rows = {Setting.of(cell): cell.label for cell in cells}
    found = {
        number.model: [label for setting, label in rows.items() if not column.deviations(number, setting)]
        for number in published.of(name)
        if number.strategy
    }
    vampprior = "vampprior[components=16]" if name == "mnist" else "vampprior"
    sliced = "sliced-score-matching[variant=sliced]" if name == "mnist" else "sliced-score-matching"
    assert found == {
        "VAE, GRBM prior, SSM": [sliced],
        "VAE, GRBM prior, adversarial": ["adversarial"],
        "VAE, VampPrior": [vampprior],
        "VAE, N(0, 1) prior": ["normal"],
    }
    assert published.baseline == "normal"


SETTINGS: dict[str, Any] = {
    "dataset": "d",
    "options": {"validation": 0},
    "strategy": "s",
    "hyper": {"lr": 0.1, "energy": {"kind": "grbm", "hidden": 64}},
    "networks": {"encoder": {"kind": "mlp"}, "latent": 8},
    "budget": {"epochs": 100},
    "evaluation": {"images": None, "importance_samples": 10},
}


def setting(**changes: Any) -> Setting:
    parts = {**SETTINGS, **changes}
    return Setting(**{name: part if isinstance(part, str) else canonical(part) for name, part in parts.items()})


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ({}, []),
        (
            {"evaluation": {"images": None, "importance_samples": 5}},
            [],
        ),  # of no matter to the bound
        ({"evaluation": {"images": 200}}, ["evaluate.images = 200 instead of null"]),
        ({"budget": {"epochs": 1}}, ["train.epochs = 1 instead of 100"]),
        ({"budget": {"epochs": 100, "warmup": 3}}, ["train.warmup = 3 instead of null"]),
        ({"networks": {"encoder": {"kind": "mlp"}, "latent": 4}}, ["networks.latent = 4 instead of 8"]),
        (
            {"networks": {"encoder": {"kind": "conv", "pool": True}, "latent": 8}},
            ['networks.encoder.kind = "conv" instead of "mlp"', "networks.encoder.pool = true instead of null"],
        ),
        ({"options": {"validation": 100}}, ["dataset.validation = 100 instead of 0"]),
        ({"hyper": {"lr": 0.1, "energy": {"kind": "grbm", "hidden": 8}}}, ["energy.hidden = 8 instead of 64"]),
        ({"hyper": {"lr": 0.1}}, ['energy.kind = null instead of "grbm"', "energy.hidden = null instead of 64"]),
        ({"hyper": SETTINGS["hyper"] | {"more": 1}}, ["more = 1 instead of null"]),
        ({"strategy": "other"}, ["strategy = other"]),
    ],
)
def test_a_number_belongs_to_rows_that_have_all_of_its_settings(changes: dict[str, Any], ways: list[str]) -> None:
    number = Number(
        model="m",
        column="c",
        value=1.0,
        unit="nats",
        citation="us",
        strategy="s",
        hyper={"lr": 0.1, "energy": {"kind": "grbm", "hidden": 64}},
    )
    column = Column(
        title="C",
        dataset="d",
        grid="g",
        metric="vlb",
        unit="nats",
        widest=1.0,
        protocol=Protocol(
            dataset={"validation": 0},
            networks={"encoder": {"kind": "mlp"}, "latent": 8},
            train={"epochs": 100},
            evaluate={"images": None},
        ),
    )
    assert sorted(column.deviations(number, setting(**changes))) == sorted(ways)


def test_numbers_of_other_work_belong_to_no_row() -> None:
    published = read()
    references = [number for number in published.numbers if number.strategy is None]
    assert {number.model for number in references} == {"NVAE w/o flow", "IAF-VAE", "CR-NVAE", "BFN", "MAF (10)"}
    assert all(published.columns[number.column].deviations(number, setting()) for number in references)


# ---------------------------------------------------------------- beside rows of ours


ANOTHER_ENCODER = "networks.encoder.hidden=[128,128]"


@pytest.mark.parametrize(
    ("change", "way"),
    [
        ("train.epochs=1", "train.epochs = 1 instead of 100"),
        ("train.batch_size=32", "train.batch_size = 32 instead of 64"),
        ("train.optimiser.lr=0.002", "train.optimiser.lr = 0.002 instead of 0.001"),
        ("evaluate.images=200", "evaluate.images = 200 instead of null"),
        (ANOTHER_ENCODER, "networks.encoder.hidden = [128, 128] instead of [256, 256]"),
        ("networks.decoder.activation=relu", 'networks.decoder.activation = "relu" instead of "elu"'),
        ("networks.latent=32", "networks.latent = 32 instead of 64"),
        ("dataset.mnist.validation=5000", "dataset.validation = 5000 instead of 0"),
        ("strategy.sliced-score-matching.lr=1e-3", "lr = 0.001 instead of 0.0002"),
        ("strategy.sliced-score-matching.variant=exact", 'variant = "exact" instead of "sliced"'),
        ("strategy.sliced-score-matching.sampler.steps=50", "sampler.steps = 50 instead of 100"),
        ("strategy.sliced-score-matching.energy.hidden=32", "energy.hidden = 32 instead of 64"),
    ],
)
def test_a_run_under_another_protocol_is_not_set_beside_table_2(mnist: Synthetic, change: str, way: str) -> None:
    other = type(mnist)(mnist.folder, settings=[change])
    for seed in range(3):
        other.put("sliced-score-matching", seed, 91.0 + seed / 10)
    row = other.row("sliced-score-matching")
    assert row.number is None
    assert row.comparison is None
    assert f"no published number is of these settings: {way}" in row.marks
    made = other.table()
    assert "VAE, GRBM prior, SSM" in [number.model for number in made.others]
    entries = next(entries for entries in layout(made).rows if entries[0].text == "sliced-score-matching")
    assert [entry.text for entry in entries[3:5]] == ["-", "-"]


@pytest.mark.parametrize(
    "change",
    [
        "evaluate.importance_samples=10",
        "evaluate.seed=7",
        "headline.metric=vlb",
        "evaluate.ais.chains=10",
    ],
)
def test_a_run_that_differs_in_what_the_bound_does_not_depend_on_is_set_beside_it(
    mnist: Synthetic, change: str
) -> None:
    other = type(mnist)(mnist.folder, settings=[change])
    for seed in range(3):
        other.put("sliced-score-matching", seed, 91.89)
    row = other.row("sliced-score-matching")
    assert row.comparison is not None
    assert (row.comparison.verdict, row.marks) == ("inside", ())


def test_a_footnote_names_three_ways_and_counts_the_rest(mnist: Synthetic) -> None:
    changes = ["train.epochs=1", "train.batch_size=32", "networks.latent=2", ANOTHER_ENCODER, "evaluate.images=200"]
    other = type(mnist)(mnist.folder, settings=changes)
    other.put("normal", 0, 100.0)
    (mark,) = [mark for mark in other.row("normal").marks if mark.startswith("no published number")]
    assert mark.count(" instead of ") == 3
    assert mark.endswith(" and 2 more")


def test_a_published_number_of_other_settings_does_not_deny_the_row_of_its_strategy(mnist: Synthetic) -> None:
    other = type(mnist)(mnist.folder, settings=["train.epochs=3"])
    other.put("normal", 0, 95.0)
    (line,) = (row for row in layout(other.table()).rows if row[0].text == "VAE, N(0, 1) prior")
    assert line[0].below == "strategy normal, no row of its settings"


def test_a_strategy_without_published_number_has_no_footnote_on_it(mnist: Synthetic) -> None:
    other = type(mnist)(mnist.folder, strategies=["flow"])
    for seed in range(3):
        other.put("flow", seed, 91.0)
    assert other.row("flow").marks == ()


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        # published 96.03, margin .1; half the interval of (v - s, v, v + s) is 4.30265 s / sqrt(3) = 2.484 s
        ([95.63, 96.03, 96.43], "inside"),  # +-.994
        ([95.62, 96.03, 96.44], "too wide to tell"),  # +-1.018
        ([80.0, 100.0, 120.0], "too wide to tell"),
        ([95.0], "one seed"),
        ([96.03], "one seed"),
    ],
)
def test_an_interval_that_is_too_wide_or_of_one_seed_tells_nothing_of_a_published_number(
    mnist: Synthetic, values: list[float], verdict: str
) -> None:
    for seed, value in enumerate(values):
        mnist.put("normal", seed, value)
    row = mnist.row("normal")
    assert row.comparison is not None
    assert row.comparison.verdict == verdict


def test_log_z_counts_in_what_is_too_wide(mnist: Synthetic) -> None:
    for seed in range(3):
        mnist.put("sliced-score-matching", seed, 91.89, half=1.01)
    row = mnist.row("sliced-score-matching")
    assert row.comparison is not None
    assert row.comparison.verdict == "too wide to tell"
    said = "; ".join(mnist.table().conditions)
    assert "too wide to tell: that is over ± 1 nats" in said


# ---------------------------------------------------------------- the file


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
