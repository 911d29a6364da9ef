"""Every built-in plugin keeps its contracts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import check, values
from bench.plugins import Kind, Registry
from bench.plugins.settings import options
from bench.protocol import DataError
from bench.strategy.pixels import PixelDensity

# networks as small as the task, wherever a strategy has a say in them
SMALL = {"energy.hidden": 4, "hidden": [8], "critic_hidden": [8], "components": 4, "samples": 8}
BUILT_IN = [name for name in Registry().names("strategy") if Registry().find("strategy", name).origin == "built-in"]
DATA = [name for name in Registry().names("dataset") if Registry().find("dataset", name).origin == "built-in"]
DATA = [name for name in DATA if not Registry().find("dataset", name).load().kept_in_store]  # type: ignore[attr-defined]


# what a density of pixels, which has no prior, has no part in
WITHOUT_PRIOR = {"shapes", "gradients", "capture", "derivatives", "density"}

# what needs an integral, where there need not be one
UNCHECKED = {"untilted-mlp": {"density", "exact"}, "grbm": set[str]()}


def assert_kept(kind: Kind, name: str, given: dict[str, Any], data: Path) -> None:
    plugin = Registry().find(kind, name)
    verdicts = list(check(plugin, given, data=data))
    unchecked = UNCHECKED.get(name, {"dataset": {"likelihood"}, "energy": {"exact"}}.get(kind, set()))
    if issubclass(plugin.load(), PixelDensity):
        unchecked = WITHOUT_PRIOR
    assert {verdict.contract for verdict in verdicts if verdict.status == "not checked"} == unchecked
    assert [verdict for verdict in verdicts if verdict.status == "fail"] == []
    assert len(verdicts) == {"strategy": 9, "dataset": 11, "network": 10, "energy": 10}[kind]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_strategy_keeps_its_contracts(name: str, tmp_path: Path) -> None:
    keys = [option.key for option in options(Registry().find("strategy", name).load())]
    small = [f"{key}={value}" for key, value in SMALL.items() if key in keys]
    assert_kept("strategy", name, values(small), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("sliced-score-matching energy.kind=mlp", marks=pytest.mark.slow),
        pytest.param(
            "contrastive-divergence start=persistent negatives.kind=langevin negatives.adjust=true",
            marks=pytest.mark.slow,
        ),
        "contrastive-divergence negatives.kind=gibbs-langevin sampler.kind=gibbs-langevin",
        pytest.param("importance-weighted variance=fixed energy.kind=mlp", marks=pytest.mark.slow),
    ],
)
def test_it_does_with_other_energies_and_chains(text: str, tmp_path: Path) -> None:
    name, *settings = text.split()
    assert_kept("strategy", name, values(["energy.hidden=4", *settings]), tmp_path)


@pytest.mark.parametrize("name", ["mlp", "gated-mlp", "densenet", "conv", "resnet"])
def test_a_network_keeps_its_contracts(name: str, tmp_path: Path) -> None:
    assert Registry().find("network", name).origin == "built-in"
    assert_kept("network", name, {"hidden": [4, 8]} if name == "conv" else {}, tmp_path)


@pytest.mark.parametrize("name", ["grbm", "mlp", "untilted-mlp"])
def test_an_energy_keeps_its_contracts(name: str, tmp_path: Path) -> None:
    assert Registry().find("energy", name).origin == "built-in"
    assert_kept("energy", name, {"hidden": 6}, tmp_path)


@pytest.mark.parametrize("name", DATA)
def test_a_data_set_keeps_its_contracts(name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("BENCH_DATA", tmp_path))
    dataset: Any = Registry().find("dataset", name).load()()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.data.downloads._download", _none)
        patch.setattr("pathlib.Path.touch", _none)  # the lock of a download, in a folder that may be read-only
        try:
            dataset.load(folder)
        except DataError:
            pytest.skip("its files are not here; BENCH_DATA names their folder")
    assert_kept("dataset", name, {}, folder)


def _none(*_: Any) -> None:
    raise DataError("no test downloads")
