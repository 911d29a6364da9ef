"""A grid says what it asks for, the command line may change it, and its cells keep their ids."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.grid import Cell, expand, identify, load
from bench.headline import Headline
from bench.plugins import Registry, build
from tests.grid.conftest import BASE, PLUGINS, Load, hyper, refused

# ---------------------------------------------------------------- cells


def test_a_grid_is_a_product_with_defaults_filled_in(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "some.toml").write_text(BASE)
    grid = load(str(tmp_path / "some.toml"), registry)
    assert (grid.name, grid.title) == ("some", "A test")
    assert [(cell.label, cell.seed) for cell in grid.cells] == [
        ("plain", 0), ("plain", 1), ("fancy-one", 0), ("fancy-one", 1)
    ]  # fmt: skip
    last = grid.cells[-1]
    assert (last.dataset, last.options, last.strategy) == ("dots", {"validation": 0}, "fancy-one")
    assert last.hyper == {
        "components": 16,
        "rate": 2e-4,
        "variant": "sliced",
        "energy": {"kind": "grbm", "hidden": 32, "widths": [8]},
    }
    assert (last.networks["latent"], last.budget.epochs, last.evaluation.importance_samples) == (4, 3, 10)
    assert last.networks["encoder"]["hidden"] == [256, 256]


def test_only_data_set_and_strategy_are_needed(cells: Load) -> None:
    (cell,) = cells(base='[[dataset]]\nname = "dots"\n[[strategy]]\nname = "plain"\n')
    assert (cell.seed, cell.budget.epochs) == (0, 100)


def test_a_cell_rebuilds_its_plugins_and_can_be_pickled(cells: Load, registry: Registry) -> None:
    cell = pickle.loads(pickle.dumps(cells("energy.hidden = 5")[-1]))
    built = build(registry.find("strategy", cell.strategy), cell.hyper, f"cell {cell.id}")
    assert built.model_dump(mode="json") == cell.hyper
    assert cell.hyper["energy"]["hidden"] == 5


def test_a_data_set_may_refuse_networks(cells: Load) -> None:
    """Before anything is trained, and with who asked for it."""
    sentence = "data set dots: networks.latent = 100 is too large; at most 99 is allowed"
    base = BASE.replace("latent = 4", "latent = [4, 100]")
    assert refused(lambda: cells(base=base)) == f"g.toml: {sentence}"
    assert refused(lambda: cells(settings=["networks.latent=100"])) == f"--set networks.latent=100: {sentence}"


def test_the_merged_grid_expands_to_the_same_cells(cells: Load, registry: Registry, tmp_path: Path) -> None:
    cells("components = [1, 2]")
    grid = load(str(tmp_path / "g.toml"), registry, settings=["train.epochs=7"], strategies=["fancy-one"], seeds=[5])
    again = expand(json.loads(json.dumps(grid.source)), registry, name="g", where="grid.json")
    assert again == grid
    assert len(again.cells) == 2


# ---------------------------------------------------------------- sweeps


def test_a_list_where_a_single_value_may_stand_is_swept_in_order(cells: Load) -> None:
    found = cells('components = [16, 500]\nvariant = ["sliced", "exact"]\n', seeds=1)
    assert [cell.label for cell in found] == [
        "plain",
        "fancy-one[components=16,variant=sliced]",
        "fancy-one[components=16,variant=exact]",
        "fancy-one[components=500,variant=sliced]",
        "fancy-one[components=500,variant=exact]",
    ]


@pytest.mark.parametrize(
    "energy",
    [
        "energy = { hidden = [16, 64] }",
        "energy.hidden = [16, 64]",
        'energy = [{ kind = "grbm", hidden = 16 }, { kind = "grbm", hidden = 64 }]',
        'energy = { kind = ["grbm"], hidden = [16, 64] }',
    ],
)
def test_a_nested_table_is_swept_inside_and_as_a_whole(cells: Load, energy: str) -> None:
    found = cells(energy, seeds=1)
    assert [each["hidden"] for each in hyper(found, "energy")] == [16, 64]
    assert [cell.label for cell in found[1:]] == ["fancy-one[energy.hidden=16]", "fancy-one[energy.hidden=64]"]


def test_a_field_that_is_a_list_is_swept_by_a_list_of_lists_only(cells: Load) -> None:
    once = cells("energy = { widths = [1, 2] }")
    assert [each["widths"] for each in hyper(once, "energy")] == [[1, 2]]
    swept = cells("energy = { widths = [[], [1, 2]] }")
    assert [each["widths"] for each in hyper(swept, "energy")] == [[], [1, 2]]
    assert swept[-1].label == "fancy-one[energy.widths=[1,2]]"


def test_data_set_networks_and_budget_are_swept_too(cells: Load) -> None:
    base = BASE.replace("latent = 4", "latent = [4, 8]\nencoder.hidden = [[9], [7, 7]]").replace(
        "epochs = 3", "epochs = [10, 100]\noptimiser.lr = [1e-3]"
    )
    base = base.replace('name = "dots"', 'name = "dots"\nvalidation = [0, 100]')
    found = cells(base=base, strategies=["plain"], seeds=1)
    assert len(found) == 16
    differs = "networks.encoder.hidden=[9],networks.latent=4,train.epochs=10,dataset.validation=0"
    assert found[0].label == f"plain[{differs}]"
    assert len({(cell.dataset, cell.label) for cell in found}) == 16, "a label stands for one cell but for the seed"


def test_two_tables_of_one_strategy_are_told_apart_by_what_differs(cells: Load) -> None:
    found = cells('components = 2\n[[strategy]]\nname = "fancy-one"\ncomponents = 3\nrate = 2e-4\n', seeds=1)
    assert [cell.label for cell in found[1:]] == ["fancy-one[components=2]", "fancy-one[components=3]"]


# ---------------------------------------------------------------- ids


def test_ids_are_those_of_yesterday() -> None:
    request = {"strategy": "normal", "hyper": {}, "seed": 0, "budget": {"epochs": 3, "lr": 0.001}, "text": "é"}
    # by hand: printf %s '{"budget":{"epochs":3,"lr":0.001},"hyper":{},...}' | sha256sum
    assert identify(request) == "ad92f692eabe"


def test_ids_depend_on_values_alone(cells: Load) -> None:
    def last(more: str, **arguments: Any) -> str:
        return cells(more, **arguments)[-1].id

    assert (
        last("rate = 1e-3\ncomponents = 7")
        == last("components = 7\nrate = 0.001")
        == last("components = 7\nrate = 10e-4")
    )
    assert last("rate = 1") == last("rate = 1.0") != last("rate = 2")
    assert last("") == last('variant = "sliced"') == last("energy = { widths = [8], hidden = 32 }")
    assert last("", settings=["train.optimiser.lr=1"]) == last("", settings=["train.optimiser.lr=1.0"])


def test_the_same_request_has_the_same_id_in_another_grid_and_under_a_filter(cells: Load) -> None:
    swept = {cell.id for cell in cells("components = [16, 500]")}
    assert {cell.id for cell in cells()} <= swept
    assert {cell.id for cell in cells(strategies=["fancy-one"], seeds=[1])} <= swept


def test_scoring_and_saving_are_no_part_of_an_id_and_all_else_is(cells: Load) -> None:
    first = cells()[0]
    for same in ("evaluate.importance_samples=99", "train.checkpoint.steps=5", "title=other"):
        assert cells(settings=[same])[0].id == first.id
    for other in ("networks.latent=5", "train.epochs=4", "dataset.dots.validation=1", "train.batch_size=8"):
        assert cells(settings=[other])[0].id != first.id
    assert set(first.request) == {"dataset", "options", "strategy", "hyper", "seed", "networks", "budget"}
    assert identify(json.loads(json.dumps(first.request))) == first.id


def test_ids_are_the_same_in_every_process() -> None:
    code = "from bench.grid import load; from bench.plugins import Registry\n"
    code += "print(*[cell.id for cell in load('digits', Registry()).cells])"
    ids = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert ids[0] == ids[1] == [cell.id for cell in load("digits", Registry()).cells]


def test_a_strategy_from_a_file_has_the_id_of_its_name_and_is_found_from_anywhere(
    cells: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name = cells()
    by_file = cells(base=BASE.replace('"fancy-one"', '"plugins/strategies/fancy_one.py"'))
    assert [cell.id for cell in by_file] == [cell.id for cell in by_name]
    assert [cell.label for cell in by_file] == [cell.label for cell in by_name]
    monkeypatch.chdir("/")
    assert Registry().find("strategy", by_file[-1].strategy).file == tmp_path / "plugins/strategies/fancy_one.py"
    assert by_file[-1].request["strategy"] == "fancy-one"


# ---------------------------------------------------------------- what the command line changes


def test_set_reaches_any_key_and_reads_toml_with_bare_words_as_text(cells: Load) -> None:
    def last(*settings: str) -> Cell:
        return cells("energy.hidden = 9", settings=settings)[-1]

    assert last("train.epochs=3").budget.epochs == 3
    assert last("evaluate.ais.chains = 50").evaluation.ais.chains == 50
    assert last("strategy.fancy-one.components=32").hyper["components"] == 32
    assert last("strategy.fancy-one.variant=exact").hyper["variant"] == "exact"
    assert last('strategy.fancy-one.variant="exact"').hyper["variant"] == "exact"
    assert last("strategy.fancy-one.energy.hidden=16").hyper["energy"] == {"kind": "grbm", "hidden": 16, "widths": [8]}
    assert last("dataset.dots.validation=5").options == {"validation": 5}
    assert last("networks.encoder={hidden=[3], activation='relu'}").networks["encoder"]["hidden"] == [3]
    assert last("train.epochs=1", "train.epochs=2").budget.epochs == 2
    assert last("seeds=[7]").seed == 7
    assert [cell.label for cell in cells(settings=["strategy.fancy-one.energy.hidden=[1, 2]"], seeds=1)] == [
        "plain", "fancy-one[energy.hidden=1]", "fancy-one[energy.hidden=2]"
    ]  # fmt: skip


def test_set_reaches_a_plugin_whose_name_has_full_stops(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    for name in ("plain.one", "plain.one.rate"):
        source = "from bench.protocol import Settings\nclass One(Settings):\n    rate: float = 1.0\n"
        source += "    def fit(self): ...\n    def evaluate(self): ...\n"
        (tmp_path / "strategies" / f"{name}.py").write_text(source)
    names = '[[strategy]]\nname = "plain.one"\n[[strategy]]\nname = "plain.one.rate"\n'
    (tmp_path / "g.toml").write_text('[[dataset]]\nname = "digits"\n' + names)
    settings = ["strategy.plain.one.rate=2", "strategy.plain.one.rate.rate=3"]
    made = load(str(tmp_path / "g.toml"), Registry([tmp_path]), settings=settings).cells
    assert {cell.strategy: cell.hyper["rate"] for cell in made} == {
        "plain.one": 2.0,
        "plain.one.rate": 3.0,
    }


def test_strategies_are_chosen_by_name_or_file_and_a_new_one_runs_with_its_defaults(
    cells: Load, tmp_path: Path
) -> None:
    assert {cell.label for cell in cells("components = [1, 2]", strategies=["plain"])} == {"plain"}
    base = BASE.replace('[[strategy]]\nname = "fancy-one"\n', "")
    file = str(tmp_path / "plugins" / "strategies" / "fancy_one.py")
    for given in ("fancy-one", file, "plugins/strategies/fancy_one.py"):
        (only,) = cells(base=base, strategies=[given], seeds=1)
        assert (only.label, only.hyper["components"]) == ("fancy-one", 16)
        assert len(cells("components = 3", strategies=[given], seeds=1)) == 1
        assert cells("components = 3", strategies=[given], seeds=1)[0].hyper["components"] == 3
    changed = cells(base=base, strategies=[file], settings=["strategy.fancy-one.components=5"], seeds=1)
    assert changed[0].hyper["components"] == 5


def test_seeds_are_a_count_or_a_list(cells: Load) -> None:
    assert [cell.seed for cell in cells(strategies=["plain"], seeds=3)] == [0, 1, 2]
    assert [cell.seed for cell in cells(strategies=["plain"], seeds=[4, 2])] == [4, 2]
    assert [cell.seed for cell in cells(base=BASE.replace("seeds = 2", "seeds = [9]"), strategies=["plain"])] == [9]


def test_the_headline_and_its_margins_are_the_grids_and_can_be_changed(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text(f"{BASE}\n[headline]\nmetric = 'nll_ais'\nsame_within = {{ dots = 0.2 }}\n")
    assert load(str(file), registry).headline == Headline(metric="nll_ais", same_within={"dots": 0.2})
    changed = load(str(file), registry, settings=["headline.metric=vlb", "headline.same_within.dots=0.5"])
    assert changed.headline == Headline(metric="vlb", same_within={"dots": 0.5})
    file.write_text(BASE)
    assert load(str(file), registry).headline == Headline(metric="", same_within={})


def test_the_headline_is_no_part_of_a_cell(cells: Load) -> None:
    plain = [cell.id for cell in cells()]
    assert [cell.id for cell in cells("[headline]\nmetric = 'vlb'\nsame_within = { dots = 0.2 }\n")] == plain


def test_margins_of_data_sets_that_others_take_the_place_of_fall_away(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "datasets" / "lines.py").write_text(PLUGINS["datasets/dots.py"])
    registry = Registry([tmp_path / "plugins"])
    file = tmp_path / "g.toml"
    file.write_text(f"{BASE}\n[headline]\nmetric = 'nll_ais'\nsame_within = {{ dots = 0.2 }}\n")
    other = load(str(file), registry, datasets=[{"name": "lines"}])
    assert other.headline == Headline(metric="nll_ais", same_within={})
    assert expand(other.source, registry, name="g", where="grid.json").headline == other.headline
    same = load(str(file), registry, datasets=[{"name": "dots", "validation": 3}, {"name": "lines"}])
    assert same.headline.same_within == {"dots": 0.2}
