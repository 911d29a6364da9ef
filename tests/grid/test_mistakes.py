"""Mistakes in a grid, and on the command line that changes it, are one sentence."""

# ruff: noqa: E501 - sentences are compared whole, one case a line

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.grid import embedded, load
from bench.plugins import Registry
from tests.grid.conftest import BASE, Load, refused

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
