"""A grid says what it asks for; its cells keep their ids; its mistakes are sentences."""

# ruff: noqa: E501 - sentences are compared whole, one case a line

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.grid import Cell, embedded, expand, identify, load
from bench.headline import Headline
from bench.plugins import Registry, build
from bench.protocol import Schedule, UserError

PLUGINS = {
    "strategies/plain.py": """
from bench.protocol import Settings
class Plain(Settings):
    def fit(self): ...
    def evaluate(self): ...
""",
    "strategies/fancy_one.py": """
from typing import Literal
from pydantic import Field
from bench.protocol import Settings
class Energy(Settings):
    kind: Literal["grbm"] = "grbm"
    hidden: int = Field(64, ge=1)
    widths: list[int] = [8]
class Fancy(Settings):
    components: int = Field(16, ge=1, le=1000)
    rate: float = Field(2e-4, gt=0)
    variant: Literal["sliced", "exact"] = "sliced"
    energy: Energy = Energy(hidden=32)
    def fit(self): ...
    def evaluate(self): ...
""",
    "strategies/broken.py": "import no_such_library",
    "datasets/dots.py": """
from pydantic import Field
from bench.protocol import Settings
class Dots(Settings):
    validation: int = Field(0, ge=0)
    def refuses(self, networks):
        return None if networks.latent <= 99 else f"networks.latent = {networks.latent} is too large; at most 99 is allowed"
    def load(self, folder): ...
    def prepare(self, x, noise): ...
""",
}

BASE = """
title = "A test"
seeds = 2
[[dataset]]
name = "dots"
[networks]
latent = 4
[train]
epochs = 3
[evaluate]
importance_samples = 10
[[strategy]]
name = "plain"
[[strategy]]
name = "fancy-one"
"""

Load = Callable[..., tuple[Cell, ...]]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    for name, source in PLUGINS.items():
        file = tmp_path / "plugins" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return Registry([tmp_path / "plugins"])


@pytest.fixture
def cells(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write a grid (the base, with more at its end) and return its cells."""
    monkeypatch.chdir(tmp_path)

    def cells(more: str = "", base: str = BASE, **arguments: Any) -> tuple[Cell, ...]:
        (tmp_path / "g.toml").write_text(base + more)
        return load("g.toml", registry, **arguments).cells

    return cells


def refused(load: Callable[[], object]) -> str:
    with pytest.raises(UserError) as raised:
        load()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def hyper(cells: tuple[Cell, ...], key: str) -> list[Any]:
    """One hyper-parameter of the fancy cells of seed 0."""
    return [cell.hyper[key] for cell in cells if cell.strategy == "fancy-one" and cell.seed == 0]


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


# ---------------------------------------------------------------- mistakes in the file


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[train]", "[trian]", "g.toml: unknown key trian; did you mean \"train\"? allowed: title, seeds, headline, dataset, networks, train, evaluate, strategy, tune, slurm"),
        ("epochs = 3", "epoch = 3", 'g.toml: unknown key train.epoch; did you mean "epochs"? allowed: epochs, batch_size, optimiser, checkpoint, schedule, clip, average, warmup, early_stopping'),
        ("latent = 4", "encoder.hiden = [4]", 'g.toml: unknown key networks.encoder.hiden; did you mean "hidden"? allowed: kind, hidden, activation'),
        ("epochs = 3", "optimiser.lrr = 3", 'g.toml: unknown key train.optimiser.lrr; did you mean "lr"? allowed: name, lr, betas'),
        ('"fancy-one"', '"fancy-one"\ncomponets = 3', 'g.toml: unknown key strategy.fancy-one.componets; did you mean "components"? allowed: components, rate, variant, energy'),
        ('"plain"', '"plain"\nepochs = 3', "g.toml: unknown key strategy.plain.epochs; allowed: none"),
        ('"dots"', '"dots"\nvalidatoin = 3', 'g.toml: unknown key dataset.dots.validatoin; did you mean "validation"? allowed: validation'),
        ('"fancy-one"', '"fancy-one"\nenergy.hiden = 3', 'g.toml: unknown key strategy.fancy-one.energy.hiden; did you mean "hidden"? allowed: kind, hidden, widths'),
        ("epochs = 3", 'epochs = "3"', 'g.toml: train.epochs = "3" is not allowed; it must be an integer, at least 1'),
        ("epochs = 3", "epochs = 3.0", "g.toml: train.epochs = 3.0 is not allowed; it must be an integer, at least 1"),
        ("epochs = 3", "epochs = true", "g.toml: train.epochs = true is not allowed; it must be an integer, at least 1"),
        ("epochs = 3", "epochs = 1979-05-27", 'g.toml: train.epochs = "1979-05-27" is not allowed; it is a date or time, which no setting takes; text needs quotes'),
        ("epochs = 3", "epochs = 0", "g.toml: train.epochs = 0 is not allowed; it must be an integer, at least 1"),
        ("epochs = 3", "epochs = [3, 0]", "g.toml: train.epochs = 0 is not allowed; it must be an integer, at least 1"),
        ("epochs = 3", "epochs = [[3]]", "g.toml: train.epochs = [3] is not allowed; it must be an integer, at least 1"),
        ("epochs = 3", "optimiser.lr = inf", "g.toml: train.optimiser.lr = Infinity is not allowed; it must be a finite number"),
        ("latent = 4", 'encoder.activation = "eluu"', 'g.toml: networks.encoder.activation = "eluu" is not allowed; did you mean "elu"? it must be one of "elu", "relu", "silu", "tanh"'),
        ("latent = 4", "encoder.hidden = [8, 0]", "g.toml: networks.encoder.hidden[1] = 0 is not allowed; it must be an integer, at least 1 and at most 65536"),
        ("latent = 4", "encoder = 4", "g.toml: networks.encoder = 4 is not allowed; it must be a table"),
        ('"fancy-one"', '"fancy-one"\ncomponents = 1001', "g.toml: strategy.fancy-one.components = 1001 is not allowed; it must be an integer, at least 1 and at most 1000"),
        ('"fancy-one"', '"fancy-one"\nrate = 0', "g.toml: strategy.fancy-one.rate = 0 is not allowed; it must be a number, above 0"),
        ('"fancy-one"', '"fancy-one"\ncomponents = []', "g.toml: strategy.fancy-one.components = [] sweeps over nothing; it must be an integer, at least 1 and at most 1000, or a list of such"),
        ('"fancy-one"', '"fancy-one"\nenergy = []', "g.toml: strategy.fancy-one.energy = [] sweeps over nothing; it must be a table, or a list of such"),
        ("epochs = 3", "epochs = []", "g.toml: train.epochs = [] sweeps over nothing; it must be an integer, at least 1, or a list of such"),
        ('"fancy-one"', '"fancy-one"\ncomponents = [4, 4]', "g.toml: strategy.fancy-one is asked for twice with components = 4; remove one"),
        ('"fancy-one"', '"fancy-one"\nrate = [1, 1.0]', "g.toml: strategy.fancy-one is asked for twice with rate = 1.0; remove one"),
        ('"fancy-one"', '"plain"', "g.toml: strategy.plain is asked for twice with its defaults; remove one"),
        ('name = "dots"', 'name = "dots"\n[[dataset]]\nname = "dots"\nvalidation = 0', "g.toml: dataset.dots is asked for twice with validation = 0; remove one"),
        ("latent = 4", "latent = [4, 4]", "g.toml: networks is asked for twice with latent = 4; remove one"),
        ("importance_samples = 10", "importance_samples = [1, 10]", "g.toml: evaluate.importance_samples cannot be swept; one way of scoring holds for a whole grid"),
        ("importance_samples = 10", "ais.chains = 1", "g.toml: evaluate.ais.chains = 1 is not allowed; it must be an integer, at least 2"),
        ('"fancy-one"', '"fancy-on"', 'g.toml: name in [[strategy]]: unknown strategy "fancy-on"; did you mean "fancy-one"? known: '),
        ('"dots"', '"dotz"', 'g.toml: name in [[dataset]]: unknown data set "dotz"; did you mean "dots"? known: '),
        ('"plain"', '"gone.py"', "g.toml: name in [[strategy]]: the strategy file "),
        ('"plain"', '"broken"', "g.toml: name in [[strategy]]: "),
        ('name = "plain"', "", "g.toml: name is missing in [[strategy]] table 1"),
        ('"plain"', "3", "g.toml: name = 3 in [[strategy]] table 1 is not allowed; it must be one text"),
        ('[[strategy]]\nname = "plain"\n[[strategy]]\nname = "fancy-one"\n', "", "g.toml: [[strategy]] is missing; a grid needs at least one such table"),
        ('[[dataset]]\nname = "dots"\n', "", "g.toml: [[dataset]] is missing; a grid needs at least one such table"),
        ('[[dataset]]\nname = "dots"\n', '[dataset]\nname = "dots"\n', 'g.toml: dataset = {"name": "dots"} is not allowed; write [[dataset]] tables, each with a name'),
        ("[train]\nepochs = 3", "", None),
        ("seeds = 2", "train = 3\nseeds = 2", "g.toml: invalid TOML: "),
        ("seeds = 2", "seeds = 0", "g.toml: seeds = 0 is not allowed; it must be a count, at least 1, or a list of different integers, each at least 0"),
        ("seeds = 2", "seeds = true", "g.toml: seeds = true is not allowed; it must be a count, "),
        ("seeds = 2", "seeds = []", "g.toml: seeds = [] is not allowed; it must be a count, "),
        ("seeds = 2", "seeds = [1, 1]", "g.toml: seeds = [1, 1] is not allowed; it must be a count, "),
        ("seeds = 2", "seeds = [-1]", "g.toml: seeds = [-1] is not allowed; it must be a count, "),
        ('"A test"', "3", "g.toml: title = 3 is not allowed; it must be text"),
        ("[train]", "[headline]\nmetrc = 'nll'\n[train]", 'g.toml: unknown key headline.metrc; did you mean "metric"? allowed: metric, same_within'),
        ("[train]", "[headline]\nmetric = 3\n[train]", "g.toml: headline.metric = 3 is not allowed; it must be text"),
        ("[train]", "[headline]\nsame_within.dots = 0\n[train]", "g.toml: headline.same_within.dots = 0 is not allowed; it must be a number, above 0"),
        ("[train]", "[headline]\nsame_within.dots = -0.2\n[train]", "g.toml: headline.same_within.dots = -0.2 is not allowed; it must be a number, above 0"),
        ("[train]", "[headline]\nsame_within.dots = '.2'\n[train]", 'g.toml: headline.same_within.dots = ".2" is not allowed; it must be a number, above 0'),
        ("[train]", "[headline]\nsame_within.dotz = 0.2\n[train]", 'g.toml: headline.same_within.dotz: the grid has no data set "dotz"; did you mean "dots"? it has dots'),
        ("seeds = 2", "headline = 'nll'\nseeds = 2", 'g.toml: headline = "nll" is not allowed; it must be a table'),
        ("seeds = 2", "slurm = 3\nseeds = 2", "g.toml: slurm = 3 is not allowed; it must be a table"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_and_key(cells: Load, old: str, new: str, sentence: str | None) -> None:
    assert old in BASE
    if sentence is None:
        assert cells(base=BASE.replace(old, new, 1))
        return
    said = refused(lambda: cells(base=BASE.replace(old, new, 1)))
    assert said == sentence or (sentence.endswith((" ", ": ")) and said.startswith(sentence))


def test_a_strategy_that_does_not_load_is_named_with_its_reason(cells: Load) -> None:
    said = refused(lambda: cells(base=BASE.replace('"plain"', '"broken"')))
    why = "broken.py does not load: ModuleNotFoundError: No module named 'no_such_library' (line 1)"
    assert said.endswith(why)
    assert said.startswith("g.toml: name in [[strategy]]: ")
    said = refused(lambda: cells(strategies=["broken"]))
    assert said.startswith("--strategy broken: ")
    assert said.endswith(why)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"seeds = 2\nepochs 3\n", "Expected '=' after a key in a key/value pair (at line 2, column 8)"),
        (b'seeds = 2\n\ntitle = "', "at line 3"),
        (b"seeds = 2\nseeds = 3\n", "at line 2"),
        (b"seeds = 2\ntitle = '\xff'\n", "not UTF-8 (at line 2)"),
    ],
)
def test_invalid_toml_names_the_line(registry: Registry, tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    said = refused(lambda: load(str(file), registry))
    assert said.startswith(f"{file}: invalid TOML: ")
    assert reason in said


def test_a_grid_that_is_not_there(registry: Registry, tmp_path: Path) -> None:
    whole = ["cifar10", "cifar10-subset", "digits", "mnist"]
    assert embedded() == sorted([*whole, *(f"{name}-annealed" for name in whole), "digits-full", "toy"])
    said = refused(lambda: load("mnits", registry))
    assert said == (
        'unknown grid "mnits"; did you mean "mnist"? allowed: cifar10, cifar10-annealed, cifar10-subset,'
        " cifar10-subset-annealed, digits, digits-annealed, digits-full, mnist, mnist-annealed, toy, or a path to a"
        " .toml file"
    )
    assert refused(lambda: load("no/such.toml", registry)) == "the grid file no/such.toml does not exist"
    (tmp_path / "folder.toml").mkdir()
    said = refused(lambda: load(str(tmp_path / "folder.toml"), registry))
    assert said == f"the grid file {tmp_path}/folder.toml cannot be read: Is a directory"


# ---------------------------------------------------------------- mistakes on the command line


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("train.epochs", "write KEY=VALUE, such as train.epochs=3"),
        ("=3", "write KEY=VALUE, such as train.epochs=3"),
        ("train..epochs=3", "write KEY=VALUE, such as train.epochs=3"),
        ("trian.epochs=3", 'unknown table or key "trian"; did you mean "train"? allowed: title, seeds, headline, dataset, networks, train, evaluate, strategy, tune, slurm'),
        ("epochs=3", 'unknown table or key "epochs"; allowed: title, seeds, headline, dataset, networks, train, evaluate, strategy, tune, slurm'),
        ("train.epoch=3", 'unknown key train.epoch; did you mean "epochs"? allowed: epochs, batch_size, optimiser, checkpoint, schedule, clip, average, warmup, early_stopping'),
        ("train.epochs=0", "train.epochs = 0 is not allowed; it must be an integer, at least 1"),
        ("train.epochs=many", 'train.epochs = "many" is not allowed; it must be an integer, at least 1'),
        ("train.epochs=3 4", "3 4 is not a TOML value; text with other signs needs quotes"),
        ("train.epochs=", "nothing is not a TOML value; text with other signs needs quotes"),
        ("train.epochs.x=3", "train.epochs is 3, not a table; set it whole"),
        ("train.epochs=[3,3]", "train is asked for twice with epochs = 3; remove one"),
        ("seeds=none", 'seeds = "none" is not allowed; it must be a count, at least 1, or a list of different integers, each at least 0'),
        ("strategy=plain", "write strategy.NAME.KEY=VALUE, with a KEY other than name"),
        ("strategy.plain=3", "write strategy.NAME.KEY=VALUE, with a KEY other than name"),
        ("strategy.plain.name=x", "write strategy.NAME.KEY=VALUE, with a KEY other than name"),
        ("strategy.fancy.rate=1", 'the grid has no strategy "fancy"; did you mean "fancy-one"? it has plain, fancy-one'),
        ("strategy.fancy-one.rte=1", 'unknown key strategy.fancy-one.rte; did you mean "rate"? allowed: components, rate, variant, energy'),
        ("strategy.fancy-one.energy.hiden=1", 'unknown key strategy.fancy-one.energy.hiden; did you mean "hidden"? allowed: kind, hidden, widths'),
        ("strategy.fancy-one.energy.hidden=0", "strategy.fancy-one.energy.hidden = 0 is not allowed; it must be an integer, at least 1"),
        ("strategy.fancy-one.energy={hidden=0}", "strategy.fancy-one.energy.hidden = 0 is not allowed; it must be an integer, at least 1"),
        ("dataset.dotz.validation=1", 'the grid has no dataset "dotz"; did you mean "dots"? it has dots'),
        ("networks.encoder.hidden=[0]", "networks.encoder.hidden[0] = 0 is not allowed; it must be an integer, at least 1 and at most 65536"),
        ("evaluate.ais.chains=[50,60]", "evaluate.ais.chains cannot be swept; one way of scoring holds for a whole grid"),
    ],
)  # fmt: skip
def test_a_bad_set_is_named_itself(cells: Load, setting: str, sentence: str) -> None:
    assert refused(lambda: cells(settings=["title=fine", setting])) == f"--set {setting}: {sentence}"


def test_a_mistake_in_the_file_is_not_blamed_on_a_set(cells: Load) -> None:
    base = BASE.replace("epochs = 3", "epochs = 0")
    said = refused(lambda: cells(base=base, settings=["train.batch_size=8", "strategy.plain.x=1"]))
    assert said.startswith("g.toml: train.epochs = 0")
    said = refused(lambda: cells(base=BASE.replace('"plain"', '"plane"'), settings=["strategy.fancy-one.rate=1"]))
    assert said.startswith('g.toml: name in [[strategy]]: unknown strategy "plane"')


def test_bad_strategies_and_seeds_of_the_command_line_are_named(cells: Load) -> None:
    said = refused(lambda: cells(strategies=["plane"]))
    assert re.match(r'--strategy plane: unknown strategy "plane"; did you mean "plain"\? known: .*plain', said)
    said = refused(lambda: cells(strategies=["gone.py"]))
    assert said == "--strategy gone.py: the strategy file gone.py does not exist"
    said = refused(lambda: cells(strategies=["plain"], settings=["strategy.fancy-one.rate=1"]))
    assert said == '--set strategy.fancy-one.rate=1: the grid has no strategy "fancy-one"; it has plain'
    assert refused(lambda: cells(seeds=0)).startswith("--seeds: seeds = 0 is not allowed; it must be a count")


# ---------------------------------------------------------------- the grids that come with bench


def test_the_embedded_grids_expand() -> None:
    registry = Registry()
    digits, mnist = load("digits-full", registry), load("mnist", registry)
    every = {name for name in registry.names("strategy") if not name.endswith("-pixels")}
    assert {cell.strategy for cell in digits.cells} == every, "every built-in strategy that scores binary images"
    energies = [cell.hyper["energy"] for cell in digits.cells if "energy" in cell.hyper]
    assert {energy["hidden"] for energy in energies if energy["kind"] == "grbm"} == {16}, "log Z by enumeration"
    assert len(digits.cells) == 48
    assert [cell.label for cell in mnist.cells if cell.seed == 0] == [
        "normal", "gaussian", "vampprior[components=16]", "vampprior[components=500]",
        "sliced-score-matching[variant=variance-reduced]", "sliced-score-matching[variant=sliced]", "adversarial",
    ]  # fmt: skip


def test_the_first_grid_is_part_of_the_full_one() -> None:
    registry = Registry()
    first, full = load("digits", registry), load("digits-full", registry, seeds=5)
    assert {cell.id for cell in first.cells} < {cell.id for cell in full.cells}, "so that one store serves both"
    assert len(first.cells) == 35
    assert len({cell.strategy for cell in first.cells}) == 7
    assert first.headline == full.headline


@pytest.mark.parametrize(
    ("name", "twin", "epochs", "clip"),
    [
        ("mnist", "mnist", 3, 150),
        ("cifar10", "cifar10", 10, 6000),
        ("cifar10-subset", "cifar10-subset", 10, 6000),
        ("digits", "digits-full", 4, 7),
    ],
)
def test_an_annealed_grid_differs_from_its_twin_in_how_steps_are_taken_alone(
    name: str, twin: str, epochs: float, clip: float
) -> None:
    registry = Registry()
    plain, annealed = load(twin, registry), load(f"{name}-annealed", registry)
    constant = {"schedule": Schedule(), "clip": None}
    for cell, other in zip(annealed.cells, plain.cells, strict=True):
        ways = (cell.budget.schedule, cell.budget.clip)
        assert ways == (Schedule(kind="step", share=0.2, epochs=epochs), clip)
        assert cell.budget.model_copy(update=constant) == other.budget
        assert replace(cell, id=other.id, budget=other.budget) == other
    assert annealed.headline == plain.headline


def test_the_cifar_grids_are_the_paper_s_table_2_and_its_section_4_3() -> None:
    registry = Registry()
    whole, subset = load("cifar10", registry), load("cifar10-subset", registry)
    for grid in (whole, subset):
        assert [cell.label for cell in grid.cells if cell.seed == 0] == [
            "uniform-pixels", "gaussian-pixels", "normal", "vampprior", "sliced-score-matching", "adversarial"
        ]  # fmt: skip
        assert len(grid.cells) == 18
        assert {cell.dataset for cell in grid.cells} == {grid.name}
        hyper = {cell.strategy: cell.hyper for cell in grid.cells}
        assert hyper["vampprior"]["components"] == 16
        for name in ("sliced-score-matching", "adversarial"):
            assert (hyper[name]["energy"], hyper[name]["lr"]) == ({"kind": "grbm", "hidden": 128}, 2e-4)
        cell = grid.cells[0]
        assert (cell.budget.epochs, cell.budget.batch_size, cell.budget.optimiser.lr) == (100, 1024, 1e-3)
        assert (cell.networks["latent"], registry.networks(cell.networks, "").refuses((3, 32, 32))) == (512, None)
        assert cell.networks["encoder"]["hidden"] == [32, 64, 128, 256]
        assert cell.networks["decoder"]["hidden"] == [256, 128, 64, 32]
    # what the two differ in: the data, the effort of scoring, and their titles
    assert [cell.budget for cell in whole.cells] == [cell.budget for cell in subset.cells]
    assert [cell.networks for cell in whole.cells] == [cell.networks for cell in subset.cells]
    assert (whole.title, "Subset" in subset.title) == ("Table 2, CIFAR-10", True)
    for grid, samples, temperatures in ((whole, 1000, 10_000), (subset, 100, 1000)):
        evaluation = grid.cells[0].evaluation
        assert (evaluation.importance_samples, evaluation.ais.temperatures) == (samples, temperatures)


def test_the_toy_grid_holds_the_paper_s_table_1_and_more() -> None:
    toy = load("toy", Registry())
    columns = {cell.label: cell for cell in toy.cells}
    assert list(columns)[:6] == [
        "normal", "importance-weighted[variance=learned]", "importance-weighted[variance=fixed]",
        "sliced-score-matching", "adversarial", "vampprior",
    ]  # fmt: skip
    assert len(toy.cells) == 7 * len(columns) * 5
    for cell in toy.cells:
        assert cell.networks["latent"] == 2
        for network in (cell.networks["encoder"], cell.networks["decoder"]):
            assert (network["kind"], network["hidden"]) == ("densenet", [16, 16, 16, 16])
        energy = cell.hyper.get("energy", {})
        # so few hidden units are enumerated
        assert energy.get("kind") != "grbm" or (energy["hidden"], cell.hyper["lr"]) == (16, 2e-4)
        if "sampler" in cell.hyper and energy["kind"] == "grbm":
            assert (cell.hyper["sampler"]["kind"], cell.hyper["sampler"]["steps"]) == ("gibbs-langevin", 100)
    assert columns["vampprior"].hyper["components"] == 128
